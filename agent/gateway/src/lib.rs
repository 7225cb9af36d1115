//! Traffic to served models: weights, readiness, drain, canary watch, local rollback.
//!
//! A request for `/DEPLOYMENT/rest` goes as `/rest` to a replica of one of the deployment's revisions.
//! The daemon says which revisions there are and what share each gets ([`Gateway::set_routes`]); the
//! gateway finds out which are ready, moves traffic without failing a request, watches for errors, and
//! goes back by itself.
//!
//! Invariant: the gateway only ever goes back, never forward; it needs no coordinator to do so; and no
//! request of a user reaches a revision before that has answered its own readiness requests.

mod answer;
mod body;
mod choice;
mod deployment;
mod exchange;
mod feedback;
mod gateway;
mod headers;
mod latch;
mod proxy;
mod ready;
mod replica;
mod revision;
mod rollback;
mod route;
mod server;
mod upgrade;
mod warm_up;
mod watch;

pub use gateway::{Gateway, GatewayError, Options};
pub use latch::LatchError;
pub use revision::LATENCY_BUCKETS_MS;
pub use route::{Ready, Replica, RevisionReport, Route, RouteRevision};
