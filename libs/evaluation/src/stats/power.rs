//! What an evaluation set can and cannot show.
//!
//! Both kinds of answer take the level of the *two-sided* test (0.05) and the power (0.8), as
//! planning figures usually do.

use super::dist::{normal_quantile_upper, student_quantile_upper};

/// The examples that McNemar's test needs to find a true difference of `delta` when a share
/// `discordance` of the examples is discordant (Connor 1987). None when it cannot be: `delta` is
/// zero or larger than the discordance.
pub fn mcnemar_examples(delta: f64, discordance: f64, level: f64, power: f64) -> Option<u64> {
    let squared = delta * delta;
    if !(squared > 0.0 && delta.abs() <= discordance) {
        return None;
    }
    let root = normal_quantile_upper(level / 2.0) * discordance.sqrt()
        + normal_quantile_upper(1.0 - power) * (discordance - squared).max(0.0).sqrt();
    let needed = (root * root / squared).ceil();
    (needed < 1e15).then_some(needed as u64)
}

/// The smallest true difference of accuracies that McNemar's test finds with the given power among
/// `n` examples: Connor's formula solved for the difference. A difference cannot exceed the share of
/// discordant examples; where the observed share is too small for any to be found, the answer is the
/// smallest one that would bring its own discordance. None when not even a difference of 1 is found.
pub fn mcnemar_mde(n: u64, discordance: f64, level: f64, power: f64) -> Option<f64> {
    let n = n as f64;
    let (za, zb) = (normal_quantile_upper(level / 2.0), normal_quantile_upper(1.0 - power));
    // n δ² = (za√ψ + zb√(ψ − δ²))² is a quadratic in δ.
    let under = discordance * zb * zb * (n + zb * zb - za * za);
    if under >= 0.0 {
        let delta = ((n * discordance).sqrt() * za + under.sqrt()) / (n + zb * zb);
        if delta <= discordance && delta > 0.0 {
            return Some(delta);
        }
    }
    // ψ = δ: δ = (za + zb√(1 − δ))² / n has one root, because the right side falls in δ.
    let excess = |delta: f64| {
        let root = za + zb * (1.0 - delta).sqrt();
        delta - root * root / n
    };
    if excess(1.0) < 0.0 {
        return None;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if excess(middle) < 0.0 { low = middle } else { high = middle }
    }
    Some(high)
}

/// The smallest true mean that a t test finds with the given power, from the standard error and its
/// degrees of freedom. The non-central t is replaced by shifted central quantiles, which is right to
/// the second digit from ten examples on.
pub fn mean_mde(se: f64, df: f64, level: f64, power: f64) -> f64 {
    let quantile = |tail| {
        if df < 30.0 { student_quantile_upper(tail, df) } else { normal_quantile_upper(tail) }
    };
    (quantile(level / 2.0) + quantile(1.0 - power)) * se
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_percent_discordance_gives_the_known_figures() {
        for (n, points) in [(164, 6.9), (500, 4.0), (1000, 2.8), (5000, 1.25)] {
            let mde = mcnemar_mde(n, 0.1, 0.05, 0.8).expect("found") * 100.0;
            assert!((mde - points).abs() < 0.05, "{n}: {mde}");
        }
        let needed = mcnemar_examples(0.01, 0.1, 0.05, 0.8).expect("found");
        assert!((7840..=7860).contains(&needed), "{needed}");
    }

    #[test]
    fn examples_and_mde_are_inverse() {
        for (n, discordance) in [(164, 0.1), (899, 0.05), (20_000, 0.3)] {
            let mde = mcnemar_mde(n, discordance, 0.05, 0.8).expect("found");
            let back = mcnemar_examples(mde, discordance, 0.05, 0.8).expect("found");
            assert!(back.abs_diff(n) <= 1, "{n} {back}");
        }
    }

    #[test]
    fn without_discordance_a_difference_brings_its_own() {
        let mde = mcnemar_mde(899, 0.0, 0.05, 0.8).expect("found");
        assert!((0.007..0.01).contains(&mde), "{mde}");
        assert_eq!(mcnemar_mde(3, 0.0, 0.05, 0.8), None);
    }
}
