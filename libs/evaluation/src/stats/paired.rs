//! Two models judged right or wrong on the same examples.

use statrs::distribution::{Binomial, Discrete};

use super::dist::{binomial_cdf, normal_quantile_upper};
use super::interval::Interval;
use super::proportion::wilson_at;

/// The 2×2 table of a pair of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairedCounts {
    /// Both right.
    pub both: u64,
    /// Only the candidate right.
    pub only_candidate: u64,
    /// Only the champion right.
    pub only_champion: u64,
    /// Both wrong.
    pub neither: u64,
}

/// McNemar's test of equal accuracy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct McNemar {
    /// The exact conditional two-sided p.
    pub exact: f64,
    /// The mid-p variant, which Fagerland, Lydersen and Laake (2013) recommend.
    pub mid_p: f64,
}

impl PairedCounts {
    /// Counts 0/1 values, the candidate's first.
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = Self { both: 0, only_candidate: 0, only_champion: 0, neither: 0 };
        for pair in pairs {
            *match pair {
                (true, true) => &mut counts.both,
                (true, false) => &mut counts.only_candidate,
                (false, true) => &mut counts.only_champion,
                (false, false) => &mut counts.neither,
            } += 1;
        }
        counts
    }

    /// The number of examples.
    pub fn n(&self) -> u64 {
        self.both + self.only_candidate + self.only_champion + self.neither
    }

    /// The number of examples on which exactly one of the two is right.
    pub fn discordant(&self) -> u64 {
        self.only_candidate + self.only_champion
    }

    /// The candidate's accuracy minus the champion's.
    pub fn difference(&self) -> f64 {
        (self.only_candidate as f64 - self.only_champion as f64) / self.n() as f64
    }

    /// McNemar's test; p = 1 when no example is discordant.
    pub fn mcnemar(&self) -> McNemar {
        let (b, c) = (self.only_champion, self.only_candidate);
        let (total, k) = (b + c, b.min(c));
        if total == 0 {
            return McNemar { exact: 1.0, mid_p: 1.0 };
        }
        let cdf = binomial_cdf(k, total, 0.5);
        let pmf = Binomial::new(0.5, total).expect("one half is a probability").pmf(k);
        let mid_p = if b == c { 1.0 - pmf / 2.0 } else { 2.0 * cdf - pmf };
        McNemar { exact: (2.0 * cdf).min(1.0), mid_p: mid_p.min(1.0) }
    }

    /// Newcombe's method 10 (1998) for the difference of paired proportions: the two Wilson
    /// intervals, combined with the correlation of the pair.
    pub fn newcombe(&self, tail: f64) -> Interval {
        let z = normal_quantile_upper(tail);
        let (a, b) = (self.both as f64, self.only_candidate as f64);
        let (c, d, n) = (self.only_champion as f64, self.neither as f64, self.n() as f64);
        let of_candidate = wilson_at(self.both + self.only_candidate, self.n(), z);
        let of_champion = wilson_at(self.both + self.only_champion, self.n(), z);
        let (p1, p2) = ((a + b) / n, (a + c) / n);
        let product = (a + b) * (c + d) * (a + c) * (b + d);
        let cross = a * d - b * c;
        // The continuity correction of the method: a positive numerator is reduced by n/2.
        let cross = if cross > 0.0 { (cross - n / 2.0).max(0.0) } else { cross };
        let phi = if product == 0.0 { 0.0 } else { cross / product.sqrt() };
        let side = |x: f64, y: f64| (x * x - 2.0 * phi * x * y + y * y).max(0.0).sqrt();
        Interval {
            low: (p1 - p2) - side(p1 - of_candidate.low, of_champion.high - p2),
            high: (p1 - p2) + side(of_candidate.high - p1, p2 - of_champion.low),
        }
    }

    /// Agresti and Min's interval (2005): the simple one with half an example added to each cell.
    pub fn agresti_min(&self, tail: f64) -> Interval {
        let n = self.n() as f64 + 2.0;
        let (b, c) = (self.only_candidate as f64 + 0.5, self.only_champion as f64 + 0.5);
        let difference = (b - c) / n;
        let se = ((b + c) - (b - c) * (b - c) / n).max(0.0).sqrt() / n;
        let half = normal_quantile_upper(tail) * se;
        Interval { low: (difference - half).max(-1.0), high: (difference + half).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_mcnemar_examples() {
        let of = |b, c| PairedCounts { both: 3, only_candidate: c, only_champion: b, neither: 2 };
        assert!((of(1, 7).mcnemar().mid_p - 0.0390625).abs() < 1e-12);
        let p = of(12, 4).mcnemar();
        assert!((p.exact - 0.0768).abs() < 5e-5 && (p.mid_p - 0.0490).abs() < 5e-5, "{p:?}");
        assert_eq!(of(0, 0).mcnemar(), McNemar { exact: 1.0, mid_p: 1.0 });
    }

    #[test]
    fn newcombe_reproduces_the_published_interval() {
        let table = PairedCounts { both: 36, only_candidate: 12, only_champion: 2, neither: 0 };
        let interval = table.newcombe(0.025);
        assert!((interval.low - 0.0569).abs() < 5e-5 && (interval.high - 0.3404).abs() < 5e-5);
    }

    #[test]
    fn identical_perfect_models_still_have_a_width() {
        let table = PairedCounts { both: 50, only_candidate: 0, only_champion: 0, neither: 0 };
        let interval = table.newcombe(0.05);
        assert!(interval.low < -0.04 && interval.high > 0.04, "{interval:?}");
    }
}
