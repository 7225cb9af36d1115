//! What agents report, turned into commands.
//!
//! Reports are whole and may come twice: what the state knows already is not proposed again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use runyard_proto::agent::{Phase, Report, WorkerReport};
use runyard_state::entity::{Attempt, WorkerPhase};
use runyard_state::{
    CHAIN_MAX, Command, FinishAttempt, ReportWorkers, Seal, SealChannel, State, StopAttempt,
    WorkerStep,
};
use runyard_types::{AttemptKey, Cause, NodeName, Outcome, WorkerKey};
use tonic::Status;

use super::{convert, leaving, orphans};
use crate::core::Core;
use crate::stagecache;

/// Puts what waits into one: a worker's later word, which is whole, stands for those before it.
pub(crate) fn merge_reports(reports: impl IntoIterator<Item = Report>) -> Report {
    let mut all = Report::default();
    let mut known: BTreeMap<(String, String), usize> = BTreeMap::new();
    for report in reports {
        for worker in report.workers {
            match known.entry((worker.project.clone(), worker.key.clone())) {
                Entry::Occupied(at) => all.workers[*at.get()] = worker,
                Entry::Vacant(place) => {
                    place.insert(all.workers.len());
                    all.workers.push(worker);
                }
            }
        }
        if !report.devices.is_empty() {
            all.devices = report.devices;
        }
        all.revisions.extend(report.revisions);
        if !report.orphans.is_empty() {
            all.orphans = report.orphans;
        }
    }
    all
}

/// Whether all that a report tells is that work is being made ready, or has begun.
pub(crate) fn only_begins(report: &Report) -> bool {
    let begins = |worker: &WorkerReport| {
        let begun = [Phase::Preparing as i32, Phase::Running as i32, Phase::Publishing as i32];
        begun.contains(&worker.phase) && worker.wedged.is_empty()
    };
    report.revisions.is_empty() && report.workers.iter().all(begins)
}

/// Takes in a report of `node`.
pub(crate) async fn ingest(core: &Core, node: &NodeName, report: Report) -> Result<(), Status> {
    if !report.devices.is_empty() {
        core.live.set_devices(node, report.devices);
    }
    for revision in report.revisions {
        if let Some(key) = super::service::revision_key(&revision) {
            core.live.set_revision(node, key, revision);
        }
    }
    ingest_workers(core, node, report.workers).await?;
    orphans::note(core, node, &report.orphans);
    orphans::tell(core, node).await?;
    core.live.notify();
    Ok(())
}

/// Takes in what the hello of a new session names: all of the workers that the agent has.
pub(super) async fn ingest_hello(
    core: &Core,
    node: &NodeName,
    reports: Vec<WorkerReport>,
) -> Result<(), Status> {
    core.live.clear_orphans(node);
    ingest_workers(core, node, reports).await?;
    orphans::tell(core, node).await
}

pub(crate) async fn ingest_workers(
    core: &Core,
    node: &NodeName,
    reports: Vec<WorkerReport>,
) -> Result<(), Status> {
    let mut commands = Vec::new();
    let mut finished = Vec::new();
    // Released by these reports.
    let mut gone = BTreeSet::new();
    let view = core.truth.view();
    for (key, report) in in_turn(&view.state, node, reports) {
        if report.phase == Phase::Released as i32 {
            core.live.drop_orphan(node, &key);
        }
        let Some((attempt, worker)) = view.state.worker(&key) else {
            if report.phase != Phase::Released as i32 {
                core.live.add_orphan(node, key);
            }
            continue;
        };
        if worker.node != *node {
            tracing::warn!(%node, worker = %key, owner = %worker.node, "a report on another node's worker was refused");
            continue;
        }
        core.live.grant(node, &key.attempt.task.project);
        core.live.set_worker(key.clone(), report.clone());
        // It ran, so those before it are gone; their own last words come in the same breath, or soon. The
        // liveness monitor takes it in then.
        if attempt.after.is_some() && has_run(&report) && !has_room(&view.state, attempt, &gone) {
            continue;
        }
        let mut steps = Vec::new();
        if let Some(step) = step(&report, worker.phase) {
            steps.push((key.clone(), step));
        }
        if report.phase >= Phase::Finished as i32 && attempt.outcome.is_none() {
            // Short work began and ended between two reports.
            let began = report.exit.is_some() && worker.phase < WorkerPhase::Running;
            if began && (attempt.go || attempt.after.is_some()) {
                let items = vec![(key.clone(), WorkerStep::Running { port: 0 })];
                commands.push(Command::ReportWorkers(ReportWorkers { node: node.clone(), items }));
            }
            match finish(core, &key, attempt) {
                Some(Finish::Now(finish)) => {
                    finished.push(finish.attempt.clone());
                    // The result goes before the release, in the same entry.
                    commands.push(Command::FinishAttempt(finish));
                }
                Some(Finish::StopOthers(stop)) => commands.push(Command::StopAttempt(stop)),
                None => {}
            }
        }
        if report.phase == Phase::Released as i32 && worker.phase != WorkerPhase::Released {
            // A worker of a gang that is gone keeps its result in memory until the others have theirs.
            let waits = attempt.outcome.is_none()
                && attempt.workers.len() > 1
                && !finished.contains(&key.attempt);
            if !waits {
                gone.insert(key.attempt.clone());
                steps.extend(release_all(core, node, &key, attempt));
            }
        }
        // An attempt that was given up ended without its log's end: a log that is all sealed is complete now.
        let silent =
            report.exit.is_some() && !worker.log.complete && report.log_end == worker.log.to;
        if report.phase == Phase::Released as i32 && attempt.outcome.is_some() && silent {
            commands.push(Command::Seal(Seal {
                node: node.clone(),
                worker: key.clone(),
                channel: SealChannel::Log,
                from: worker.log.to,
                to: worker.log.to,
                manifest: None,
                complete: true,
            }));
        }
        if !steps.is_empty() {
            commands
                .push(Command::ReportWorkers(ReportWorkers { node: node.clone(), items: steps }));
        }
    }
    if commands.is_empty() {
        return Ok(());
    }
    let answers = core.truth.propose_all(commands).await.map_err(crate::errors::status)?;
    for answer in &answers {
        if let Err(refusal) = &answer.outcome {
            tracing::debug!(%node, %refusal, "a report was refused");
        }
    }
    stagecache::remember(core, &finished).await;
    for attempt in finished {
        release_gang(core, &attempt).await?;
    }
    Ok(())
}

/// The reports by their workers, those before that others wait for: these may run by then.
fn in_turn(
    state: &State,
    node: &NodeName,
    reports: Vec<WorkerReport>,
) -> Vec<(WorkerKey, WorkerReport)> {
    let keyed = reports.into_iter().filter_map(|report| {
        // One strange worker, as a restored group meets them, must not cost the others their reports.
        match convert::worker_key(&report.project, &report.key) {
            Ok(key) => Some((key, report)),
            Err(_) => {
                tracing::warn!(%node, worker = report.key, "a report names no worker");
                None
            }
        }
    });
    let mut keyed: Vec<_> = keyed.collect();
    keyed.sort_by_cached_key(|(key, _)| {
        let before = |key: &AttemptKey| state.attempt(key)?.1.after.clone();
        std::iter::successors(before(&key.attempt), before).take(CHAIN_MAX + 1).count()
    });
    keyed
}

fn has_run(report: &WorkerReport) -> bool {
    let runs = [Phase::Running as i32, Phase::Publishing as i32].contains(&report.phase);
    runs || report.exit.is_some()
}

/// Whether all that had, or waited for, the room that an attempt waits for will be `gone`.
fn has_room(state: &State, attempt: &Attempt, gone: &BTreeSet<AttemptKey>) -> bool {
    let before = |key: &AttemptKey| state.attempt(key)?.1.after.clone();
    std::iter::successors(attempt.after.clone(), before)
        .take(CHAIN_MAX + 1)
        .all(|before| gone.contains(&before))
}

/// The step that a report means, if the state is not there yet.
pub(crate) fn step(report: &WorkerReport, phase: WorkerPhase) -> Option<WorkerStep> {
    let port = u16::try_from(report.port).unwrap_or(0);
    if !report.wedged.is_empty() && phase != WorkerPhase::Released {
        return Some(WorkerStep::Wedged { reason: leaving::reason(&report.wedged) });
    }
    match Phase::try_from(report.phase) {
        Ok(Phase::Prepared) if phase < WorkerPhase::Prepared => Some(WorkerStep::Prepared { port }),
        Ok(Phase::Running | Phase::Publishing) if phase < WorkerPhase::Running => {
            Some(WorkerStep::Running { port })
        }
        _ => None,
    }
}

fn release_all(
    core: &Core,
    node: &NodeName,
    key: &WorkerKey,
    attempt: &Attempt,
) -> Vec<(WorkerKey, WorkerStep)> {
    attempt
        .workers
        .iter()
        .enumerate()
        .filter(|(rank, worker)| {
            let own = WorkerKey { attempt: key.attempt.clone(), rank: *rank as u32 };
            let gone =
                core.live.worker(&own).is_some_and(|report| report.phase == Phase::Released as i32);
            worker.node == *node && worker.phase != WorkerPhase::Released && gone
        })
        .map(|(rank, _)| {
            (WorkerKey { attempt: key.attempt.clone(), rank: rank as u32 }, WorkerStep::Released)
        })
        .collect()
}

/// Releases the workers of a gang whose nodes had said so before the attempt could end.
async fn release_gang(core: &Core, key: &runyard_types::AttemptKey) -> Result<(), Status> {
    let view = core.truth.view();
    let Some((_, attempt)) = view.state.attempt(key) else { return Ok(()) };
    if attempt.workers.len() < 2 {
        return Ok(());
    }
    let commands = attempt
        .workers
        .iter()
        .enumerate()
        .filter_map(|(rank, worker)| {
            let own = WorkerKey { attempt: key.clone(), rank: rank as u32 };
            let gone = core.live.worker(&own)?.phase == Phase::Released as i32;
            (gone && worker.phase != WorkerPhase::Released).then(|| {
                Command::ReportWorkers(ReportWorkers {
                    node: worker.node.clone(),
                    items: vec![(own, WorkerStep::Released)],
                })
            })
        })
        .collect();
    core.truth.propose_all(commands).await.map_err(crate::errors::status)?;
    Ok(())
}

enum Finish {
    Now(Box<FinishAttempt>),
    StopOthers(StopAttempt),
}

/// The end of an attempt, once every worker has one; a gang's is the first failing worker's in time.
fn finish(core: &Core, key: &WorkerKey, attempt: &Attempt) -> Option<Finish> {
    let reports: Vec<Option<WorkerReport>> = (0..attempt.workers.len() as u32)
        .map(|rank| core.live.worker(&WorkerKey { attempt: key.attempt.clone(), rank }))
        .map(|report| {
            report
                .filter(|report| report.phase >= Phase::Finished as i32 && report.result.is_some())
        })
        .collect();
    let failed = reports
        .iter()
        .flatten()
        .filter(|report| report.result.as_ref().is_some_and(|result| !result.succeeded))
        // A worker that was stopped because another failed is not the cause, whatever the hosts' clocks say;
        // one without an exit is ours to blame.
        .min_by_key(|report| {
            let stopped = report.result.as_ref().is_some_and(|result| result.cause == "cancelled");
            (stopped, report.exit.as_ref().map_or(0, |exit| exit.ended_ms))
        });
    if reports.iter().any(Option::is_none) {
        let failed = failed?;
        let reason = failed.result.as_ref().map(|result| result.reason.clone()).unwrap_or_default();
        return attempt.stop.is_none().then(|| {
            Finish::StopOthers(StopAttempt {
                attempt: key.attempt.clone(),
                cause: Cause::Error,
                reason: leaving::reason(&format!("worker {} ended: {reason}", failed.key)),
                give_back: false,
            })
        });
    }
    let failed_key = failed.map(|report| report.key.clone());
    let all: Vec<WorkerReport> = reports.into_iter().flatten().collect();
    let decisive = all
        .iter()
        .find(|report| Some(&report.key) == failed_key.as_ref())
        .or_else(|| all.first())?;
    let mut outcome = convert::outcome(decisive.result.as_ref()?);
    let mut result = merge(&all).unwrap_or_else(|reason| {
        outcome = Outcome::Ended { cause: Cause::Failure, reason };
        Default::default()
    });
    if outcome == Outcome::Succeeded
        && let Some(missing) = missing_output(core, key, &result)
    {
        outcome = Outcome::Ended { cause: Cause::Error, reason: missing };
        result.outputs.clear();
    }
    // Somebody asked it to end: that is why it did, whatever its exit status says.
    if let (Some(stop), Outcome::Ended { cause, reason }) = (&attempt.stop, &mut outcome)
        && (all.len() == 1 || *cause == Cause::Cancelled)
    {
        *cause = stop.cause;
        reason.clone_from(&stop.reason);
    }
    leaving::bound(&mut outcome, &mut result);
    Some(Finish::Now(Box::new(FinishAttempt {
        attempt: key.attempt.clone(),
        outcome,
        exit: decisive.exit.as_ref().map(|exit| convert::exit(exit, decisive.log_end)),
        result,
        // Without an exit the shim is lost and the log's end unknown: its agent closes it explicitly.
        log_ends: all
            .iter()
            .map(|report| if report.exit.is_some() { report.log_end } else { u64::MAX })
            .collect(),
    })))
}

/// Rank 0's outputs with those of the other ranks that collect theirs.
fn merge(reports: &[WorkerReport]) -> Result<runyard_state::entity::TaskResult, String> {
    let mut all = runyard_state::entity::TaskResult::default();
    for (rank, report) in reports.iter().enumerate() {
        let part = convert::task_result(report).map_err(|status| status.message().to_owned())?;
        for (name, output) in part.outputs {
            let name = if rank == 0 { name } else { format!("{name}.{rank}") };
            all.outputs.insert(name, output);
        }
        for (name, value) in part.metrics {
            all.metrics.entry(name).or_insert(value);
        }
        for (name, value) in part.values {
            all.values.entry(name).or_insert(value);
        }
        if all.summary.is_empty() {
            all.summary = part.summary;
        }
    }
    Ok(all)
}

/// An output whose bytes are not all in the store: the agent said more than it did.
fn missing_output(
    core: &Core,
    key: &WorkerKey,
    result: &runyard_state::entity::TaskResult,
) -> Option<String> {
    result
        .outputs
        .iter()
        .find(|(_, output)| {
            !core.store.has_tree(&key.attempt.task.project, output.root).unwrap_or(false)
        })
        .map(|(name, output)| {
            format!(
                "output {name} ({}) is not whole in the store; publish it again",
                output.root.short()
            )
        })
}
