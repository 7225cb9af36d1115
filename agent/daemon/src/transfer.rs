//! Where blobs are moved.
//!
//! The futures of a transfer can't be moved between threads (they hold async closures, for which
//! the compiler can't show it), so each runs on one thread of the blocking pool to its end.

use std::future::Future;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Runs a transfer to its end; `None` when `cancel` came first, or when the transfer panicked, which
/// is in the log.
///
/// # Cancel safety
/// A dropped transfer goes on until `cancel`; what it has stored is whole or invisible.
pub(crate) async fn transfer<T, F, W>(cancel: &CancellationToken, work: W) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
    W: FnOnce() -> F + Send + 'static,
{
    let (handle, cancel) = (Handle::current(), cancel.clone());
    let moved = tokio::task::spawn_blocking(move || {
        handle.block_on(async move {
            tokio::select! {
                done = work() => Some(done),
                () = cancel.cancelled() => None,
            }
        })
    });
    match moved.await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a transfer ended badly");
            None
        }
    }
}
