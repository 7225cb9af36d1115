//! A closed interval.

use serde::{Deserialize, Serialize};

/// The two ends of a confidence interval, in the unit of the estimate. An end that the data cannot
/// give is infinite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The interval of the negated quantity.
    pub fn negated(self) -> Self {
        Self { low: -self.high, high: -self.low }
    }

    /// Half of the distance between the ends.
    pub fn half_width(self) -> f64 {
        (self.high - self.low) / 2.0
    }
}
