//! The sign-flip permutation test of paired differences.

use super::bootstrap::stream;
use rand_chacha::rand_core::Rng;

/// All 2ⁿ sign patterns are enumerated up to this many differences.
const EXACT_UP_TO: usize = 20;

/// The outcome of a sign-flip test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlip {
    /// Two-sided p of a symmetric distribution about 0.
    pub p: f64,
    /// Whether all patterns were enumerated.
    pub exact: bool,
}

/// Tests whether `differences` are symmetric about 0, by the absolute sum. With more than twenty of
/// them it draws `draws` patterns and answers (hits + 1)/(draws + 1) (Phipson and Smyth 2010).
pub fn sign_flip(differences: &[f64], draws: u32, seed: u64) -> SignFlip {
    let observed = differences.iter().sum::<f64>().abs();
    // Sums that are equal in arithmetic differ in floating point; the guard counts them as ties.
    let scale: f64 = differences.iter().map(|d| d.abs()).sum();
    let threshold = observed - 1e-12 * scale;
    if differences.len() <= EXACT_UP_TO {
        let hits = count(differences, 0.0, threshold);
        let patterns = (1_u64 << differences.len()) as f64;
        return SignFlip { p: hits as f64 / patterns, exact: true };
    }
    let mut random = stream(seed);
    let mut hits = 0_u64;
    for _ in 0..draws {
        let (mut sum, mut bits) = (0.0, 0);
        for (index, difference) in differences.iter().enumerate() {
            if index % 64 == 0 {
                bits = random.next_u64();
            }
            sum += if bits & 1 == 1 { *difference } else { -difference };
            bits >>= 1;
        }
        hits += u64::from(sum.abs() >= threshold);
    }
    SignFlip { p: (hits + 1) as f64 / (f64::from(draws) + 1.0), exact: false }
}

fn count(rest: &[f64], sum: f64, threshold: f64) -> u64 {
    match rest.split_first() {
        None => u64::from(sum.abs() >= threshold),
        Some((first, rest)) => {
            count(rest, sum + first, threshold) + count(rest, sum - first, threshold)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_signs_give_the_smallest_p() {
        let outcome = sign_flip(&[0.1, 0.2, 0.3], 0, 1);
        assert_eq!(outcome, SignFlip { p: 0.25, exact: true });
    }

    #[test]
    fn drawn_and_enumerated_agree() {
        let mut values: Vec<f64> = (0..20).map(|i| f64::from(i % 7) - 2.6).collect();
        let exact = sign_flip(&values, 0, 1).p;
        values.push(0.0);
        let drawn = sign_flip(&values, 20_000, 1);
        assert!(!drawn.exact && (drawn.p - exact).abs() < 0.015, "{exact} {drawn:?}");
    }
}
