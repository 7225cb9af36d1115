//! Logs of runs, stages, tasks, attempts and workers.

use runyard_blobs::segment::Manifest;
use runyard_proto::v1::{LogRecord, LogsRequest};
use runyard_state::State;
use runyard_state::entity::{Task, TaskState};
use runyard_types::{AttemptKey, WorkerKey};
use tokio::sync::mpsc;
use tonic::Status;

use super::names::{self, Target};
use crate::core::Core;
use crate::logs::{LogPlan, follow};

/// Whether the request names something; said before the stream begins.
pub(super) fn check(core: &Core, request: &LogsRequest) -> Result<(), Status> {
    let project = names::project(&request.project)?;
    names::target(&core.truth.view().state, &project, &request.target).map(drop)
}

/// Sends the records of all workers meant, one worker after the other in the order in which they began.
pub(super) async fn serve(
    core: Core,
    request: LogsRequest,
    send: mpsc::Sender<Result<LogRecord, Status>>,
) {
    if let Err(error) = run(&core, &request, &send).await {
        let _ = send.send(Err(error)).await;
    }
}

async fn run(
    core: &Core,
    request: &LogsRequest,
    send: &mpsc::Sender<Result<LogRecord, Status>>,
) -> Result<(), Status> {
    let project = names::project(&request.project)?;
    let mut changes = core.truth.watch();
    let mut done: Vec<WorkerKey> = Vec::new();
    loop {
        changes.mark_unchanged();
        let view = core.truth.view();
        let target = names::target(&view.state, &project, &request.target)?;
        let next =
            workers(&view.state, &target, request).into_iter().find(|key| !done.contains(key));
        let open = target.tasks(&view.state).iter().any(|task| !task.state.is_final());
        drop(view);
        match next {
            Some(worker) => {
                let from = if request.tail_lines > 0 {
                    tail_offset(core, &worker, request.tail_lines)?
                } else {
                    request.from_offset
                };
                let plan = LogPlan {
                    worker: worker.clone(),
                    from,
                    since_ms: request.since_ms,
                    follow: request.follow,
                };
                if !follow(core, &plan, send).await? {
                    return Ok(());
                }
                done.push(worker);
            }
            None if request.follow && open => {
                tokio::select! {
                    // Cancel-safe: it observes a value and a closed channel.
                    changed = changes.changed() => if changed.is_err() { return Ok(()) },
                    () = send.closed() => return Ok(()),
                }
            }
            None => return Ok(()),
        }
    }
}

/// The workers that are meant and have begun, in the order in which they did.
fn workers(state: &State, target: &Target<'_>, request: &LogsRequest) -> Vec<WorkerKey> {
    let mut found = Vec::new();
    for task in target.tasks(state) {
        if request.failed && !matches!(task.state, TaskState::Failed | TaskState::Error) {
            continue;
        }
        let Some(number) = attempt_number(task, target, request) else { continue };
        let Some(attempt) = task.attempts.get(number as usize - 1) else { continue };
        for rank in 0..attempt.workers.len() as u32 {
            let meant = match (target, request.worker) {
                (Target::Worker(_, _, only), _) => *only == rank,
                (_, Some(only)) => only == rank,
                _ => true,
            };
            if meant {
                let key = AttemptKey { task: task.key.clone(), number };
                found.push((attempt.placed_at, WorkerKey { attempt: key, rank }));
            }
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, key)| key).collect()
}

fn attempt_number(task: &Task, target: &Target<'_>, request: &LogsRequest) -> Option<u32> {
    match target {
        Target::Attempt(_, number) | Target::Worker(_, number, _) => Some(*number),
        _ if request.attempt > 0 => Some(request.attempt),
        _ => task.attempts.last().map(|attempt| attempt.number),
    }
}

/// An offset with at least `lines` lines behind it among what is sealed; the reader cuts the rest.
fn tail_offset(core: &Core, worker: &WorkerKey, lines: u64) -> Result<u64, Status> {
    let view = core.truth.view();
    let Some((_, known)) = view.state.worker(worker) else { return Ok(0) };
    let Some(digest) = known.log.manifest else { return Ok(0) };
    let bytes =
        core.store.get_blob(&worker.attempt.task.project, &digest).map_err(crate::errors::store)?;
    let manifest =
        Manifest::decode(&bytes).map_err(|error| Status::data_loss(error.to_string()))?;
    let mut counted = 0;
    for segment in manifest.segments.iter().rev() {
        counted += segment.lines;
        if counted >= lines {
            return Ok(segment.from);
        }
    }
    Ok(0)
}
