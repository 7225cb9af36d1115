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
    Ok(if view.state.nodes.is_empty() { Pass::Asleep } else { Pass::In(Duration::from_secs(1)) })
}

/// Gangs whose workers were not all prepared in time: those that are hold their devices for nothing.
fn late_gangs(state: &State) -> impl Iterator<Item = Command> + '_ {
    state.unsettled.iter().filter_map(|key| {
        let (_, attempt) = state.attempt(key)?;
        let waits = attempt.outcome.is_none() && !attempt.go && attempt.stop.is_none();
        let late = crate::clock::wall_ms().saturating_sub(attempt.placed_at.0) > GANG_MS_MAX;
        (waits && late).then(|| {
            let reason = format!("its gang was not prepared within {} min", GANG_MS_MAX / 60_000);
            Command::StopAttempt(StopAttempt { attempt: key.clone(), cause: Cause::Error, reason })
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
    let set = |liveness| {
        Some(Command::SetLiveness(SetLiveness { node: node.name.clone(), liveness, orphans: None }))
    };
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
