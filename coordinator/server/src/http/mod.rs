//! HTTP beside gRPC on the same port: the status page, its JSON, health and metrics.
//!
//! Invariant: nothing here changes the state. The JSON is what gRPC answers, asked with the caller's own token.

mod answer;
mod api;
mod events;
mod exposition;
mod guard;
mod health;
mod login;
mod logs;
mod metrics;
mod page;
mod sse;
mod utf8;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::core::Core;

/// The largest body taken, in bytes: a token in JSON.
const BODY_BYTES_MAX: usize = 4 << 10;

/// All routes that are not gRPC's.
pub(crate) fn router(core: Core) -> Router {
    let open =
        Router::new().route("/healthz", get(health::alive)).route("/readyz", get(health::ready));
    let guarded = Router::new()
        .route("/", get(page::html))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .route("/login", post(login::login))
        .route("/logout", post(login::logout))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/runs", get(api::runs))
        .route("/api/v1/runs/{run}", get(api::run))
        .route("/api/v1/nodes", get(api::nodes))
        .route("/api/v1/nodes/{node}", get(api::node))
        .route("/api/v1/models", get(api::models))
        .route("/api/v1/models/{model}", get(api::model))
        .route("/api/v1/deployments", get(api::deployments))
        .route("/api/v1/deployments/{deployment}", get(api::deployment))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/stream", get(events::stream))
        .route("/api/v1/logs/{*target}", get(logs::stream))
        .layer(middleware::from_fn_with_state(core.clone(), guard::check));
    open.merge(guarded)
        .fallback(answer::unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(guard::headers))
        .with_state(core)
}
