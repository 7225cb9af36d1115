//! The error watch of a canary: evidence that may be looked at after every request.
//!
//! Both watches are e-processes: under their null hypothesis the evidence has expectation at most 1
//! at every stopping time, so that it ever reaches 1/alpha has probability at most alpha (Ville).

mod error_rate;
mod error_ratio;
mod tail;

pub use error_rate::ErrorRate;
pub use error_ratio::{ErrorRatio, WeightError};

/// The level of the watch unless another is named.
pub const WATCH_ALPHA: f64 = 0.01;
