//! The leader's reconcilers: each compares what is wanted with what is, and proposes. They keep nothing
//! that a new leader could not find again; a proposal that came too late is refused and harmless.

mod deploy;
mod expressions;
mod gate;
pub(crate) mod gate_child;
mod liveness;
mod place;
mod resolve;

pub(crate) use gate::promotion;
pub(crate) use place::{cluster, demands};

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
    let loops: [(&'static str, Step); 5] = [
        ("resolve", |core| Box::pin(resolve::pass(core))),
        ("place", |core| Box::pin(place::pass(core))),
        ("gate", |core| Box::pin(gate::pass(core))),
        ("deploy", |core| Box::pin(deploy::pass(core))),
        ("liveness", |core| Box::pin(liveness::pass(core))),
    ];
    for (name, step) in loops {
        let run = tracker.track_future(run(name, step, core.clone(), stop.clone()));
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

async fn run(name: &'static str, step: Step, core: Core, stop: CancellationToken) {
    let mut changes = core.truth.watch();
    let mut reports = core.live.reports.subscribe();
    loop {
        changes.mark_unchanged();
        reports.mark_unchanged();
        let next = match step(core.clone()).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(reconciler = name, %error, "a pass failed and is tried again");
                Pass::In(IDLE)
            }
        };
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
