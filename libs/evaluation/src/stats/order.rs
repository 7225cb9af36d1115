//! Quantiles and their distribution-free intervals.

use super::dist::binomial_cdf;
use super::interval::Interval;

/// The `q` quantile of sorted values, by linear interpolation (type 7). `sorted` is not empty.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let below = (position.floor() as usize).min(sorted.len() - 1);
    let above = (below + 1).min(sorted.len() - 1);
    let share = position - below as f64;
    // Where neighbours are equal nothing is computed, so that ties stay exact.
    if share == 0.0 || sorted[below] == sorted[above] {
        return sorted[below];
    }
    sorted[below] + (sorted[above] - sorted[below]) * share
}

/// The interval for the `q` quantile from two order statistics: with X the number of values below
/// the true quantile, X ~ Binomial(n, q). The upper end is the smallest X₍k₎ with
/// P(X ≤ k−1) ≥ 1 − tail, the lower end the largest X₍k₎ with P(X ≤ k−1) ≤ tail. An end that n values
/// cannot give is infinite: a 95 % bound for the 95th percentile needs 59 of them.
pub fn quantile_interval(sorted: &[f64], q: f64, tail: f64) -> Interval {
    let n = sorted.len() as u64;
    // The distribution function rises in k, so both ends are found by bisection.
    let first = |target: f64, strictly: bool| {
        let (mut low, mut high) = (0, n);
        while low < high {
            let k = (low + high) / 2;
            let cdf = binomial_cdf(k, n, q);
            if if strictly { cdf > target } else { cdf >= target } { high = k } else { low = k + 1 }
        }
        low
    };
    // Indices count from 0, so X₍k₎ is sorted[k − 1], and k − 1 is what the search returns.
    let upper = first(1.0 - tail, false);
    let beyond = first(tail, true);
    Interval {
        low: if beyond == 0 { f64::NEG_INFINITY } else { sorted[beyond as usize - 1] },
        high: sorted.get(upper as usize).copied().unwrap_or(f64::INFINITY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_percentile_needs_59_values() {
        let of = |n: u32| {
            let values: Vec<f64> = (0..n).map(f64::from).collect();
            quantile_interval(&values, 0.95, 0.05)
        };
        assert_eq!(of(58).high, f64::INFINITY);
        assert_eq!(of(59).high, 58.0);
        assert!(of(58).low > 40.0);
    }

    #[test]
    fn the_interval_holds_its_level_exactly() {
        // Coverage of the upper end is P(X <= k-1), which must reach the level, and would not with
        // the next smaller order statistic.
        let n = 200;
        let values: Vec<f64> = (0..n).map(f64::from).collect();
        let upper = quantile_interval(&values, 0.9, 0.05).high as u64;
        assert!(binomial_cdf(upper, 200, 0.9) >= 0.95);
        assert!(binomial_cdf(upper - 1, 200, 0.9) < 0.95);
    }
}
