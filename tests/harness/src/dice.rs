//! Random moments that can be had again.

/// A generator (splitmix64) whose seed is printed, so that a failure can be replayed with
/// `RUNYARD_TEST_SEED`.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// With the seed of `RUNYARD_TEST_SEED`, else of the clock.
    pub fn new() -> Self {
        let given = std::env::var("RUNYARD_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        });
        println!("RUNYARD_TEST_SEED={seed}");
        Self(seed)
    }

    /// With a seed of the test's own, where the numbers are data and no moments.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from `low` up to, not with, `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low).max(1)
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}
