//! Results files and the statistics of gates and canaries. Pure.
//!
//! Invariant: no clock, file, network, random source or hash order. The same inputs and seed give
//! the same bytes.

pub mod gate;
pub mod results;
pub mod stats;
pub mod watch;
