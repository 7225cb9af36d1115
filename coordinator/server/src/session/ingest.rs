//! What agents report, turned into commands.
//!
//! Reports are whole and may come twice: what the state knows already is not proposed again.

use runyard_proto::agent::{Phase, Report, WorkerReport};
use runyard_state::entity::{Attempt, WorkerPhase};
use runyard_state::{
    Command, FinishAttempt, ReportWorkers, Seal, SealChannel, StopAttempt, WorkerStep,
};
use runyard_types::{Cause, NodeName, Outcome, WorkerKey};
use tonic::Status;

use super::convert;
use crate::core::Core;
use crate::stagecache;

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
    core.live.notify();
    Ok(())
}

pub(crate) async fn ingest_workers(
    core: &Core,
    node: &NodeName,
    reports: Vec<WorkerReport>,
) -> Result<(), Status> {
    let mut commands = Vec::new();
    let mut finished = Vec::new();
    let view = core.truth.view();
    for report in reports {
        // One strange worker, as a restored group meets them, must not cost the others their reports.
        let Ok(key) = convert::worker_key(&report.project, &report.key) else {
            tracing::warn!(%node, worker = report.key, "a report names no worker");
            continue;
        };
        let Some((attempt, worker)) = view.state.worker(&key) else { continue };
        if worker.node != *node {
            tracing::warn!(%node, worker = %key, owner = %worker.node, "a report on another node's worker was refused");
            continue;
        }
        core.live.grant(node, &key.attempt.task.project);
        core.live.set_worker(key.clone(), report.clone());
        let mut steps = Vec::new();
        if let Some(step) = step(&report, worker.phase) {
            steps.push((key.clone(), step));
        }
        if report.phase >= Phase::Finished as i32 && attempt.outcome.is_none() {
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
    for attempt in finished {
        stagecache::remember(core, &attempt).await;
        release_gang(core, &attempt).await?;
    }
    Ok(())
}

/// The step that a report means, if the state is not there yet.
pub(crate) fn step(report: &WorkerReport, phase: WorkerPhase) -> Option<WorkerStep> {
    let port = u16::try_from(report.port).unwrap_or(0);
    if !report.wedged.is_empty() && phase != WorkerPhase::Released {
        return Some(WorkerStep::Wedged { reason: report.wedged.clone() });
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
                reason: format!("worker {} ended: {reason}", failed.key),
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
