//! Does the canary err more than its share, while both revisions serve?

use serde::{Deserialize, Serialize};

use super::tail::ln_beta_upper;

/// A traffic share at which errors tell nothing.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "a canary's share of the traffic lies between 0 and 1, not {0}: with one revision serving, \
     watch its error rate instead"
)]
pub struct WeightError(pub f64);

/// Conditions on each error: came it from the canary? If both revisions err equally often, it did
/// with probability w, the canary's share of the traffic. The evidence against "at most w" is a
/// uniform mixture over the shares above w of their likelihood ratios to w (a truncated Beta with
/// a = b = 1). It needs no traffic counts and no estimate of the base rate. A new weight starts a new
/// factor; the evidence is the product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorRatio {
    alpha: f64,
    /// ln of the product of the factors of earlier weights.
    ln_before: f64,
    weight: f64,
    canary_errors: u64,
    errors: u64,
    crossed: bool,
}

impl ErrorRatio {
    /// A watch at level `alpha` for a canary that gets the share `weight` of the requests.
    pub fn new(weight: f64, alpha: f64) -> Result<Self, WeightError> {
        let weight = checked(weight)?;
        Ok(Self { alpha, ln_before: 0.0, weight, canary_errors: 0, errors: 0, crossed: false })
    }

    /// Changes the share from the next request on.
    pub fn set_weight(&mut self, weight: f64) -> Result<(), WeightError> {
        let weight = checked(weight)?;
        if weight != self.weight {
            self.ln_before += self.ln_factor();
            (self.weight, self.canary_errors, self.errors) = (weight, 0, 0);
        }
        Ok(())
    }

    /// Counts one error; answers whether the watch has crossed.
    pub fn observe(&mut self, from_canary: bool) -> bool {
        self.observe_many(u64::from(from_canary), u64::from(!from_canary))
    }

    /// Counts the errors of both revisions since the last call, as one look.
    pub fn observe_many(&mut self, canary: u64, stable: u64) -> bool {
        self.canary_errors += canary;
        self.errors += canary + stable;
        // A revision that was caught once stays caught, however the evidence goes on.
        self.crossed |= self.ln_e_value() >= -self.alpha.ln();
        self.crossed
    }

    /// The evidence that the canary errs more often: 1 at the start, at least 1/alpha to act on.
    pub fn e_value(&self) -> f64 {
        self.ln_e_value().exp()
    }

    /// Whether the evidence ever reached 1/alpha.
    pub fn crossed(&self) -> bool {
        self.crossed
    }

    /// Errors under the current weight: the canary's, and all.
    pub fn counts(&self) -> (u64, u64) {
        (self.canary_errors, self.errors)
    }

    fn ln_e_value(&self) -> f64 {
        self.ln_before + self.ln_factor()
    }

    /// ln of ∫_w¹ pᵏ(1−p)ⁿ⁻ᵏ dp / (1−w) / (wᵏ(1−w)ⁿ⁻ᵏ).
    fn ln_factor(&self) -> f64 {
        if self.errors == 0 {
            return 0.0;
        }
        let (k, rest) = (self.canary_errors as f64, (self.errors - self.canary_errors) as f64);
        let w = self.weight;
        ln_beta_upper(k + 1.0, rest + 1.0, w) - k * w.ln() - (rest + 1.0) * (-w).ln_1p()
    }
}

fn checked(weight: f64) -> Result<f64, WeightError> {
    if weight > 0.0 && weight < 1.0 { Ok(weight) } else { Err(WeightError(weight)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::test_random::Random;

    fn watch(weight: f64) -> ErrorRatio {
        ErrorRatio::new(weight, 0.01).expect("a share")
    }

    #[test]
    fn is_the_integral_it_says() {
        // One error of the canary: ∫_w¹ p dp/(1−w)/w = (1+w)/(2w); one of the other: ½.
        let mut one = watch(0.2);
        one.observe(true);
        assert!((one.e_value() - 3.0).abs() < 1e-12);
        let mut other = watch(0.2);
        other.observe(false);
        assert!((other.e_value() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn is_a_martingale_at_equal_rates() {
        let mut state = watch(0.3);
        for from_canary in [true, false, false, true, false] {
            let (mut up, mut down) = (state.clone(), state.clone());
            up.observe(true);
            down.observe(false);
            let next = 0.3 * up.e_value() + 0.7 * down.e_value();
            assert!((next - state.e_value()).abs() < 1e-12 * state.e_value());
            state.observe(from_canary);
        }
    }

    #[test]
    fn a_new_weight_multiplies() {
        let mut state = watch(0.2);
        state.observe(true);
        let before = state.e_value();
        state.set_weight(0.5).expect("a share");
        assert_eq!(state.e_value(), before);
        state.observe(true);
        assert!((state.e_value() - before * 1.5).abs() < 1e-12);
        assert!(state.set_weight(1.0).is_err() && ErrorRatio::new(f64::NAN, 0.01).is_err());
    }

    #[test]
    fn equal_revisions_are_rarely_rolled_back() {
        // 1,000 canaries at 10 % of the traffic, each watched over 500 errors (100,000 requests at
        // 0.5 %), looked at after every one.
        let mut random = Random::new(11);
        let crossed = (0..1000)
            .filter(|_| {
                let mut state = watch(0.1);
                (0..500).any(|_| state.observe(random.chance(0.1)))
            })
            .count();
        assert!(crossed <= 19, "{crossed} of 1000 at alpha 0.01");
    }

    #[test]
    fn a_tenfold_error_rate_is_found_in_seconds() {
        // 5 % against 0.5 % at 10 % of 200 requests a second.
        let mut random = Random::new(5);
        let mut seconds: Vec<f64> = (0..301)
            .map(|_| {
                let mut state = watch(0.1);
                let mut requests = 0;
                while !state.crossed() {
                    requests += 1;
                    let from_canary = random.chance(0.1);
                    if random.chance(if from_canary { 0.05 } else { 0.005 }) {
                        state.observe(from_canary);
                    }
                }
                f64::from(requests) / 200.0
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        assert!(seconds[150] < 5.0, "median {}", seconds[150]);
    }

    #[test]
    fn survives_being_written_down() {
        let mut state = watch(0.2);
        for i in 0..9 {
            state.observe(i % 3 == 0);
        }
        let text = serde_json::to_string(&state).expect("plain data");
        assert_eq!(serde_json::from_str::<ErrorRatio>(&text).expect("its own text"), state);
    }
}
