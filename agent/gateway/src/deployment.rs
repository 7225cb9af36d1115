//! A deployment: its revisions, who gets traffic, and the way back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use runyard_types::{DeploymentName, ProjectName};
use tokio::sync::watch;

use crate::choice::{Choice, Draws};
use crate::feedback::Recent;
use crate::latch::{Latch, Latches};
use crate::replica::ReplicaState;
use crate::revision::Revision;
use crate::route::{RevisionReport, Route};
use crate::watch::Watch;

/// A request that was drawn just before the traffic moved counts as in flight by then.
const DRAWN_WITHIN: Duration = Duration::from_millis(100);
/// The weight of a revision that gets every request.
const ALL: u32 = 1_000;

/// What all deployments of a gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) draws: Draws,
    pub(crate) latches: Latches,
    /// Counts what a report should not wait for: readiness, failures, rollbacks.
    pub(crate) changes: watch::Sender<u64>,
}

#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) project: ProjectName,
    pub(crate) name: DeploymentName,
    pub(crate) shared: Arc<Shared>,
    pub(crate) recent: Mutex<Recent>,
    /// Read by every request; written under `state`'s lock only.
    choice: ArcSwap<Choice>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) revisions: BTreeMap<u32, Entry>,
    serving: u32,
    latched_by_route: u32,
    pub(crate) latch: Option<Latch>,
    drain: Duration,
    /// Of the revisions on trial, and of the one that all falls back to.
    pub(crate) watches: BTreeMap<u32, Watch>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) revision: Arc<Revision>,
    weight: u32,
    /// No longer in the route; kept until nothing is in flight.
    pub(crate) leaving: bool,
    /// Errors and requests of the revision before it, as the route has them.
    pub(crate) baseline: (u64, u64),
}

impl State {
    /// The revision that traffic falls back to. A route that still names a rolled back one as serving
    /// is behind the latch.
    pub(crate) fn serving(&self) -> u32 {
        match &self.latch {
            Some(latch) if self.serving > latch.to && self.serving <= latch.revision => latch.to,
            _ => self.serving,
        }
    }

    /// May get traffic besides the serving one.
    fn is_open(&self, number: u32) -> bool {
        let latched = self.latch.as_ref().map_or(0, |latch| latch.revision);
        number > latched.max(self.latched_by_route)
    }
}

impl Deployment {
    pub(crate) fn new(project: ProjectName, name: DeploymentName, shared: Arc<Shared>) -> Self {
        let latch = shared.latches.get(&project, &name);
        let state = Mutex::new(State { latch, ..State::default() });
        let (recent, choice) = (Mutex::default(), ArcSwap::default());
        Self { project, name, shared, recent, choice, state }
    }

    pub(crate) fn choice(&self) -> Arc<Choice> {
        self.choice.load_full()
    }

    /// Takes over a route, or its absence; answers the replicas that are new.
    pub(crate) fn update(&self, route: Option<&Route>) -> Vec<(Arc<Revision>, Arc<ReplicaState>)> {
        let mut new = Vec::new();
        let mut state = self.lock();
        for entry in state.revisions.values_mut() {
            entry.weight = 0;
            entry.leaving = true;
        }
        if let Some(route) = route {
            state.serving = route.serving;
            state.latched_by_route = route.latch;
            state.drain = Duration::from_millis(route.drain_ms);
            for spec in &route.revisions {
                let entry = state.revisions.entry(spec.number).or_insert_with(|| Entry {
                    revision: Arc::new(Revision::new(spec)),
                    weight: 0,
                    leaving: false,
                    baseline: (0, 0),
                });
                (entry.weight, entry.leaving) = (spec.weight_permille.min(ALL), false);
                entry.baseline = (spec.baseline_errors, spec.baseline_requests);
                let replicas = entry.revision.set_replicas(&spec.replicas);
                new.extend(replicas.into_iter().map(|r| (Arc::clone(&entry.revision), r)));
            }
        }
        let (drain, now) = (state.drain, Instant::now());
        state.revisions.retain(|_, entry| {
            let keep = !entry.leaving || !is_drained(&entry.revision, drain, now);
            if !keep {
                entry.revision.stop_probing();
            }
            keep
        });
        self.rearrange(&mut state);
        new
    }

    /// Ends the probers of all replicas.
    pub(crate) fn stop_probing(&self) {
        self.lock().revisions.values().for_each(|entry| entry.revision.stop_probing());
    }

    /// Nothing of it is left.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().revisions.is_empty()
    }

    /// A replica became ready, or doubtful.
    pub(crate) fn readiness_changed(&self) {
        self.rearrange(&mut self.lock());
        self.changed();
    }

    pub(crate) fn changed(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Computes who gets traffic now, and swaps it in.
    pub(crate) fn rearrange(&self, state: &mut State) {
        let now = Instant::now();
        let serving = state.serving();
        for (number, entry) in &state.revisions {
            entry.revision.refresh(now);
            if (*number == serving || entry.weight >= ALL) && entry.revision.is_ready() {
                // It was late, but it is the one that should serve, and now it can.
                entry.revision.status().failed = false;
            }
        }
        let whole = state.revisions.values().map(|entry| entry.weight).sum::<u32>().max(ALL);
        let others = state.revisions.iter().filter(|(number, entry)| {
            **number != serving && entry.weight > 0 && state.is_open(**number)
        });
        let weighted: Vec<(u32, Arc<Revision>)> = others
            .clone()
            .filter(|(_, entry)| entry.revision.is_ready() && !entry.revision.status().failed)
            .map(|(_, entry)| (entry.weight, Arc::clone(&entry.revision)))
            .collect();
        let fallback = state.revisions.get(&serving).filter(|entry| !entry.leaving);
        // One that can't be reached just now is better than none: first what all falls back to, then
        // what should have most of the traffic.
        let last_resort = others
            .filter(|(_, entry)| entry.revision.was_ready())
            .max_by_key(|(_, entry)| entry.weight)
            .map(|(_, entry)| entry);
        let fallback = fallback
            .filter(|entry| {
                entry.revision.is_ready() || weighted.is_empty() && entry.revision.was_ready()
            })
            .or_else(|| last_resort.filter(|_| weighted.is_empty()))
            .map(|entry| Arc::clone(&entry.revision));
        let choice = Choice::new(weighted, fallback, whole);
        for (number, entry) in &state.revisions {
            let mut status = entry.revision.status();
            status.idle_since =
                if choice.has(*number) { None } else { status.idle_since.or(Some(now)) };
        }
        let watched: BTreeSet<u32> = state
            .revisions
            .iter()
            .filter(|(number, entry)| {
                !entry.leaving && (**number == serving || state.is_open(**number))
            })
            .map(|(number, _)| *number)
            .collect();
        state.watches.retain(|number, _| watched.contains(number));
        for number in watched {
            state.watches.entry(number).or_insert_with(|| Watch::new(number));
        }
        self.choice.store(Arc::new(choice));
    }

    /// Why no revision can answer, in words.
    pub(crate) fn why_not(&self) -> String {
        let state = self.lock();
        let parts = state.revisions.iter().filter(|(_, entry)| !entry.leaving).map(|(n, entry)| {
            let detail = entry.revision.status().detail.clone();
            let detail = if detail.is_empty() { "not ready yet".into() } else { detail };
            format!("revision {n}: {detail}")
        });
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() { "it has no revision".into() } else { parts.join("; ") }
    }

    pub(crate) fn reports(&self) -> Vec<RevisionReport> {
        let now = Instant::now();
        let state = self.lock();
        let report = |(&number, entry): (&u32, &Entry)| {
            let revision = &entry.revision;
            let latch = state.latch.as_ref().filter(|latch| {
                latch.revision == number
                    && self.shared.latches.may_be_said(&self.project, &self.name)
            });
            let counters = &revision.counters;
            let is_ready = revision.is_ready();
            let drained = is_drained(revision, state.drain, now);
            let status = revision.status();
            RevisionReport {
                project: self.project.clone(),
                deployment: self.name.clone(),
                revision: number,
                ready: is_ready && !status.failed,
                detail: status.detail.clone(),
                failed: status.failed,
                requests: counters.requests.load(Ordering::Relaxed),
                errors: counters.errors.load(Ordering::Relaxed),
                rescued: counters.rescued.load(Ordering::Relaxed),
                in_flight: counters.in_flight.load(Ordering::Relaxed),
                drained,
                latency: counters.latency(),
                e_value: state.watches.get(&number).map_or(1.0, Watch::e_value),
                rolled_back: latch.is_some(),
                reason: latch.map(|latch| latch.reason.clone()).unwrap_or_default(),
                affected: latch.map_or(0, |latch| latch.affected.max(affected(revision))),
            }
        };
        state.revisions.iter().map(report).collect()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests whose user met an error.
pub(crate) fn affected(revision: &Revision) -> u64 {
    let errors = revision.counters.errors.load(Ordering::Relaxed);
    errors.saturating_sub(revision.counters.rescued.load(Ordering::Relaxed))
}

fn is_drained(revision: &Revision, drain: Duration, now: Instant) -> bool {
    let idle_since = revision.status().idle_since;
    let in_flight = revision.counters.in_flight.load(Ordering::Relaxed);
    idle_since.is_some_and(|since| {
        let idle = now - since;
        in_flight == 0 && idle >= DRAWN_WITHIN || idle >= drain
    })
}

#[cfg(test)]
mod tests;
