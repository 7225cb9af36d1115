//! Who is heard, who is not, and what becomes of the attempts of the lost.

use std::time::Duration;

use runyard_proto::agent::Phase;
use runyard_state::entity::{Liveness, Node, WorkerPhase};
use runyard_state::{Command, LoseAttempt, SetLiveness, State, StopAttempt};
use runyard_types::{Cause, DurationMs, Parent, WorkerKey};
use tonic::Status;

use super::Pass;
use crate::core::Core;
use crate::errors::status;
use crate::live::RevisionKey;
use crate::session;

/// Silence after which a node is unreachable.
const UNREACHABLE_MS: u64 = 10_000;
/// The same after its connection was reset and no new session followed.
const RESET_MS: u64 = 2_000;
/// Time unreachable after which a node is lost.
const LOST_MS: u64 = 120_000;
/// Attempts at least this old are waited for longer.
const OLD_ATTEMPT_MS: u64 = 3_600_000;
const OLD_LOST_AFTER_MS: u64 = 1_800_000;
/// How long the workers of a gang may take to be prepared.
const GANG_MS_MAX: u64 = 1_800_000;
/// The newest revisions of a deployment whose gateways' figures are kept though they are over.
const REVISIONS_SHOWN: u32 = 8;

pub(super) async fn pass(core: Core) -> Result<Pass, Status> {
    let view = core.truth.view();
    let now = core.truth.elapsed(&view.state);
    let mut commands = Vec::new();
    for node in view.state.nodes.values() {
        commands.extend(judge(&core, now, node));
        if node.liveness == Liveness::Lost {
            commands.extend(lose(&view.state, now, node));
        }
    }
    commands.extend(late_gangs(&view.state));
    if !commands.is_empty() {
        core.truth.propose_all(commands).await.map_err(status)?;
    }
    ingest_again(&core, &view.state).await?;
    // An attempt that this view does not know yet may be newer than it: its reports stay.
    core.live.retain_workers(|key| {
        view.state.unsettled.contains(&key.attempt) || view.state.attempt(&key.attempt).is_none()
    });
    core.live.retain_revisions(|key| is_looked_at(&view.state, key));
    Ok(if view.state.nodes.is_empty() { Pass::Asleep } else { Pass::In(Duration::from_secs(1)) })
}

/// Whether what gateways say of a revision is still asked for: it takes part, or is among the newest that are
/// shown with their figures.
fn is_looked_at(state: &State, (project, name, number): &RevisionKey) -> bool {
    let Some(deployment) = state.deployment(project, name) else { return false };
    // It may be newer than this view.
    let Some(revision) = deployment.revision(*number) else {
        return deployment.revisions.last().is_none_or(|last| last.number < *number);
    };
    let newest = deployment.revisions.last().map_or(0, |last| last.number);
    revision.state.wants_replicas() || number.saturating_add(REVISIONS_SHOWN) > newest
}

/// Gangs whose workers were not all prepared in time: those that are hold their devices for nothing.
fn late_gangs(state: &State) -> impl Iterator<Item = Command> + '_ {
    state.unsettled.iter().filter_map(|key| {
        let (_, attempt) = state.attempt(key)?;
        let waits = attempt.outcome.is_none()
            && !attempt.go
            && attempt.after.is_none()
            && attempt.stop.is_none();
        let late = crate::clock::wall_ms().saturating_sub(attempt.placed_at.0) > GANG_MS_MAX;
        (waits && late).then(|| {
            let reason = format!("its gang was not prepared within {} min", GANG_MS_MAX / 60_000);
            Command::StopAttempt(StopAttempt {
                attempt: key.clone(),
                cause: Cause::Error,
                reason,
                give_back: false,
            })
        })
    })
}

/// Takes in once more what was reported and did not come into the state, as when a proposal was refused
/// for want of room: agents report a change once.
async fn ingest_again(core: &Core, state: &State) -> Result<(), Status> {
    for key in state.unsettled.iter() {
        let Some((_, attempt)) = state.attempt(key) else { continue };
        for (rank, worker) in attempt.workers.iter().enumerate() {
            let worker_key = WorkerKey { attempt: key.clone(), rank: rank as u32 };
            let Some(report) = core.live.worker(&worker_key) else { continue };
            let ended = report.phase >= Phase::Finished as i32 && attempt.outcome.is_none();
            let gone =
                report.phase == Phase::Released as i32 && worker.phase != WorkerPhase::Released;
            let step = worker.wedged.is_none() && session::step(&report, worker.phase).is_some();
            if ended || gone || step {
                session::ingest_workers(core, &worker.node, vec![report]).await?;
            }
        }
    }
    Ok(())
}

fn judge(core: &Core, now: DurationMs, node: &Node) -> Option<Command> {
    let since = now.0.saturating_sub(node.liveness_since.0);
    let set =
        |liveness| Some(Command::SetLiveness(SetLiveness { node: node.name.clone(), liveness }));
    match node.liveness {
        Liveness::Joined => None,
        Liveness::Ready => {
            // A node that a new leader has not heard yet gets a full period from the leader's start.
            let silent = match core.live.silence(&node.name) {
                Some(heard) => {
                    heard.silent_ms >= UNREACHABLE_MS
                        || heard.reset_ms.is_some_and(|ms| ms >= RESET_MS)
                }
                None => {
                    crate::clock::wall_ms().saturating_sub(core.group.started_ms) >= UNREACHABLE_MS
                }
            };
            silent.then(|| set(Liveness::Unreachable)).flatten()
        }
        Liveness::Unreachable => {
            let back = core.live.session(&node.name).is_some()
                && core.live.silence(&node.name).is_some_and(|heard| heard.silent_ms < RESET_MS);
            match (back, since >= LOST_MS) {
                (true, _) => set(Liveness::Ready),
                (false, true) => set(Liveness::Lost),
                (false, false) => None,
            }
        }
        // Only a new session brings it back.
        Liveness::Lost => None,
    }
}

/// Gives up the attempts whose time on a lost node is over.
fn lose(state: &State, now: DurationMs, node: &Node) -> Vec<Command> {
    let unheard = now.0.saturating_sub(node.liveness_since.0).saturating_add(LOST_MS);
    node.workers
        .iter()
        .filter(|key| lost_after(state, key).is_some_and(|limit| unheard >= limit))
        .map(|key| {
            let reason = format!("node {} is lost: not heard for {} s", node.name, unheard / 1_000);
            Command::LoseAttempt(LoseAttempt { attempt: key.attempt.clone(), reason })
        })
        .collect()
}

/// When the attempt of a worker on a node that is not heard is given up, as wall time: if it lives, and
/// if the node does not return before. Also, since when the node is not heard.
pub(crate) fn given_up_at(state: &State, node: &Node, key: &WorkerKey) -> Option<(u64, u64)> {
    let in_liveness = state.clock.elapsed.0.saturating_sub(node.liveness_since.0);
    let unheard = match node.liveness {
        Liveness::Unreachable => in_liveness,
        Liveness::Lost => in_liveness.saturating_add(LOST_MS),
        Liveness::Joined | Liveness::Ready => return None,
    };
    let since = state.clock.wall.0.saturating_sub(unheard);
    // A node is lost before its attempts are.
    let limit = lost_after(state, key)?.max(LOST_MS);
    Some((since, since.saturating_add(limit)))
}

/// How long the worker's attempt is waited for, if it lives.
fn lost_after(state: &State, key: &WorkerKey) -> Option<u64> {
    let (task, attempt) = state.attempt(&key.attempt)?;
    if attempt.outcome.is_some() || attempt.number as usize != task.attempts.len() {
        return None;
    }
    let set = match &key.attempt.task.parent {
        Parent::Stage { run, .. } => state
            .run(&key.attempt.task.project, run)
            .and_then(|run| run.pipeline.stage(task.stage.as_ref()?.as_str()))
            .and_then(|stage| stage.lost_after),
        Parent::Revision { .. } => None,
    };
    let age = state.clock.wall.0.saturating_sub(attempt.placed_at.0);
    let default = if age < OLD_ATTEMPT_MS { LOST_MS } else { OLD_LOST_AFTER_MS };
    Some(set.map_or(default, |limit| limit.0))
}

#[cfg(test)]
mod tests {
    use runyard_state::{ReportWorkers, WorkerStep};

    use super::super::testing::Env;
    use super::*;

    #[test]
    fn f43_a_gang_that_is_not_prepared_in_time_is_stopped() {
        let mut env = Env::new();
        env.node("n1", &[]);
        env.node("n2", &[]);
        env.submit(
            "version: 1\nname: gang\nstages:\n  a: { run: 'true', nodes: 2 }\n  b: { run: 'true' }\n",
        );
        env.queue("gang-1/a", Vec::new());
        env.queue("gang-1/b", Vec::new());
        let gang = env.place("gang-1/a", &["n1", "n2"]);
        env.place("gang-1/b", &["n1"]);
        // Placed months ago by this machine's clock; only the gang waits for anybody.
        let late: Vec<_> = late_gangs(&env.state).collect();
        let [Command::StopAttempt(stop)] = late.as_slice() else { panic!("{late:?}") };
        assert_eq!((&stop.attempt, stop.cause), (&gang, Cause::Error));
        assert!(stop.reason.contains("not prepared within 30 min"), "{}", stop.reason);
        for (rank, node) in [(0, "n1"), (1, "n2")] {
            let key = WorkerKey { attempt: gang.clone(), rank };
            let node = node.parse().expect("a name");
            let items = vec![(key, WorkerStep::Prepared { port: 0 })];
            env.ok(Command::ReportWorkers(ReportWorkers { node, items }));
        }
        assert_eq!(late_gangs(&env.state).count(), 0, "it goes");
    }
}
