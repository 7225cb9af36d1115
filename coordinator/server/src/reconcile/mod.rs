//! The leader's reconcilers: each compares what is wanted with what is, and proposes. They keep nothing
//! that a new leader could not find again; a proposal that came too late is refused and harmless.

mod chain;
mod demands;
mod deploy;
mod expressions;
mod gate;
pub(crate) mod gate_child;
mod liveness;
mod place;
mod resolve;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub(crate) use demands::demands;
pub(crate) use gate::promotion;
pub(crate) use liveness::given_up_at;
pub(crate) use place::cluster;
pub(crate) use resolve::foresee;

use std::time::Duration;

use runyard_transport::task;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::core::Core;

/// How long a reconciler sleeps without a notice; it bounds how late a wait by the clock is noticed.
const IDLE: Duration = Duration::from_secs(1);

/// Starts all reconcilers.
pub(crate) fn start(core: &Core, tracker: &TaskTracker, stop: &CancellationToken) {
    let ms = Duration::from_millis;
    let loops: [(&'static str, Duration, Step); 5] = [
        ("resolve", ms(2), |core| Box::pin(resolve::pass(core))),
        ("place", ms(3), |core| Box::pin(place::pass(core))),
        ("gate", ms(20), |core| Box::pin(gate::pass(core))),
        ("deploy", ms(20), |core| Box::pin(deploy::pass(core))),
        ("liveness", ms(250), |core| Box::pin(liveness::pass(core))),
    ];
    for (name, every, step) in loops {
        let run = tracker.track_future(run(name, every, step, core.clone(), stop.clone()));
        drop(task::spawn(name, run));
    }
}

/// One pass: what it found to do is done or proposed when it returns.
type Step = fn(Core) -> std::pin::Pin<Box<dyn Future<Output = Result<Pass, tonic::Status>> + Send>>;

/// When the next pass is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// At this time at the latest.
    In(Duration),
    /// When something changes: no clock is waited for.
    Asleep,
}

/// Runs the passes: at once after a rest, and between two of them no less than `every`, so that what changes in
/// quick succession costs one pass.
async fn run(name: &'static str, every: Duration, step: Step, core: Core, stop: CancellationToken) {
    let mut changes = core.truth.watch();
    let mut reports = core.live.reports.subscribe();
    loop {
        changes.mark_unchanged();
        reports.mark_unchanged();
        let begun = tokio::time::Instant::now();
        let next = match step(core.clone()).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(reconciler = name, %error, "a pass failed and is tried again");
                Pass::In(IDLE)
            }
        };
        tokio::select! {
            // Both cancel-safe: a token and a clock.
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(begun + every) => {}
        }
        if wait(&mut changes, &mut reports, &stop, next).await.is_none() {
            return;
        }
    }
}

async fn wait(
    changes: &mut watch::Receiver<u64>,
    reports: &mut watch::Receiver<u64>,
    stop: &CancellationToken,
    next: Pass,
) -> Option<()> {
    let sleep = match next {
        Pass::In(wait) => wait,
        Pass::Asleep => Duration::from_secs(3600),
    };
    tokio::select! {
        // All cancel-safe: they observe a value, a token and a clock.
        () = stop.cancelled() => None,
        changed = changes.changed() => changed.ok(),
        changed = reports.changed() => changed.ok(),
        () = tokio::time::sleep(sleep) => Some(()),
    }
}
