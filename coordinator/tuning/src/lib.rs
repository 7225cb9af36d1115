//! Samplers of hyperparameters. Pure.
//!
//! Invariant: no clock, no I/O, no random source. A point is a function of space, seed and number, so
//! that a sweep goes on after a failover with the trials that it would have had.

mod grid;
mod random;
mod space;

pub use grid::{Grid, GridError, POINTS_MAX};
pub use random::Random;
pub use space::{Dimension, Point, Scale, Space, SpaceError, Value};
