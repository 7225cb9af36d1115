//! Which revision gets a request: shares in thousandths, drawn without bias.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::revision::Revision;

/// Draws that many threads can take at once: a counter hashed by SplitMix64.
#[derive(Debug)]
pub(crate) struct Draws(AtomicU64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number evenly drawn from `0..below`; the bias of the multiplication is under 2⁻³² × `below`.
    pub(crate) fn below(&self, below: u32) -> u32 {
        let upper = self.next() >> 32;
        ((upper * u64::from(below)) >> 32) as u32
    }

    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The probability with which each revision was drawn, kept with every request for the watch.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Shares(BTreeMap<u32, f64>);

impl Shares {
    pub(crate) fn of(&self, revision: u32) -> f64 {
        self.0.get(&revision).copied().unwrap_or(0.0)
    }
}

/// The revisions that get traffic now. Replaced as a whole: a rollback is the swap of a pointer.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Each with the end of its part of `0..total`.
    parts: Vec<(u32, Arc<Revision>)>,
    total: u32,
    pub(crate) serving: Option<Arc<Revision>>,
    pub(crate) shares: Arc<Shares>,
}

impl Choice {
    /// `weighted`: revisions other than `serving` that are ready, with their weights. What they leave
    /// of `whole` is the serving revision's; without one they share all among themselves.
    pub(crate) fn new(
        weighted: Vec<(u32, Arc<Revision>)>,
        serving: Option<Arc<Revision>>,
        whole: u32,
    ) -> Self {
        let used: u32 = weighted.iter().map(|(weight, _)| weight).sum();
        let mut all = weighted;
        if let Some(serving) = &serving {
            all.push((whole.saturating_sub(used), Arc::clone(serving)));
        }
        all.retain(|(weight, _)| *weight > 0);
        let total: u32 = all.iter().map(|(weight, _)| weight).sum();
        let shares = all
            .iter()
            .map(|(weight, revision)| (revision.number, f64::from(*weight) / f64::from(total)));
        let shares = Arc::new(Shares(shares.collect()));
        let mut end = 0;
        for (weight, _) in &mut all {
            end += *weight;
            *weight = end;
        }
        Self { parts: all, total, serving, shares }
    }

    /// A revision for a request; `None` if none is ready.
    pub(crate) fn draw(&self, draws: &Draws) -> Option<&Arc<Revision>> {
        let at = match self.parts.len() {
            0 => return None,
            1 => 0,
            _ => draws.below(self.total),
        };
        self.parts.iter().find(|(end, _)| at < *end).map(|(_, revision)| revision)
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.parts.iter().any(|(_, revision)| revision.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Ready, RouteRevision};

    fn revision(number: u32) -> Arc<Revision> {
        Arc::new(Revision::new(&RouteRevision {
            number,
            weight_permille: 0,
            replicas: Vec::new(),
            ready: Ready::default(),
            baseline_requests: 0,
            baseline_errors: 0,
        }))
    }

    #[test]
    fn shares_stay_within_the_band_of_chance() {
        // 99.9 % of binomial draws lie within 3.29 standard deviations.
        for (seed, weight) in [(1, 1), (2, 50), (3, 200), (4, 333), (5, 999)] {
            let choice = Choice::new(vec![(weight, revision(2))], Some(revision(1)), 1_000);
            let draws = Draws::new(seed);
            let n = 100_000;
            let hits =
                (0..n).filter(|_| choice.draw(&draws).is_some_and(|r| r.number == 2)).count();
            let p = f64::from(weight) / 1_000.0;
            let band = 3.29 * (f64::from(n) * p * (1.0 - p)).sqrt();
            let off = (hits as f64 - f64::from(n) * p).abs();
            assert!(off <= band, "{weight} per mille: {hits} of {n}, off by {off}, band {band}");
        }
    }

    #[test]
    fn the_serving_revision_gets_what_is_left_and_nothing_more() {
        let all = Choice::new(vec![(1_000, revision(2))], Some(revision(1)), 1_000);
        assert!(!all.has(1) && all.shares.of(2) == 1.0);
        let none = Choice::new(Vec::new(), Some(revision(1)), 1_000);
        assert!(none.shares.of(1) == 1.0);
        let alone = Choice::new(vec![(100, revision(2)), (300, revision(3))], None, 1_000);
        assert!(alone.shares.of(3) == 0.75 && alone.draw(&Draws::new(0)).is_some());
        assert!(Choice::default().draw(&Draws::new(0)).is_none());
    }
}
