//! A process that takes a node's session from one that may live is not believed at once.
//!
//! A copy of an agent's directory finds the workers in it dead, and would say so of workers that run. A
//! process that ended closes its connection, and one that lives takes its session back with its next
//! heartbeat. So a newcomer waits: what it reports is not read, and it is told nothing, until the other has
//! had its chance.

use std::time::Duration;

use runyard_types::NodeName;

use super::service::HEARTBEAT_MS;
use crate::core::Core;
use crate::live::SessionHandle;

/// Two heartbeats and what a busy host adds.
const PATIENCE: Duration = Duration::from_millis(2 * HEARTBEAT_MS + 1_000);
/// Whoever drops its session because it was taken over is back within this.
const BACK_WITHIN: Duration = Duration::from_secs(1);

/// Whether the session was not taken back by the process that had it before, whose session was `before`.
pub(super) async fn pass(
    core: &Core,
    node: &NodeName,
    session: u64,
    before: &SessionHandle,
) -> bool {
    // Cancel-safe: a closed channel and a clock.
    tokio::select! {
        () = before.send.closed() => tokio::time::sleep(BACK_WITHIN).await,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    core.live.session(node).is_some_and(|newest| newest.id == session)
}
