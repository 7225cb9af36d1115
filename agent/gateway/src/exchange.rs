//! One try at a request: counted while it runs, settled once, whatever way it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::choice::{Choice, Shares};
use crate::deployment::Deployment;
use crate::replica::ReplicaState;
use crate::revision::Revision;

/// Dropped without being settled it counts as neither good nor bad: the user has left.
#[derive(Debug)]
pub(crate) struct Exchange {
    deployment: Arc<Deployment>,
    pub(crate) revision: Arc<Revision>,
    pub(crate) replica: Arc<ReplicaState>,
    /// The shares at the draw; `None` on a second try, of which the watch knows nothing, because it
    /// did not get there by chance.
    shares: Option<Arc<Shares>>,
    started: Instant,
    settled: bool,
}

impl Exchange {
    pub(crate) fn begin(
        deployment: &Arc<Deployment>,
        revision: Arc<Revision>,
        replica: Arc<ReplicaState>,
        shares: Option<Arc<Shares>>,
    ) -> Self {
        revision.counters.requests.fetch_add(1, Ordering::Relaxed);
        revision.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        replica.in_flight.fetch_add(1, Ordering::Relaxed);
        let (deployment, started) = (Arc::clone(deployment), Instant::now());
        Self { deployment, revision, replica, shares, started, settled: false }
    }

    /// The first byte of the answer is here.
    pub(crate) fn answered(&self) {
        self.revision.counters.count_latency(self.started.elapsed());
    }

    /// Counts the error, and stays in flight.
    pub(crate) fn failed(&mut self) {
        self.count(true);
    }

    pub(crate) fn shares(&self) -> Option<Arc<Shares>> {
        self.shares.clone()
    }

    /// Who gets traffic now.
    pub(crate) fn choice(&self) -> Arc<Choice> {
        self.deployment.choice()
    }

    /// The end.
    pub(crate) fn settle(mut self, is_error: bool) {
        self.count(is_error);
    }

    fn count(&mut self, is_error: bool) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        if is_error {
            self.revision.counters.errors.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(shares) = &self.shares {
            self.deployment.observe(self.revision.number, shares, is_error);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.revision.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.replica.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
