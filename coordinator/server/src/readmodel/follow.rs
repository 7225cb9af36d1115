//! Keeping the read model at the state's events.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::ReadModelError;
use super::store::chain;
use crate::core::Core;

/// Between two times that it catches up.
const EVERY: Duration = Duration::from_millis(100);
/// The first pause after a failure; each further one doubles it.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Keeps the read model at the state's events until the coordinator stops.
pub(crate) async fn follow(core: Core, stop: CancellationToken) {
    let source = (core.group.id.clone(), core.group.generation);
    let mut changes = core.truth.watch();
    let mut pause = RETRY_MIN;
    while !stop.is_cancelled() {
        changes.mark_unchanged();
        let view = core.truth.view();
        let (model, source) = (Arc::clone(&core.read_model), source.clone());
        let done = tokio::task::spawn_blocking(move || {
            let done = model.catch_up(&source, &view.state);
            if let Err(error) = &done {
                model.rebuild(error);
            }
            done
        });
        if failed(done.await) {
            tokio::select! {
                // Cancel-safe: a clock and a token.
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
            pause = (pause * 2).min(RETRY_MAX);
            continue;
        }
        pause = RETRY_MIN;
        // A batch of rows wakes each thread of the database: rather one for many changes.
        tokio::select! {
            // Cancel-safe: a clock, a notice that stays, and a token.
            () = tokio::time::sleep(EVERY) => {}
            () = core.read_model.suspect.notified() => continue,
            () = stop.cancelled() => break,
        }
        tokio::select! {
            // Cancel-safe: it observes a value, a notice that stays, and a token.
            changed = changes.changed() => if changed.is_err() { break },
            () = core.read_model.suspect.notified() => {}
            () = stop.cancelled() => break,
        }
    }
    let model = Arc::clone(&core.read_model);
    let flushed = tokio::task::spawn_blocking(move || model.flush()).await;
    if let Ok(Err(error)) = flushed {
        let error = chain(&error);
        tracing::warn!(error, "the read model was not flushed; it catches up at the next start");
    }
}

fn failed(done: Result<Result<(), ReadModelError>, tokio::task::JoinError>) -> bool {
    !matches!(done, Ok(Ok(())))
}
