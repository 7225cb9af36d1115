//! The coordinator: services, reconcilers and the read model.
//!
//! Invariant: nothing here is the truth. What the replicated state does not hold can be lost at any moment
//! and is found again: from the agents' reports, the log's events or the blob store.

mod access;
mod certificate;
mod clock;
mod commit;
mod config;
mod contentkey;
mod core;
mod errors;
mod http;
mod latest;
mod live;
mod logs;
mod readmodel;
mod reconcile;
mod revocation;
mod run;
mod services;
mod session;
mod shorten;
mod stagecache;
mod stagespec;
mod truth;
mod views;

pub use certificate::RenewError;
pub use commit::COMMIT;
pub use config::{InitError, Initialised, ServerConfig, init};
pub use reconcile::gate_child::gate_child_main;
pub use run::{ServerError, Started, start};
