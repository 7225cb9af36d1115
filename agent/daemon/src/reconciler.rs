//! The core and the world: what happens goes in, what is to be done is done.

use std::collections::VecDeque;
use std::sync::Arc;

use runyard_proto::agent as wire;
use runyard_types::{Cause, Outcome, WorkerKey};
use tokio::sync::mpsc;

use crate::core::{Core, Effect, Found, Input, Phase, Status};
use crate::shared::{Job, Shared};
use crate::{log, worker};

/// Inputs that may wait; who tells more waits.
pub(crate) const INPUTS_MAX: usize = 1024;

/// Runs until the agent stops. `found` is what the scan of the state directory showed.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut core: Core,
    found: Vec<Found>,
    mut inbox: mpsc::Receiver<Input>,
) {
    // What was done at once, and so has happened before anything that waits in the inbox is heard.
    let mut done = VecDeque::from([Input::Found(found)]);
    loop {
        let next = match done.pop_front() {
            Some(next) => next,
            None => match inbox.recv().await {
                Some(next) => next,
                None => return,
            },
        };
        for effect in core.step(next) {
            done.extend(carry_out(&shared, effect));
        }
    }
}

/// Does it, or sees to it that it is done; answers what has happened if that was at once.
fn carry_out(shared: &Arc<Shared>, effect: Effect) -> Option<Input> {
    tracing::debug!(?effect, "effect");
    match effect {
        Effect::Persist(at) => {
            if let Err(error) = shared.paths.save_position(at) {
                tracing::error!(%error, "cannot note the position that was obeyed");
            }
            None
        }
        Effect::Prepare(key) => with_job(shared, &key, |job| {
            hold_devices(shared, job);
            worker::prepare_at_once(shared, job).or_else(|| {
                let (shared, job) = (shared.clone(), job.clone());
                shared
                    .clone()
                    .spawn("prepare", async move { worker::prepare(&shared, &job).await });
                None
            })
        }),
        Effect::CancelPrepare(key) => with_job(shared, &key, |job| {
            job.cancel.cancel();
            None
        }),
        Effect::Start(key) => with_job(shared, &key, |job| {
            let (shared, job) = (shared.clone(), job.clone());
            shared.clone().spawn("start", async move { worker::start(&shared, &job).await });
            None
        }),
        Effect::Follow(key) => with_job(shared, &key, |job| {
            follow(shared, job);
            None
        }),
        Effect::Stop { key, grace_ms } => with_job(shared, &key, |job| {
            let (shared, job) = (shared.clone(), job.clone());
            shared.clone().spawn("stop", async move {
                worker::stop(&shared, &job, grace_ms).await;
            });
            None
        }),
        Effect::Publish { key, stopped } => with_job(shared, &key, |job| {
            worker::publish_at_once(shared, job, stopped).or_else(|| {
                let (shared, job) = (shared.clone(), job.clone());
                shared.clone().spawn("publish", async move {
                    worker::publish(&shared, &job, stopped).await;
                });
                None
            })
        }),
        Effect::CloseLog(key) => {
            let shared = shared.clone();
            shared.clone().spawn("close-log", async move {
                log::close(&shared, &key).await;
                shared.tell(Input::Sealed { key }).await;
            });
            None
        }
        Effect::Remove(key) => {
            if let Some(job) = shared.job(&key) {
                shared.drop_job(&key);
                let agent = shared.clone();
                shared.tracker.spawn_blocking(move || worker::remove(&agent, &job));
            }
            shared.board.remove(&key);
            None
        }
        Effect::Report { key, status } => {
            report(shared, &key, status);
            None
        }
        Effect::Orphans(keys) => {
            shared.board.set_orphans(keys.iter().map(ToString::to_string).collect());
            None
        }
    }
}

/// An effect on a worker that was removed meanwhile has nothing left to do.
fn with_job(
    shared: &Arc<Shared>,
    key: &WorkerKey,
    act: impl FnOnce(&Arc<Job>) -> Option<Input>,
) -> Option<Input> {
    let job = shared.job(key);
    if job.is_none() {
        tracing::warn!(%key, "an effect on a worker that is not here");
    }
    job.and_then(|job| act(&job))
}

fn follow(shared: &Arc<Shared>, job: &Arc<Job>) {
    job.set_supervised();
    let (agent, one) = (shared.clone(), job.clone());
    shared.spawn("supervise", async move { worker::supervise(&agent, &one).await });
    let (agent, one) = (shared.clone(), job.clone());
    shared.spawn("seal", async move {
        // Both to their end: whoever is told so may remove the folder that they read.
        let (sealed, ()) =
            tokio::join!(log::follow(&agent, &one), log::follow_metrics(&agent, &one));
        if sealed {
            agent.tell(Input::Sealed { key: one.key.clone() }).await;
        }
    });
}

fn hold_devices(shared: &Shared, job: &Job) {
    for uuid in &job.spec().devices {
        shared.devices.set_holder(uuid, Some(job.key.clone()));
        shared.hold(uuid.clone(), &job.key);
    }
}

/// Only what it still has: a worker that ended before the agent's restart has nothing, though its
/// spec names devices.
fn release_devices(shared: &Shared, key: &WorkerKey) {
    for uuid in shared.held_by(key) {
        shared.devices.set_holder(&uuid, None);
    }
}

fn report(shared: &Arc<Shared>, key: &WorkerKey, status: Status) {
    let job = shared.job(key);
    let is_replica = job.as_ref().is_some_and(|job| job.spec().serve.is_some());
    if status.phase == Phase::Released {
        release_devices(shared, key);
    } else if let Some(job) = &job {
        hold_devices(shared, job);
    }
    let change = |report: &mut wire::WorkerReport| {
        report.phase = phase(status.phase) as i32;
        if status.port != 0 {
            report.port = u32::from(status.port);
        }
        report.result = status.outcome.as_ref().map(result);
    };
    match status.phase {
        Phase::Preparing | Phase::Publishing => shared.board.later(key, change),
        // Nobody waits for it: what waits for a worker waits for its result.
        Phase::Running if !is_replica => shared.board.soon(key, change),
        Phase::Running | Phase::Prepared | Phase::Finished | Phase::Released => {
            shared.board.now(key, change);
        }
    }
}

fn phase(phase: Phase) -> wire::Phase {
    match phase {
        Phase::Preparing => wire::Phase::Preparing,
        Phase::Prepared => wire::Phase::Prepared,
        Phase::Running => wire::Phase::Running,
        Phase::Publishing => wire::Phase::Publishing,
        Phase::Finished => wire::Phase::Finished,
        Phase::Released => wire::Phase::Released,
    }
}

fn result(outcome: &Outcome) -> wire::Result {
    match outcome {
        Outcome::Succeeded => wire::Result { succeeded: true, ..wire::Result::default() },
        Outcome::Ended { cause, reason } => {
            let cause = match cause {
                Cause::Failure => "failure",
                Cause::Error => "error",
                Cause::Cancelled => "cancelled",
            };
            wire::Result { succeeded: false, cause: cause.into(), reason: reason.clone() }
        }
    }
}

/// The outcome that a result on the wire says.
pub(crate) fn outcome(result: &wire::Result) -> Outcome {
    if result.succeeded {
        return Outcome::Succeeded;
    }
    let cause = match result.cause.as_str() {
        "failure" => Cause::Failure,
        "cancelled" => Cause::Cancelled,
        _ => Cause::Error,
    };
    Outcome::Ended { cause, reason: result.reason.clone() }
}
