//! The decisions: a state machine without I/O, clock or runtime.
//!
//! [`Core::step`] takes what happened and answers what is to be done. The shell carries the effects
//! out in their order, and says what became of them. Everything may come twice and late.

mod message;
mod node;
mod step;
#[cfg(test)]
mod tests;

pub use message::{
    DesiredSet, DesiredWorker, Effect, Found, FoundStep, Input, Phase, Position, Status, Tombstone,
};
pub use node::Core;
