//! Is a revision's error rate above a limit?

use serde::{Deserialize, Serialize};

/// The bet remembers about this many requests, so that a revision that goes bad after a long healthy
/// time is noticed at once.
const MEMORY_REQUESTS: f64 = 500.0;
/// Before any request the rate is taken as this multiple of the limit…
const PRIOR_RATIO: f64 = 5.0;
/// …with the weight of this many requests.
const PRIOR_REQUESTS: f64 = 20.0;

/// A betting e-process against "at most p₀ of the requests fail": E = ∏(1 + λᵢ(xᵢ − p₀)), where xᵢ is
/// 1 for an error and 0 ≤ λᵢ < 1/p₀ is fixed before request i. The stake is Kelly's for the lower end
/// of the recent error rate, and 0 while that is below p₀, so that health costs nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorRate {
    alpha: f64,
    limit: f64,
    ln_e: f64,
    /// Exponentially forgotten counts.
    recent_errors: f64,
    recent_requests: f64,
    errors: u64,
    requests: u64,
    crossed: bool,
}

impl ErrorRate {
    /// A watch at level `alpha` of the limit p₀, which is kept within [1e-6, 0.999].
    pub fn new(limit: f64, alpha: f64) -> Self {
        let limit = if limit.is_finite() { limit.clamp(1e-6, 0.999) } else { 0.999 };
        Self {
            alpha,
            limit,
            ln_e: 0.0,
            recent_errors: 0.0,
            recent_requests: 0.0,
            errors: 0,
            requests: 0,
            crossed: false,
        }
    }

    /// The watch of a revision that serves alone: p₀ is the larger of 1 % and the old revision's rate.
    pub fn alone(old_errors: u64, old_requests: u64, alpha: f64) -> Self {
        let old = if old_requests == 0 { 0.0 } else { old_errors as f64 / old_requests as f64 };
        Self::new(old.max(0.01), alpha)
    }

    /// Counts one request; answers whether the watch has crossed.
    pub fn observe(&mut self, is_error: bool) -> bool {
        let stake = self.stake();
        let x = f64::from(u8::from(is_error));
        self.ln_e += (stake * (x - self.limit)).ln_1p();
        let keep = 1.0 - 1.0 / MEMORY_REQUESTS;
        self.recent_errors = self.recent_errors * keep + x;
        self.recent_requests = self.recent_requests * keep + 1.0;
        self.errors += u64::from(is_error);
        self.requests += 1;
        self.crossed |= self.ln_e >= -self.alpha.ln();
        self.crossed
    }

    /// The evidence that the rate is above the limit: 1 at the start, at least 1/alpha to act on.
    pub fn e_value(&self) -> f64 {
        self.ln_e.exp()
    }

    /// Whether the evidence ever reached 1/alpha.
    pub fn crossed(&self) -> bool {
        self.crossed
    }

    /// The limit p₀.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Errors and requests seen.
    pub fn counts(&self) -> (u64, u64) {
        (self.errors, self.requests)
    }

    /// λ for the next request, from the past only.
    fn stake(&self) -> f64 {
        let p0 = self.limit;
        let prior = (PRIOR_RATIO * p0).min((1.0 + p0) / 2.0);
        let n = self.recent_requests + PRIOR_REQUESTS;
        let rate = (self.recent_errors + prior * PRIOR_REQUESTS) / n;
        // One standard error is taken off, because a bet on noise loses at every look.
        let cautious = rate - (p0 * (1.0 - p0) / n).sqrt();
        // Kelly's stake for the rate p is (p − p₀)/(p₀(1−p₀)); p < 1 keeps it under 1/p₀.
        (cautious.min(0.999_999) - p0).max(0.0) / (p0 * (1.0 - p0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::test_random::Random;

    #[test]
    fn every_step_is_fair_at_the_limit() {
        let mut state = ErrorRate::new(0.05, 0.01);
        for is_error in [true, false, true, true, false, false] {
            let (mut up, mut down) = (state.clone(), state.clone());
            up.observe(true);
            down.observe(false);
            let next = 0.05 * up.e_value() + 0.95 * down.e_value();
            assert!((next - state.e_value()).abs() < 1e-12 * state.e_value());
            assert!(state.stake() < 1.0 / 0.05);
            state.observe(is_error);
        }
    }

    #[test]
    fn a_rate_at_the_limit_is_rarely_caught() {
        let mut random = Random::new(23);
        let crossed = (0..400)
            .filter(|_| {
                let mut state = ErrorRate::new(0.01, 0.01);
                (0..10_000).any(|_| state.observe(random.chance(0.01)))
            })
            .count();
        // 1 % and three standard errors of 400 canaries.
        assert!(crossed <= 9, "{crossed} of 400 at alpha 0.01");
    }

    #[test]
    fn one_error_in_five_is_caught_early_and_late() {
        let mut random = Random::new(29);
        for healthy in [0, 1_000, 20_000] {
            let mut needed: Vec<u32> = (0..51)
                .map(|_| {
                    let mut state = ErrorRate::alone(3, 10_000, 0.01);
                    assert_eq!(state.limit(), 0.01);
                    for _ in 0..healthy {
                        state.observe(random.chance(0.001));
                    }
                    (1..).find(|_| state.observe(random.chance(0.2))).expect("endless")
                })
                .collect();
            needed.sort_unstable();
            // Half a second of traffic at 200 requests a second.
            assert!(needed[25] <= 100, "after {healthy}: {} requests", needed[25]);
        }
    }
}
