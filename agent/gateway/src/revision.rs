//! One revision: its replicas, whether it is ready, and what it did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::choice::Draws;
use crate::replica::ReplicaState;
use crate::route::{Ready, Replica, RouteRevision};

/// Upper ends of the latency buckets, in milliseconds; a last bucket has no end.
pub const LATENCY_BUCKETS_MS: [u64; 13] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

#[derive(Debug)]
pub(crate) struct Revision {
    pub(crate) number: u32,
    pub(crate) ready: Ready,
    pub(crate) replicas: ArcSwap<Vec<Arc<ReplicaState>>>,
    pub(crate) counters: Counters,
    status: Mutex<Status>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) rescued: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS_MS.len() + 1],
}

impl Counters {
    pub(crate) fn count_latency(&self, took: Duration) {
        let bucket = LATENCY_BUCKETS_MS.iter().position(|&end| took <= Duration::from_millis(end));
        self.latency[bucket.unwrap_or(LATENCY_BUCKETS_MS.len())].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self) -> Vec<u64> {
        self.latency.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Status {
    /// All replicas were ready at one moment.
    pub(crate) once_ready: bool,
    pub(crate) failed: bool,
    pub(crate) detail: String,
    /// Since when it has had replicas but not been ready: what `within` counts from.
    pub(crate) unready_since: Option<Instant>,
    /// Since when it has had no traffic.
    pub(crate) idle_since: Option<Instant>,
}

impl Revision {
    pub(crate) fn new(spec: &RouteRevision) -> Self {
        Self {
            number: spec.number,
            ready: spec.ready.clone(),
            replicas: ArcSwap::default(),
            counters: Counters::default(),
            status: Mutex::default(),
        }
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a list of replicas; answers those that are new.
    pub(crate) fn set_replicas(&self, wanted: &[Replica]) -> Vec<Arc<ReplicaState>> {
        let old = self.replicas.load_full();
        let mut new = Vec::new();
        let mut all = Vec::new();
        for replica in wanted {
            let known = old.iter().find(|state| state.replica == *replica);
            let state = known.cloned().unwrap_or_else(|| {
                let state = Arc::new(ReplicaState::new(replica.clone()));
                new.push(Arc::clone(&state));
                state
            });
            all.push(state);
        }
        for state in old.iter().filter(|state| !wanted.contains(&state.replica)) {
            state.gone.cancel();
        }
        self.replicas.store(Arc::new(all));
        new
    }

    /// Ends the probers of its replicas.
    pub(crate) fn stop_probing(&self) {
        self.replicas.load().iter().for_each(|replica| replica.gone.cancel());
    }

    /// Brings the status up to date with the replicas.
    pub(crate) fn refresh(&self, now: Instant) {
        let replicas = self.replicas.load();
        let mut status = self.status();
        let ready = replicas.iter().filter(|replica| replica.is_ready()).count();
        if !replicas.is_empty() && ready == replicas.len() {
            status.once_ready = true;
            status.detail.clear();
        }
        if replicas.is_empty() {
            status.detail = "no replica is placed yet".into();
        }
        if replicas.is_empty() || status.once_ready && ready > 0 {
            status.unready_since = None;
        } else if status.unready_since.is_none() {
            status.unready_since = Some(now);
        }
    }

    /// Notes that `within` has passed; answers whether that is news.
    pub(crate) fn fail_if_late(&self, now: Instant) -> bool {
        let mut status = self.status();
        let within = Duration::from_millis(self.ready.within_ms);
        let late = status.unready_since.is_some_and(|since| now - since >= within);
        if within.is_zero() || status.failed || !late {
            return false;
        }
        status.failed = true;
        let detail = std::mem::take(&mut status.detail);
        status.detail = format!(
            "not ready within {}: {}",
            runyard_types::DurationMs(self.ready.within_ms),
            if detail.is_empty() { "no answer yet" } else { &detail }
        );
        true
    }

    /// New requests may go to it.
    pub(crate) fn is_ready(&self) -> bool {
        self.status().once_ready && self.replicas.load().iter().any(|replica| replica.is_ready())
    }

    /// It was ready; requests may go to it when nothing better is left.
    pub(crate) fn was_ready(&self) -> bool {
        self.status().once_ready && self.replicas.load().iter().any(|replica| replica.was_ready())
    }

    /// The replica for a request: of two drawn at random, the one with less to do. Those in `tried`
    /// come last, as do those whose last connection failed.
    pub(crate) fn replica(
        &self,
        draws: &Draws,
        tried: &[Arc<ReplicaState>],
    ) -> Option<Arc<ReplicaState>> {
        let replicas = self.replicas.load();
        let is_new =
            |replica: &ReplicaState| !tried.iter().any(|tried| tried.replica == replica.replica);
        let pick = |good: &dyn Fn(&ReplicaState) -> bool| {
            let good: Vec<&Arc<ReplicaState>> = replicas.iter().filter(|r| good(r)).collect();
            let one = *good.get(draws.below(good.len() as u32) as usize)?;
            let two = *good.get(draws.below(good.len() as u32) as usize)?;
            let load = |replica: &ReplicaState| replica.in_flight.load(Ordering::Relaxed);
            Some(Arc::clone(if load(two) < load(one) { two } else { one }))
        };
        pick(&|replica| replica.is_ready() && is_new(replica))
            .or_else(|| pick(&|replica| replica.was_ready() && is_new(replica)))
    }
}
