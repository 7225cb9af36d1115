//! The agent: session, reconciler, spool, adoption.
//!
//! [`core`] decides, without I/O or a clock; the rest carries out what it decides. Whatever
//! happens to an agent, its workers run on: each belongs to its shim, and is adopted by the next
//! start.
//!
//! Invariant: a worker stops only because a tombstone names it, or by itself; nothing is ever
//! concluded from its absence in a desired set.

mod board;
mod config;
pub mod core;
mod error;
mod link;
mod log;
mod position;
mod readable;
mod reconciler;
mod routes;
mod run;
mod shared;
mod signals;
mod state_dir;
mod telemetry;
mod transfer;
mod worker;

pub use config::Config;
pub use error::AgentError;
pub use run::run;

/// Becomes a zygote or a shim when the command line says so; returns otherwise.
///
/// The binary's `main` calls it before anything else: before arguments are parsed, a runtime or a
/// log is made, or any thread is started.
pub fn dispatch() {
    runyard_runtime::dispatch();
}
