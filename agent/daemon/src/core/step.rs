//! One step: what happened in, what is to be done out.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::{Cause, Outcome, WorkerKey};

use super::node::{Step, Worker};
use super::{Core, DesiredSet, DesiredWorker, Effect, Found, FoundStep, Input, Tombstone};

/// What is said of a worker that ran here and of which nothing is left.
pub(super) const FOLDER_GONE: &str =
    "its folder is gone from the node's state directory, so nothing is known of how it ended";

impl Core {
    /// Takes in what happened. The effects are to be carried out in their order.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Found(found) => found.into_iter().for_each(|one| self.found(one, &mut effects)),
            Input::Desired(set) => self.desired(set, &mut effects),
            Input::Prepared { key, port } => self.prepared(&key, port, &mut effects),
            Input::NotStarted { key, outcome } => self.not_started(&key, outcome, &mut effects),
            Input::Started { key } => self.started(&key, &mut effects),
            Input::Wedged { key } => self.wedged(&key, &mut effects),
            Input::Ended { key } => self.ended(&key, &mut effects),
            Input::Published { key, outcome } => self.published(&key, outcome, &mut effects),
            Input::Sealed { key } => self.sealed(&key, &mut effects),
            Input::Expired { key } => {
                if self.workers.get(&key).is_some_and(Worker::is_released) {
                    self.sealed(&key, &mut effects);
                }
            }
        }
        effects
    }

    fn found(&mut self, found: Found, effects: &mut Vec<Effect>) {
        let Found { key, step } = found;
        if self.workers.contains_key(&key) {
            return;
        }
        let step = match step {
            FoundStep::Running => Step::Running,
            FoundStep::Ended => Step::Publishing { gone: true },
            FoundStep::Finished(outcome) => Step::Released(outcome),
        };
        let publishing = matches!(step, Step::Publishing { .. });
        self.workers.insert(key.clone(), Worker::new(step));
        effects.push(Effect::Follow(key.clone()));
        if publishing {
            effects.push(Effect::Publish { key: key.clone(), stopped: false });
        }
        self.report(&key, effects);
    }

    fn desired(&mut self, set: DesiredSet, effects: &mut Vec<Effect>) {
        // Late or from an old leader: whatever it says was superseded.
        if set.at < self.seen {
            return;
        }
        if set.at > self.seen {
            self.seen = set.at;
            effects.push(Effect::Persist(set.at));
        }
        self.has_set = true;
        let stops: BTreeMap<&WorkerKey, &Tombstone> =
            set.tombstones.iter().map(|stop| (&stop.key, stop)).collect();
        // All that is here is known before any is started: another may stand in its room.
        for worker in &set.workers {
            self.want(worker, stops.get(&worker.key).copied(), effects);
        }
        for stop in &set.tombstones {
            self.stop(stop, effects);
        }
        self.start_prepared(effects);
        let named: BTreeSet<&WorkerKey> = set.workers.iter().map(|worker| &worker.key).collect();
        for (key, worker) in &mut self.workers {
            worker.wanted = named.contains(key);
        }
        let absent: Vec<WorkerKey> =
            self.workers.keys().filter(|key| !named.contains(key)).cloned().collect();
        for key in &absent {
            self.remove_if_done(key, effects);
        }
        self.tell_orphans(effects);
    }

    fn want(
        &mut self,
        wanted: &DesiredWorker,
        stop: Option<&Tombstone>,
        effects: &mut Vec<Effect>,
    ) {
        let key = &wanted.key;
        if let Some(worker) = self.workers.get_mut(key) {
            worker.go |= wanted.go;
            worker.after.clone_from(&wanted.after);
            return;
        }
        let step = match (stop, wanted.started) {
            (Some(stop), _) => Step::Released(cancelled(&stop.reason)),
            // To start it anew would run it twice.
            (None, true) => Step::Released(Outcome::Ended {
                cause: Cause::Error,
                reason: FOLDER_GONE.to_owned(),
            }),
            (None, false) => Step::Preparing,
        };
        let starts = step == Step::Preparing;
        let mut worker = Worker::new(step);
        worker.go = wanted.go;
        worker.after.clone_from(&wanted.after);
        self.workers.insert(key.clone(), worker);
        if starts {
            effects.push(Effect::Prepare(key.clone()));
        } else {
            self.report(key, effects);
            effects.push(Effect::CloseLog(key.clone()));
        }
    }

    fn stop(&mut self, stop: &Tombstone, effects: &mut Vec<Effect>) {
        let key = &stop.key;
        let Some(worker) = self.workers.get_mut(key) else { return };
        let asked_before = match &worker.stop {
            // A set repeats its tombstones; only a shorter grace is news.
            Some((_, grace_ms)) if *grace_ms <= stop.grace_ms => return,
            asked => asked.is_some(),
        };
        worker.stop = Some((stop.reason.clone(), stop.grace_ms));
        match worker.step {
            Step::Preparing if asked_before => {}
            Step::Preparing => effects.push(Effect::CancelPrepare(key.clone())),
            Step::Prepared => self.release_unstarted(key, cancelled(&stop.reason), effects),
            // As soon as it is known to run.
            Step::Starting => {}
            Step::Running => {
                effects.push(Effect::Stop { key: key.clone(), grace_ms: stop.grace_ms });
            }
            Step::Publishing { .. } | Step::Finished(_) | Step::Released(_) => {}
        }
    }

    fn prepared(&mut self, key: &WorkerKey, port: u16, effects: &mut Vec<Effect>) {
        let Some(worker) = self.at(key, |step| *step == Step::Preparing) else { return };
        worker.port = port;
        if let Some((reason, _)) = &worker.stop {
            let outcome = cancelled(reason);
            self.release_unstarted(key, outcome, effects);
            return;
        }
        worker.step = Step::Prepared;
        if !worker.go {
            // Its gang waits for this word; who waits for room has nobody to tell.
            self.report(key, effects);
        }
        self.start_prepared(effects);
    }

    /// Starts what is prepared and waits for nothing any more.
    fn start_prepared(&mut self, effects: &mut Vec<Effect>) {
        let due = |(key, worker): (&WorkerKey, &Worker)| {
            let ready = worker.step == Step::Prepared && worker.go && worker.stop.is_none();
            (ready && self.has_room(key)).then(|| key.clone())
        };
        let ready: Vec<WorkerKey> = self.workers.iter().filter_map(due).collect();
        for key in ready {
            if let Some(worker) = self.workers.get_mut(&key) {
                worker.step = Step::Starting;
                effects.push(Effect::Start(key));
            }
        }
    }

    fn not_started(&mut self, key: &WorkerKey, outcome: Outcome, effects: &mut Vec<Effect>) {
        let here = |step: &Step| matches!(step, Step::Preparing | Step::Prepared | Step::Starting);
        let Some(worker) = self.at(key, here) else { return };
        let outcome = match &worker.stop {
            Some((reason, _)) => cancelled(reason),
            None => outcome,
        };
        self.release_unstarted(key, outcome, effects);
    }

    fn started(&mut self, key: &WorkerKey, effects: &mut Vec<Effect>) {
        let Some(worker) = self.at(key, |step| *step == Step::Starting) else { return };
        worker.step = Step::Running;
        let stop = worker.stop.clone();
        self.report(key, effects);
        effects.push(Effect::Follow(key.clone()));
        if let Some((_, grace_ms)) = stop {
            effects.push(Effect::Stop { key: key.clone(), grace_ms });
        }
    }

    fn wedged(&mut self, key: &WorkerKey, effects: &mut Vec<Effect>) {
        if self.at(key, |step| *step == Step::Running).is_some() {
            self.publish(key, false, effects);
        }
    }

    fn ended(&mut self, key: &WorkerKey, effects: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        match &mut worker.step {
            Step::Running => self.publish(key, true, effects),
            Step::Publishing { gone } => *gone = true,
            Step::Finished(outcome) => {
                worker.step = Step::Released(outcome.clone());
                self.released(key, effects);
            }
            Step::Preparing | Step::Prepared | Step::Starting | Step::Released(_) => {}
        }
    }

    fn publish(&mut self, key: &WorkerKey, gone: bool, effects: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.step = Step::Publishing { gone };
        let stopped = worker.stop.is_some();
        self.report(key, effects);
        effects.push(Effect::Publish { key: key.clone(), stopped });
    }

    fn published(&mut self, key: &WorkerKey, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let Step::Publishing { gone } = worker.step else { return };
        let outcome = match (&worker.stop, outcome) {
            // It ended well before the stop reached it: that is its result.
            (_, Outcome::Succeeded) => Outcome::Succeeded,
            (Some((reason, _)), Outcome::Ended { .. }) => cancelled(reason),
            (None, ended) => ended,
        };
        if gone {
            worker.step = Step::Released(outcome);
            self.released(key, effects);
        } else {
            worker.step = Step::Finished(outcome);
            self.report(key, effects);
        }
    }

    fn released(&mut self, key: &WorkerKey, effects: &mut Vec<Effect>) {
        self.report(key, effects);
        self.start_prepared(effects);
        self.remove_if_done(key, effects);
        self.tell_orphans(effects);
    }

    fn sealed(&mut self, key: &WorkerKey, effects: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.sealed = true;
        self.remove_if_done(key, effects);
    }

    /// Nothing of it ever ran, so it has no log either.
    fn release_unstarted(&mut self, key: &WorkerKey, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        worker.step = Step::Released(outcome);
        self.report(key, effects);
        effects.push(Effect::CloseLog(key.clone()));
        self.start_prepared(effects);
        self.tell_orphans(effects);
    }

    /// A folder goes when nothing of the worker is left, its log is in the store, and the group no
    /// longer names it.
    fn remove_if_done(&mut self, key: &WorkerKey, effects: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get(key) else { return };
        if worker.is_released() && worker.sealed && self.has_set && !worker.wanted {
            self.workers.remove(key);
            effects.push(Effect::Remove(key.clone()));
        }
    }

    fn tell_orphans(&mut self, effects: &mut Vec<Effect>) {
        if !self.has_set {
            return;
        }
        let unnamed = self.workers.iter().filter(|(_, w)| !w.wanted && !w.is_released());
        let orphans: Vec<WorkerKey> = unnamed.map(|(key, _)| key.clone()).collect();
        if orphans != self.orphans {
            self.orphans.clone_from(&orphans);
            effects.push(Effect::Orphans(orphans));
        }
    }

    /// The worker, if its step is one that the input fits; what comes late or twice fits none.
    fn at(&mut self, key: &WorkerKey, fits: impl Fn(&Step) -> bool) -> Option<&mut Worker> {
        self.workers.get_mut(key).filter(|worker| fits(&worker.step))
    }

    fn report(&self, key: &WorkerKey, effects: &mut Vec<Effect>) {
        if let Some(status) = self.status(key) {
            effects.push(Effect::Report { key: key.clone(), status });
        }
    }
}

fn cancelled(reason: &str) -> Outcome {
    Outcome::Ended { cause: Cause::Cancelled, reason: reason.to_owned() }
}
