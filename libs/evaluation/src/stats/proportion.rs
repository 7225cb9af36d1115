//! Intervals for one proportion.

use super::dist::{beta_quantile, normal_quantile_upper};
use super::interval::Interval;

/// Wilson's score interval (Wilson 1927) for `successes` out of `n` ≥ 1. Its ends lie in [0, 1] and
/// it stays honest at 0 and n successes, where the textbook interval has no width.
pub fn wilson(successes: u64, n: u64, tail: f64) -> Interval {
    wilson_at(successes, n, normal_quantile_upper(tail))
}

/// As [`wilson`], for a given z.
pub(crate) fn wilson_at(successes: u64, n: u64, z: f64) -> Interval {
    let (n, p) = (n as f64, successes as f64 / n as f64);
    if z.is_infinite() {
        return Interval { low: 0.0, high: 1.0 };
    }
    let denominator = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / denominator;
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / denominator;
    // The limits at 0 and n successes are exact; rounding must not leave them at 1e-17.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if p == 1.0 { 1.0 } else { (centre + half).min(1.0) };
    Interval { low, high }
}

/// Clopper and Pearson's exact interval (1934) for `successes` out of `n` ≥ 1: never below its
/// nominal coverage, therefore wider. For safety gates with few or no failures.
pub fn clopper_pearson(successes: u64, n: u64, tail: f64) -> Interval {
    let (x, rest) = (successes as f64, (n - successes) as f64);
    let low = if successes == 0 { 0.0 } else { beta_quantile(tail, x, rest + 1.0) };
    let high = if successes == n { 1.0 } else { beta_quantile(1.0 - tail, x + 1.0, rest) };
    Interval { low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_in_thirty_leaves_eleven_percent() {
        let interval = clopper_pearson(0, 30, 0.025);
        assert_eq!(interval.low, 0.0);
        assert!((interval.high - 0.1157).abs() < 5e-5, "{}", interval.high);
    }

    #[test]
    fn success_and_failure_are_mirror_images() {
        for (x, n) in [(0, 5), (1, 7), (40, 41), (17, 899)] {
            for interval in [wilson, clopper_pearson] {
                let (a, b) = (interval(x, n, 0.05), interval(n - x, n, 0.05));
                assert!((a.low - (1.0 - b.high)).abs() < 1e-12);
                assert!((a.high - (1.0 - b.low)).abs() < 1e-12);
            }
        }
    }
}
