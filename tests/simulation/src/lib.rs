//! Deterministic simulation of a whole cluster on one thread.
//!
//! The product's own state machine, scheduler, consensus peer and agent core run over a simulated clock,
//! network, disk and processes. One seed gives one history: the same on every machine, to the last step.
//!
//! Invariant: nothing here reads a clock, a file or a random source but the seed's.

mod agent;
mod chain;
mod client;
mod cluster;
mod leader;
mod machine;
mod node;
mod pipelines;
mod random;
mod server;
mod wire;
mod witness;
mod world;

pub use world::{Broken, Options, Summary, run};
