//! The bootstrap of a ratio of sums, with bias-corrected and accelerated intervals.
//!
//! One statistic serves means (denominator 1), weighted means (Σwx/Σw) and clusters (a unit is a
//! cluster with its sum and its size): whole units are drawn, so what belongs together stays so.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::dist::{normal_cdf, normal_quantile};
use super::interval::Interval;
use super::order::quantile;

/// The units to resample and their statistic, Σ numerator / Σ denominator.
#[derive(Debug, Clone)]
pub struct RatioOfSums {
    numerator: Vec<f64>,
    /// None: every denominator is 1.
    denominator: Option<Vec<f64>>,
}

/// Where the resamples come from.
#[derive(Debug, Clone, Copy)]
pub enum Resamples<'a> {
    /// `count` of them from a ChaCha8 stream.
    Seeded {
        /// Names the stream.
        seed: u64,
        /// The number of resamples.
        count: u32,
    },
    /// Rows of unit numbers, for tests against another implementation.
    Given(&'a [Vec<u32>]),
}

/// The replicates of a statistic and what its intervals need.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    estimate: f64,
    sorted: Vec<f64>,
    /// Bias correction; infinite when all replicates lie on one side.
    z0: f64,
    /// Acceleration, from the jackknife; None asks for plain percentiles.
    acceleration: Option<f64>,
}

/// A bootstrap interval and how it was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapInterval {
    /// The ends.
    pub interval: Interval,
    /// Whether the bias-corrected form could be had; else plain percentiles.
    pub accelerated: bool,
}

impl RatioOfSums {
    /// A plain mean.
    pub fn mean(values: Vec<f64>) -> Self {
        Self { numerator: values, denominator: None }
    }

    /// A ratio; both are of one length.
    pub fn ratio(numerator: Vec<f64>, denominator: Vec<f64>) -> Self {
        Self { numerator, denominator: Some(denominator) }
    }

    /// The number of units.
    pub fn units(&self) -> usize {
        self.numerator.len()
    }

    /// The statistic of the units as they are.
    pub fn estimate(&self) -> f64 {
        let (top, bottom) = self.totals();
        top / bottom
    }

    fn totals(&self) -> (f64, f64) {
        let bottom = match &self.denominator {
            None => self.units() as f64,
            Some(values) => values.iter().sum(),
        };
        (self.numerator.iter().sum(), bottom)
    }

    fn of(&self, rows: &[u32]) -> f64 {
        let sum = |values: &[f64]| sum_at(values, rows);
        let bottom = self.denominator.as_ref().map_or(rows.len() as f64, |values| sum(values));
        sum(&self.numerator) / bottom
    }

    /// a = Σu³ / (6 (Σu²)^1.5), with u the mean of the leave-one-out values minus each of them.
    fn acceleration(&self) -> f64 {
        let (top, bottom) = self.totals();
        let without = |i: usize| {
            (top - self.numerator[i])
                / (bottom - self.denominator.as_ref().map_or(1.0, |values| values[i]))
        };
        let n = self.units();
        let mean = (0..n).map(without).sum::<f64>() / n as f64;
        let (mut square, mut cube) = (0.0, 0.0);
        for i in 0..n {
            let u = mean - without(i);
            square += u * u;
            cube += u * u * u;
        }
        let scale = square * square.sqrt();
        if scale > 0.0 { cube / (6.0 * scale) } else { 0.0 }
    }
}

impl Bootstrap {
    /// Replicates `statistic`. A unit number out of range in given resamples is a caller's bug.
    pub fn of(statistic: &RatioOfSums, resamples: Resamples<'_>) -> Self {
        let estimate = statistic.estimate();
        let replicates = replicate(statistic.units(), resamples, |rows| statistic.of(rows));
        Self::new(estimate, replicates, Some(statistic.acceleration()))
    }

    /// Replicates the difference of the `q` quantiles of two paired columns; intervals are plain
    /// percentiles, because the jackknife of a quantile is inconsistent.
    pub fn of_quantile_difference(
        candidate: &[f64],
        champion: &[f64],
        q: f64,
        resamples: Resamples<'_>,
    ) -> Self {
        let mut scratch = Vec::with_capacity(candidate.len());
        let mut of = |values: &[f64], rows: Option<&[u32]>| {
            scratch.clear();
            match rows {
                None => scratch.extend_from_slice(values),
                Some(rows) => scratch.extend(rows.iter().map(|row| values[*row as usize])),
            }
            scratch.sort_unstable_by(f64::total_cmp);
            quantile(&scratch, q)
        };
        let estimate = of(candidate, None) - of(champion, None);
        let replicates = replicate(candidate.len(), resamples, |rows| {
            of(candidate, Some(rows)) - of(champion, Some(rows))
        });
        Self::new(estimate, replicates, None)
    }

    fn new(estimate: f64, mut sorted: Vec<f64>, acceleration: Option<f64>) -> Self {
        sorted.sort_unstable_by(f64::total_cmp);
        let below = sorted.partition_point(|value| *value < estimate);
        let up_to = sorted.partition_point(|value| *value <= estimate);
        let rank = (below + up_to) as f64 / 2.0 / sorted.len() as f64;
        Self { estimate, sorted, z0: normal_quantile(rank), acceleration }
    }

    /// The statistic of the data.
    pub fn estimate(&self) -> f64 {
        self.estimate
    }

    /// The number of replicates.
    pub fn replicates(&self) -> usize {
        self.sorted.len()
    }

    /// The standard deviation of the replicates.
    pub fn se(&self) -> f64 {
        super::mean::MeanSummary::of(&self.sorted).map_or(0.0, |summary| summary.sd)
    }

    /// The plain percentile interval.
    pub fn percentile(&self, tail: f64) -> Interval {
        Interval { low: quantile(&self.sorted, tail), high: quantile(&self.sorted, 1.0 - tail) }
    }

    /// The bias-corrected and accelerated interval (Efron 1987), or percentiles where it does not
    /// exist: no acceleration was computed, or all replicates lie on one side of the estimate.
    pub fn interval(&self, tail: f64) -> BootstrapInterval {
        let Some(acceleration) = self.acceleration.filter(|_| self.z0.is_finite()) else {
            return BootstrapInterval { interval: self.percentile(tail), accelerated: false };
        };
        let adjusted = |z: f64| {
            let shifted = self.z0 + z;
            normal_cdf(self.z0 + shifted / (1.0 - acceleration * shifted))
        };
        let (low, high) = (adjusted(normal_quantile(tail)), adjusted(-normal_quantile(tail)));
        if !(low.is_finite() && high.is_finite() && low <= high) {
            return BootstrapInterval { interval: self.percentile(tail), accelerated: false };
        }
        let interval =
            Interval { low: quantile(&self.sorted, low), high: quantile(&self.sorted, high) };
        BootstrapInterval { interval, accelerated: true }
    }
}

/// The generator of a seed; the same on every platform.
pub(crate) fn stream(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn replicate(
    units: usize,
    resamples: Resamples<'_>,
    mut statistic: impl FnMut(&[u32]) -> f64,
) -> Vec<f64> {
    match resamples {
        Resamples::Given(rows) => rows.iter().map(|rows| statistic(rows)).collect(),
        Resamples::Seeded { seed, count } => {
            let mut random = stream(seed);
            let mut draws = Draws::new(units);
            (0..count).map(|_| statistic(draws.next(&mut random))).collect()
        }
    }
}

/// The sum of `values` at `rows`, in four lanes that do not wait for each other; the lane of a row is
/// its position modulo four, so that the order is the same everywhere.
fn sum_at(values: &[f64], rows: &[u32]) -> f64 {
    let mut lanes = [0.0; 4];
    let (quads, rest) = rows.as_chunks::<4>();
    for quad in quads {
        for (lane, row) in lanes.iter_mut().zip(quad) {
            *lane += values[*row as usize];
        }
    }
    for (lane, row) in lanes.iter_mut().zip(rest) {
        *lane += values[*row as usize];
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

/// The buffers of one resample.
struct Draws {
    bytes: Vec<u8>,
    rows: Vec<u32>,
}

impl Draws {
    fn new(units: usize) -> Self {
        Self { bytes: vec![0; 4 * units], rows: vec![0; units] }
    }

    /// As many uniform unit numbers as there are units, by multiplication and rejection (Lemire
    /// 2019): no bias, and no division on the usual path.
    fn next(&mut self, random: &mut ChaCha8Rng) -> &[u32] {
        let bound = self.rows.len() as u32;
        random.fill_bytes(&mut self.bytes);
        let (words, _) = self.bytes.as_chunks::<4>();
        for (row, word) in self.rows.iter_mut().zip(words) {
            let mut product = u64::from(u32::from_le_bytes(*word)) * u64::from(bound);
            if (product as u32) < bound {
                let reject = bound.wrapping_neg() % bound;
                while (product as u32) < reject {
                    product = u64::from(random.next_u32()) * u64::from(bound);
                }
            }
            *row = (product >> 32) as u32;
        }
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sided_replicates_fall_back_to_percentiles() {
        let statistic = RatioOfSums::mean(vec![1.0, 2.0, 3.0]);
        let all_low = vec![vec![0, 0, 0], vec![0, 0, 1], vec![0, 1, 0]];
        let bootstrap = Bootstrap::of(&statistic, Resamples::Given(&all_low));
        let outcome = bootstrap.interval(0.05);
        assert!(!outcome.accelerated);
        assert!(outcome.interval.low >= 1.0 && outcome.interval.high < 2.0);
    }

    #[test]
    fn a_seed_names_a_stream() {
        let statistic = RatioOfSums::mean((0..50).map(|i| f64::from(i * i)).collect());
        let of =
            |seed| Bootstrap::of(&statistic, Resamples::Seeded { seed, count: 500 }).interval(0.05);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn draws_are_uniform() {
        let (mut random, mut draws, mut seen) = (stream(3), Draws::new(7), [0_u32; 7]);
        for _ in 0..10_000 {
            for row in draws.next(&mut random) {
                seen[*row as usize] += 1;
            }
        }
        assert!(seen.iter().all(|count| count.abs_diff(10_000) < 400), "{seen:?}");
    }

    #[test]
    fn a_cluster_is_drawn_whole() {
        // Two clusters of opposite sums: any resample is one of three values.
        let statistic = RatioOfSums::ratio(vec![10.0, -10.0], vec![10.0, 10.0]);
        let bootstrap = Bootstrap::of(&statistic, Resamples::Seeded { seed: 1, count: 200 });
        assert!(bootstrap.sorted.iter().all(|value| [-1.0, 0.0, 1.0].contains(value)));
    }
}
