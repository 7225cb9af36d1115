//! Means of examples that come in groups (questions of one document, frames of one video).

use super::dist::{normal_quantile_upper, student_quantile_upper, student_sf};
use super::interval::Interval;

/// Fewer groups than this take Student's quantile with G − 1 degrees of freedom.
const MANY_CLUSTERS: usize = 40;

/// A mean with a standard error that allows any dependence inside a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusteredMean {
    /// The number of examples.
    pub n: usize,
    /// The number of groups, at least two.
    pub clusters: usize,
    /// The mean over examples.
    pub mean: f64,
    /// √(G/(G−1)) · √(Σ_g(Σ_{i∈g} e_i)²) / n, the sandwich error with the small-sample factor.
    pub se: f64,
}

impl ClusteredMean {
    /// Computes it from values and their group numbers (0-based, below `clusters`). None with fewer
    /// than two groups.
    pub fn of(values: &[f64], groups: &[usize], clusters: usize) -> Option<Self> {
        if clusters < 2 || values.len() < 2 {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let mut sums = vec![0.0; clusters];
        for (value, group) in values.iter().zip(groups) {
            sums[*group] += value - mean;
        }
        let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
        let factor = clusters as f64 / (clusters as f64 - 1.0);
        let equal = values.iter().all(|value| *value == values[0]);
        let se = if equal { 0.0 } else { (factor * squares).sqrt() / n };
        Some(Self { n: values.len(), clusters, mean, se })
    }

    /// The interval of the mean.
    pub fn interval(&self, tail: f64) -> Interval {
        let half = self.quantile_upper(tail) * self.se;
        Interval { low: self.mean - half, high: self.mean + half }
    }

    /// The two-sided p of a zero mean, by t with G − 1 degrees of freedom; None without variance.
    pub fn p(&self) -> Option<f64> {
        let t = (self.mean / self.se).abs();
        (self.se > 0.0).then(|| (2.0 * student_sf(t, self.clusters as f64 - 1.0)).min(1.0))
    }

    fn quantile_upper(&self, tail: f64) -> f64 {
        if self.clusters < MANY_CLUSTERS {
            student_quantile_upper(tail, self.clusters as f64 - 1.0)
        } else {
            normal_quantile_upper(tail)
        }
    }
}
