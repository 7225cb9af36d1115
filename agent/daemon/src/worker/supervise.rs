//! Watching a worker's processes until none is left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use runyard_runtime::{State, WorkerDir};

use super::{Fault, blocking};
use crate::core::Input;
use crate::shared::{Job, Shared};

/// A look at the folder whatever was heard: notices are hints, and may be dropped by the kernel.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What is still there so long after the end can't be killed.
const WEDGED_AFTER: Duration = Duration::from_secs(60);
/// One round of killing what a lost shim left.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// Waits for a worker's end and says so.
pub(crate) async fn supervise(shared: &Arc<Shared>, job: &Arc<Job>) {
    let mut heard = job.heard.state.subscribe();
    let mut finished: Option<Instant> = None;
    let mut blind = false;
    loop {
        heard.mark_unchanged();
        let shim = job.shim(&shared.paths);
        let state = shim.and_then(|shim| shim.map(|one| Ok((one.state()?, one))).transpose());
        if let (true, Ok(Some((_, worker)))) = (blind, &state) {
            // It may not have been watched from the beginning.
            blind = shared.signals.watch(worker).is_err();
        }
        match state {
            Ok(None) => {
                job.set_lost("its folder is gone from the node's state directory".into());
                break;
            }
            Ok(Some((State::Released, _))) => break,
            Ok(Some((State::Lost { rebooted }, worker))) => {
                clear_away(shared, job, worker, rebooted).await;
                break;
            }
            Ok(Some((State::Finished, worker))) => {
                let since = *finished.get_or_insert_with(Instant::now);
                if since.elapsed() >= WEDGED_AFTER {
                    wedged(shared, job, &worker).await;
                }
            }
            // It could not be looked at when it was taken up, and had not begun.
            Ok(Some((State::Prepared, worker))) if job.is_adopted() => match worker.remove() {
                Ok(()) => {
                    job.set_lost("the agent went down before it began".into());
                    break;
                }
                Err(error) => {
                    tracing::warn!(worker = %job.key, error = super::chain(&error), "stays");
                }
            },
            Ok(Some((State::Running | State::Prepared, _))) => {}
            // Whether it lives is not known, so nothing is said of its end.
            Err(error) => {
                blind = true;
                tracing::warn!(worker = %job.key, error = super::chain(&error), "cannot be looked at");
            }
        }
        // Cancel-safe: it observes a counter and a clock.
        let _ = tokio::time::timeout(LOOK_AGAIN, heard.changed()).await;
    }
    job.set_over();
    shared.board.later(&job.key, |report| report.wedged.clear());
    shared.tell(Input::Ended { key: job.key.clone() }).await;
}

/// The shim is dead and has left no status: what it left running is killed.
async fn clear_away(shared: &Arc<Shared>, job: &Arc<Job>, worker: WorkerDir, rebooted: bool) {
    let why = if rebooted {
        "the machine went down while it ran"
    } else {
        "its shim was lost (killed, or crashed) while it ran"
    };
    job.set_lost(why.to_owned());
    let begun = Instant::now();
    loop {
        let one = worker.clone();
        let left = blocking(move || one.clean_up(CLEAN_UP).map_err(|error| Fault::caused(&error)));
        match left.await {
            Ok(left) if left.is_empty() => return,
            Ok(_) if begun.elapsed() >= WEDGED_AFTER => wedged(shared, job, &worker).await,
            Ok(_) => {}
            Err(fault) => {
                tracing::warn!(worker = %job.key, reason = fault.reason, "cannot be cleared away");
                tokio::time::sleep(CLEAN_UP).await;
            }
        }
    }
}

/// Tells that something can't be killed: the worker keeps its devices. Its result does not wait.
async fn wedged(shared: &Shared, job: &Job, worker: &WorkerDir) {
    let left = worker.remains().unwrap_or_default();
    let named: Vec<String> =
        left.iter().map(|one| format!("{} (pid {}, {})", one.name, one.pid, one.state)).collect();
    let text = match named.is_empty() {
        true => "its shim does not end".to_owned(),
        false => format!("cannot be killed: {}", named.join(", ")),
    };
    if shared.board.get(&job.key).is_none_or(|report| report.wedged != text) {
        shared.board.now(&job.key, |report| report.wedged = text);
    }
    shared.tell(Input::Wedged { key: job.key.clone() }).await;
}
