//! The core and the world: what happens goes in, what is to be done is done.

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
    let mut input = Some(Input::Found(found));
    while let Some(next) = input.take() {
        for effect in core.step(next) {
            carry_out(&shared, effect);
        }
        input = inbox.recv().await;
    }
}

fn carry_out(shared: &Arc<Shared>, effect: Effect) {
    tracing::debug!(?effect, "effect");
    match effect {
        Effect::Persist(at) => {
            if let Err(error) = shared.paths.save_position(at) {
                tracing::error!(%error, "cannot note the position that was obeyed");
            }
        }
        Effect::Prepare(key) => with_job(shared, &key, |job| {
            hold_devices(shared, job);
            let (shared, job) = (shared.clone(), job.clone());
            shared.clone().spawn("prepare", async move { worker::prepare(&shared, &job).await });
        }),
        Effect::CancelPrepare(key) => with_job(shared, &key, |job| job.cancel.cancel()),
        Effect::Start(key) => with_job(shared, &key, |job| {
            let (shared, job) = (shared.clone(), job.clone());
            shared.clone().spawn("start", async move { worker::start(&shared, &job).await });
        }),
        Effect::Follow(key) => with_job(shared, &key, |job| follow(shared, job)),
        Effect::Stop { key, grace_ms } => with_job(shared, &key, |job| {
            let (shared, job) = (shared.clone(), job.clone());
            shared.clone().spawn("stop", async move {
                worker::stop(&shared, &job, grace_ms).await;
            });
        }),
        Effect::Publish { key, stopped } => with_job(shared, &key, |job| {
            let (shared, job) = (shared.clone(), job.clone());
            shared.clone().spawn("publish", async move {
                worker::publish(&shared, &job, stopped).await;
            });
        }),
        Effect::CloseLog(key) => {
            let shared = shared.clone();
            shared.clone().spawn("close-log", async move {
                log::close(&shared, &key).await;
                shared.tell(Input::Sealed { key }).await;
            });
        }
        Effect::Remove(key) => {
            if let Some(job) = shared.job(&key) {
                shared.drop_job(&key);
                let shared = shared.clone();
                shared.clone().spawn("remove", async move { worker::remove(&shared, &job).await });
            }
            shared.board.remove(&key);
        }
        Effect::Report { key, status } => report(shared, &key, status),
        Effect::Orphans(keys) => {
            shared.board.set_orphans(keys.iter().map(ToString::to_string).collect());
        }
    }
}

/// An effect on a worker that was removed meanwhile has nothing left to do.
fn with_job(shared: &Arc<Shared>, key: &WorkerKey, act: impl FnOnce(&Arc<Job>)) {
    match shared.job(key) {
        Some(job) => act(&job),
        None => tracing::warn!(%key, "an effect on a worker that is not here"),
    }
}

fn follow(shared: &Arc<Shared>, job: &Arc<Job>) {
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
    for uuid in job.spec().devices {
        shared.devices.set_holder(&uuid, Some(job.key.clone()));
        shared.hold(uuid, &job.key);
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
    if status.phase == Phase::Released {
        release_devices(shared, key);
    } else if let Some(job) = shared.job(key) {
        hold_devices(shared, &job);
    }
    let urgent = status.phase != Phase::Publishing && status.phase != Phase::Preparing;
    let change = |report: &mut wire::WorkerReport| {
        report.phase = phase(status.phase) as i32;
        if status.port != 0 {
            report.port = u32::from(status.port);
        }
        report.result = status.outcome.as_ref().map(result);
    };
    if urgent { shared.board.now(key, change) } else { shared.board.later(key, change) }
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
