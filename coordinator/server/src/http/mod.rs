//! HTTP beside gRPC on the same port: the status page, its JSON, health and metrics.

use axum::Router;
use axum::routing::get;

use crate::core::Core;

/// All routes that are not gRPC's.
pub(crate) fn router(core: Core) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).with_state(core)
}
