//! Tests and intervals. Every function is deterministic: sums run in the order given, draws come
//! from a seeded ChaCha stream, and special functions come from one portable library.
//!
//! A `tail` is the probability left outside at *each* end: the 90 % two-sided interval, whose ends
//! are the one-sided 95 % bounds, has tail 0.05.

mod bootstrap;
mod cluster;
mod dist;
mod interval;
mod mean;
mod multiplicity;
mod order;
mod paired;
mod permutation;
mod power;
mod proportion;

pub use bootstrap::{Bootstrap, BootstrapInterval, RatioOfSums, Resamples};
pub use cluster::ClusteredMean;
pub use dist::{normal_quantile_upper, student_quantile_upper};
pub use interval::Interval;
pub use mean::{MeanSummary, TTest};
pub use multiplicity::{benjamini_hochberg, holm};
pub use order::{quantile, quantile_interval};
pub use paired::{McNemar, PairedCounts};
pub use permutation::{SignFlip, sign_flip};
pub use power::{mcnemar_examples, mcnemar_mde, mean_mde};
pub use proportion::{clopper_pearson, wilson};

/// Random numbers for simulations in tests.
#[cfg(test)]
pub(crate) mod test_random {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::Rng;

    pub(crate) struct Random(ChaCha8Rng);

    impl Random {
        pub(crate) fn new(seed: u64) -> Self {
            Self(super::bootstrap::stream(seed))
        }

        /// Uniform in [0, 1).
        pub(crate) fn uniform(&mut self) -> f64 {
            (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
        }

        pub(crate) fn chance(&mut self, p: f64) -> bool {
            self.uniform() < p
        }
    }
}
