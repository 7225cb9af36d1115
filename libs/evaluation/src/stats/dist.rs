//! Quantiles and tail areas of the distributions used here, on top of `statrs`.
//!
//! Quantiles are polished by Newton steps on the distribution function, because the library's own
//! inversions stop at about eight digits.

use statrs::distribution::{Beta, Continuous, ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::beta_reg;

fn standard_normal() -> Normal {
    Normal::new(0.0, 1.0).expect("the standard deviation 1 is positive")
}

fn students_t(df: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, df).expect("callers pass at least one degree of freedom")
}

/// Φ(x).
pub(crate) fn normal_cdf(x: f64) -> f64 {
    standard_normal().cdf(x)
}

/// Φ⁻¹(p); infinite at 0 and 1.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    standard_normal().inverse_cdf(p)
}

/// The z that leaves `tail` above it: 1.645 for 0.05.
pub fn normal_quantile_upper(tail: f64) -> f64 {
    -normal_quantile(tail)
}

/// The t that leaves `tail` above it, for `df` ≥ 1 degrees of freedom.
pub fn student_quantile_upper(tail: f64, df: f64) -> f64 {
    if tail <= 0.0 {
        return f64::INFINITY;
    }
    if tail >= 1.0 {
        return f64::NEG_INFINITY;
    }
    let t = students_t(df);
    let mut x = t.inverse_cdf(tail);
    for _ in 0..3 {
        let step = (t.cdf(x) - tail) / t.pdf(x);
        if !step.is_finite() {
            break;
        }
        x -= step;
    }
    -x
}

/// P(T > x).
pub(crate) fn student_sf(x: f64, df: f64) -> f64 {
    students_t(df).sf(x)
}

/// The `p` quantile of Beta(a, b), a and b positive.
pub(crate) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    let beta = Beta::new(a, b).expect("callers pass positive shapes");
    // Bisection first, because the library's start can lie outside the basin for extreme shapes.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if beta_reg(a, b, middle) < p { low = middle } else { high = middle }
    }
    let mut x = (low + high) / 2.0;
    for _ in 0..3 {
        let next = x - (beta_reg(a, b, x) - p) / beta.pdf(x);
        if !(next > 0.0 && next < 1.0) {
            break;
        }
        x = next;
    }
    x
}

/// P(X ≤ k) for X ~ Binomial(n, p).
pub(crate) fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    beta_reg((n - k) as f64, k as f64 + 1.0, 1.0 - p)
}
