//! The error watch of one revision that is on trial.

use runyard_evaluation::watch::{ErrorRate, ErrorRatio, WATCH_ALPHA};

/// Both watches: of the revision beside others, and of the revision alone.
#[derive(Debug)]
pub(crate) struct Watch {
    revision: u32,
    ratio: Option<ErrorRatio>,
    /// Begun at the first request that it got alone, by what was known of its predecessor then.
    rate: Option<ErrorRate>,
    /// The evidence of the watch that was fed last.
    e_value: f64,
    /// It was said that it crossed and nothing could be done.
    said: bool,
}

impl Watch {
    pub(crate) fn new(revision: u32) -> Self {
        Self { revision, ratio: None, rate: None, e_value: 1.0, said: false }
    }

    /// Counts a request that went to `from` while this revision's share was `share`; answers whether
    /// the watch has crossed.
    ///
    /// Beside others only errors tell: under equal error rates each comes from here with probability
    /// `share`. Alone, each request is one observation of the error rate, which is held against that of
    /// the `baseline`: errors and requests of the revision before it, as far as known at the first.
    pub(crate) fn observe(
        &mut self,
        from: u32,
        share: f64,
        is_error: bool,
        baseline: (u64, u64),
    ) -> bool {
        if share >= 1.0 && from == self.revision {
            let alone = || ErrorRate::alone(baseline.0, baseline.1, WATCH_ALPHA);
            let rate = self.rate.get_or_insert_with(alone);
            rate.observe(is_error);
            self.e_value = rate.e_value();
            return rate.crossed();
        }
        if !is_error || share <= 0.0 || share >= 1.0 {
            return false;
        }
        let ratio = match &mut self.ratio {
            // A weight strictly between 0 and 1 is never refused.
            Some(ratio) => ratio.set_weight(share).ok().map(|()| ratio),
            none => ErrorRatio::new(share, WATCH_ALPHA).ok().map(|ratio| none.insert(ratio)),
        };
        let Some(ratio) = ratio else { return false };
        let crossed = ratio.observe(from == self.revision);
        self.e_value = ratio.e_value();
        crossed
    }

    pub(crate) fn e_value(&self) -> f64 {
        self.e_value.min(f64::MAX)
    }

    /// Answers true the first time.
    pub(crate) fn say_once(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// Why it crossed, in words.
    pub(crate) fn reason(&self, share: f64) -> String {
        if let Some(rate) = self.rate.as_ref().filter(|_| share >= 1.0) {
            let (errors, requests) = rate.counts();
            let limit = rate.limit() * 100.0;
            return format!(
                "{errors} of {requests} requests failed while it served alone; at most {limit:.1} % \
                 were expected (evidence {:.0}, limit {:.0})",
                self.e_value(),
                1.0 / WATCH_ALPHA
            );
        }
        let (own, all) = self.ratio.as_ref().map_or((0, 0), ErrorRatio::counts);
        format!(
            "{own} of {all} errors came from it at {:.1} % of the traffic (evidence {:.0}, limit {:.0})",
            share * 100.0,
            self.e_value(),
            1.0 / WATCH_ALPHA
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_others_a_handful_of_errors_from_a_small_share_is_enough() {
        let mut watch = Watch::new(2);
        assert!((0..3).all(|_| !watch.observe(2, 0.2, true, (0, 1_000))), "crossed too early");
        assert!(watch.observe(2, 0.2, true, (0, 1_000)));
        assert!(watch.reason(0.2).starts_with("4 of 4 errors"), "{}", watch.reason(0.2));
    }

    #[test]
    fn alone_it_is_held_to_the_old_rate() {
        let mut watch = Watch::new(2);
        // One in twenty failed before, and does now.
        assert!((0..400).all(|n| !watch.observe(2, 1.0, n % 20 == 0, (50, 1_000))));
        assert!((0..200).any(|n| watch.observe(2, 1.0, n % 3 == 0, (50, 1_000))));
    }

    #[test]
    fn requests_of_no_informative_share_are_not_counted() {
        let mut watch = Watch::new(2);
        assert!((0..100).all(|_| {
            !watch.observe(1, 0.0, true, (0, 0)) && !watch.observe(1, 1.0, true, (0, 0))
        }));
        assert_eq!(watch.e_value(), 1.0);
    }
}
