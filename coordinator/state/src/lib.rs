//! The replicated state: commands, entities and `apply`.
//!
//! Invariant: `apply` is a pure function of the log. It reads no clock, file, archive or random source,
//! and iterates in key order only, so that the same log gives the same state on every peer.

mod apply;
mod command;
pub mod entity;
mod event;
mod invariants;
mod refusal;
mod stamp;
mod state;

pub use apply::CHAIN_MAX;
pub use command::*;
pub use event::{Event, EventKind, EventNumber};
pub use invariants::{Violation, check_invariants};
pub use refusal::Refusal;
pub use stamp::{Clock, Stamp};
pub use state::{Applied, Limits, Reply, RunRef, STATE_VERSION, StageRef, State};
