//! The error watch of one revision that is on trial.

use runyard_evaluation::watch::{ErrorRate, ErrorRatio, WATCH_ALPHA};

/// Both watches: of the revision beside others, and of the revision alone.
#[derive(Debug)]
pub(crate) struct Watch {
    revision: u32,
    ratio: Option<ErrorRatio>,
    rate: ErrorRate,
    /// The evidence of the watch that was fed last.
    e_value: f64,
}

impl Watch {
    /// `baseline`: errors and requests of the revision before it.
    pub(crate) fn new(revision: u32, baseline: (u64, u64)) -> Self {
        let rate = ErrorRate::alone(baseline.0, baseline.1, WATCH_ALPHA);
        Self { revision, ratio: None, rate, e_value: 1.0 }
    }

    /// Counts a request that went to `from` while this revision's share was `share`; answers whether
    /// the watch has crossed.
    ///
    /// Beside others only errors tell: under equal error rates each comes from here with probability
    /// `share`. Alone, each request is one observation of the error rate.
    pub(crate) fn observe(&mut self, from: u32, share: f64, is_error: bool) -> bool {
        if share >= 1.0 && from == self.revision {
            self.rate.observe(is_error);
            self.e_value = self.rate.e_value();
            return self.rate.crossed();
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

    /// Why it crossed, in words.
    pub(crate) fn reason(&self, share: f64) -> String {
        if share >= 1.0 {
            let (errors, requests) = self.rate.counts();
            let limit = self.rate.limit() * 100.0;
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
        let mut watch = Watch::new(2, (0, 1_000));
        assert!((0..3).all(|_| !watch.observe(2, 0.2, true)), "crossed too early");
        assert!(watch.observe(2, 0.2, true));
        assert!(watch.reason(0.2).starts_with("4 of 4 errors"), "{}", watch.reason(0.2));
    }

    #[test]
    fn alone_it_is_held_to_the_old_rate() {
        let mut watch = Watch::new(2, (50, 1_000));
        // One in twenty failed before, and does now.
        assert!((0..400).all(|n| !watch.observe(2, 1.0, n % 20 == 0)));
        assert!((0..200).any(|n| watch.observe(2, 1.0, n % 3 == 0)));
    }

    #[test]
    fn requests_of_no_informative_share_are_not_counted() {
        let mut watch = Watch::new(2, (0, 0));
        assert!((0..100).all(|_| !watch.observe(1, 0.0, true) && !watch.observe(1, 1.0, true)));
        assert_eq!(watch.e_value(), 1.0);
    }
}
