//! `/healthz` and `/readyz`, open to all: they say nothing but whether.

use axum::extract::State;
use axum::http::StatusCode;

use crate::core::Core;

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The peer has its whole log and knows a leader, so that reads and writes can be answered.
pub(super) async fn ready(State(core): State<Core>) -> (StatusCode, &'static str) {
    let status = core.truth.status();
    let reason = if status.stopped {
        "stopped\n"
    } else if !status.ready {
        "the log is being replayed\n"
    } else if status.leader.is_none() {
        "no leader is known\n"
    } else {
        return (StatusCode::OK, "ok\n");
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason)
}
