//! Means of numbers and the t test.

use super::dist::{student_quantile_upper, student_sf};
use super::interval::Interval;

/// Size, mean and spread of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanSummary {
    /// The number of values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with n − 1 in the denominator; 0 for a single value.
    pub sd: f64,
    /// The moment skewness; 0 when all values are equal.
    pub skewness: f64,
}

/// A t test of a mean against a fixed value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TTest {
    /// The statistic.
    pub t: f64,
    /// Degrees of freedom, n − 1.
    pub df: f64,
    /// Two-sided p.
    pub p: f64,
}

impl MeanSummary {
    /// Summarises `values`, in two passes and in their order. None when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let (mut second, mut third) = (0.0, 0.0);
        for value in values {
            let deviation = value - mean;
            second += deviation * deviation;
            third += deviation * deviation * deviation;
        }
        let variance = second / n;
        let skewness = if variance > 0.0 { third / n / (variance * variance.sqrt()) } else { 0.0 };
        let sd = if values.len() < 2 { 0.0 } else { (second / (n - 1.0)).sqrt() };
        // The mean of equal values is rounded, so their spread may come out as 1e-17, not 0.
        let equal = values.iter().all(|value| *value == values[0]);
        Some(Self {
            n: values.len(),
            mean: if equal { values[0] } else { mean },
            sd: if equal { 0.0 } else { sd },
            skewness: if equal { 0.0 } else { skewness },
        })
    }

    /// The standard error of the mean.
    pub fn se(&self) -> f64 {
        self.sd / (self.n as f64).sqrt()
    }

    /// Tests the mean against `null`; on differences of pairs this is the paired t test. None when
    /// there are fewer than two values or all are equal.
    pub fn t_test(&self, null: f64) -> Option<TTest> {
        if self.n < 2 || self.sd == 0.0 {
            return None;
        }
        let df = self.n as f64 - 1.0;
        let t = (self.mean - null) / self.se();
        Some(TTest { t, df, p: (2.0 * student_sf(t.abs(), df)).min(1.0) })
    }

    /// Student's interval for the mean; None where [`MeanSummary::t_test`] is.
    pub fn t_interval(&self, tail: f64) -> Option<Interval> {
        if self.n < 2 || self.sd == 0.0 {
            return None;
        }
        let half = student_quantile_upper(tail, self.n as f64 - 1.0) * self.se();
        Some(Interval { low: self.mean - half, high: self.mean + half })
    }
}
