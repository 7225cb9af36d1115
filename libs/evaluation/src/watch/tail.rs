//! The upper tail of the Beta integral in logarithms, for counts at which it underflows.

use statrs::function::beta::ln_beta;

/// ln ∫ₓ¹ pᵃ⁻¹ (1−p)ᵇ⁻¹ dp, for positive a and b and 0 < x < 1.
pub(crate) fn ln_beta_upper(a: f64, b: f64, x: f64) -> f64 {
    let ln_front = a * x.ln() + b * (-x).ln_1p();
    // The continued fraction converges fast on the side of the mode where the integral is small.
    if 1.0 - x < (b + 1.0) / (a + b + 2.0) {
        return ln_front - b.ln() + fraction(b, a, 1.0 - x).ln();
    }
    let whole = ln_beta(a, b);
    let lower = ln_front - a.ln() + fraction(a, b, x).ln();
    whole + (-(lower - whole).exp().min(1.0)).ln_1p()
}

/// The continued fraction of the incomplete Beta function (DLMF 8.17.22) by Lentz's method.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    // The number of terms grows with the square root of the counts.
    const TERMS_MAX: u32 = 100_000;
    let keep = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / keep(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for term in 1..=TERMS_MAX {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / keep(1.0 + even * d);
        c = keep(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / keep(1.0 + odd * d);
        c = keep(1.0 + odd / c);
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simpson's rule on the logarithmic scale: the check by quadrature.
    fn quadrature(a: f64, b: f64, x: f64) -> f64 {
        let ln_f = |p: f64| (a - 1.0) * p.ln() + (b - 1.0) * (-p).ln_1p();
        let n = 200_000;
        let step = (1.0 - x) / f64::from(n);
        let points = (0..=n).map(|i| (i, (x + f64::from(i) * step).min(1.0 - 1e-15)));
        let peak = points.clone().map(|(_, p)| ln_f(p)).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = points
            .map(|(i, p)| {
                let weight = if i == 0 || i == n {
                    1.0
                } else if i % 2 == 1 {
                    4.0
                } else {
                    2.0
                };
                weight * (ln_f(p) - peak).exp()
            })
            .sum();
        peak + (sum * step / 3.0).ln()
    }

    #[test]
    fn agrees_with_quadrature() {
        for (a, b, x) in [
            (1.0, 1.0, 0.2),
            (3.0, 8.0, 0.1),
            (30.0, 15.0, 0.2),
            (2.0, 900.0, 0.05),
            (40.0, 400.0, 0.3),
            (300.0, 20.0, 0.5),
        ] {
            let (got, expected) = (ln_beta_upper(a, b, x), quadrature(a, b, x));
            assert!((got - expected).abs() < 1e-6, "{a} {b} {x}: {got} {expected}");
        }
    }

    #[test]
    fn does_not_underflow() {
        // With a = 1 the integral is (1−x)ᵇ/b.
        let expected = 1e5 * 0.5_f64.ln() - 1e5_f64.ln();
        assert!((ln_beta_upper(1.0, 1e5, 0.5) - expected).abs() < 1e-6);
    }

    #[test]
    fn agrees_with_scipy() {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/reference/reference.json"))
                .expect("json");
        for case in all["beta_tails"].as_array().expect("cases") {
            let number = |key: &str| case[key].as_f64().expect("a number");
            let (got, expected) =
                (ln_beta_upper(number("a"), number("b"), number("x")), number("ln"));
            let error = (got - expected).abs();
            assert!(error <= 1e-9 * expected.abs().max(1.0), "{case}: {got}");
        }
    }
}
