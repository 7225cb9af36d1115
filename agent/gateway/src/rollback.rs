//! Going back by itself: what the watches see, and what follows from it.

use std::sync::atomic::Ordering;

use crate::choice::Shares;
use crate::deployment::{Deployment, State, affected};
use crate::latch::Latch;
use crate::revision::Revision;

impl Deployment {
    /// Feeds the watches with the outcome of a request drawn with `shares`.
    pub(crate) fn observe(&self, from: u32, shares: &Shares, is_error: bool) {
        // Beside others only errors tell anything.
        if !is_error && shares.of(from) < 1.0 {
            return;
        }
        let mut state = self.lock();
        let serving = state.serving();
        let baseline = state.baseline(from);
        let mut crossed = Vec::new();
        for (&number, watch) in &mut state.watches {
            let share = shares.of(number);
            // What all falls back to is not on trial beside those that are.
            if (number != serving || share >= 1.0) && watch.observe(from, share, is_error, baseline)
            {
                crossed.push((number, share));
            }
        }
        for (number, share) in crossed {
            self.roll_back(&mut state, number, share);
        }
    }

    /// Takes all traffic from a revision at once, for good, if there is one to go back to; if not, says
    /// so once.
    fn roll_back(&self, state: &mut State, number: u32, share: f64) {
        let to = state.serving();
        let target = state.revisions.get(&to).filter(|entry| to != number && !entry.leaving);
        let target = target.is_some_and(|entry| entry.revision.was_ready());
        let (Some(entry), Some(watch)) =
            (state.revisions.get(&number), state.watches.get_mut(&number))
        else {
            return;
        };
        if !target {
            if watch.say_once() {
                tracing::warn!(
                    deployment = %self.name, revision = number, reason = watch.reason(share),
                    "the error watch crossed, but there is no revision to go back to"
                );
                self.changed();
            }
            return;
        }
        let latch = Latch {
            project: self.project.clone(),
            deployment: self.name.clone(),
            revision: number,
            to,
            reason: watch.reason(share),
            affected: affected(&entry.revision),
        };
        tracing::warn!(
            deployment = %self.name, revision = number, to, reason = latch.reason,
            affected = latch.affected, "rolled back"
        );
        state.latch = Some(latch.clone());
        // First the traffic, then the disk; the report waits for both.
        self.rearrange(state);
        self.shared.latches.set(latch);
    }
}

impl State {
    /// Errors and requests of the revision before `number`, by whoever saw more of it: the route, or
    /// this gateway.
    fn baseline(&self, number: u32) -> (u64, u64) {
        let routed = self.revisions.get(&number).map_or((0, 0), |entry| entry.baseline);
        let before = self.serving();
        let own = self.revisions.get(&before).filter(|_| before < number);
        let own = own.map_or((0, 0), |entry| counts(&entry.revision));
        if own.1 > routed.1 { own } else { routed }
    }
}

fn counts(revision: &Revision) -> (u64, u64) {
    let counters = &revision.counters;
    (counters.errors.load(Ordering::Relaxed), counters.requests.load(Ordering::Relaxed))
}
