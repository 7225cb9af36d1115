//! What the core remembers.

use std::collections::BTreeMap;

use runyard_types::{Outcome, WorkerKey};

use super::{Phase, Position, Status};

/// The workers of one node, and the last set that was obeyed.
#[derive(Debug, Clone)]
pub struct Core {
    pub(super) seen: Position,
    /// A set was obeyed since the start: until then nothing can be said to be absent.
    pub(super) has_set: bool,
    pub(super) workers: BTreeMap<WorkerKey, Worker>,
    pub(super) orphans: Vec<WorkerKey>,
}

/// One worker.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) step: Step,
    pub(super) port: u16,
    pub(super) go: bool,
    /// For whose room it waits, as far as the last obeyed set says.
    pub(super) after: Option<WorkerKey>,
    /// Why it was asked to stop, and its grace.
    pub(super) stop: Option<(String, u64)>,
    /// The last obeyed set names it.
    pub(super) wanted: bool,
    /// All of its log is in the store.
    pub(super) sealed: bool,
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Preparing,
    Prepared,
    /// The start was asked for; it may run already.
    Starting,
    Running,
    /// `gone`: no process of it is left.
    Publishing {
        gone: bool,
    },
    /// It has its result, and something of it can't be killed.
    Finished(Outcome),
    Released(Outcome),
}

impl Core {
    /// A core that obeys no set below `seen`, which was persisted by an earlier one.
    pub fn new(seen: Position) -> Self {
        Self { seen, has_set: false, workers: BTreeMap::new(), orphans: Vec::new() }
    }

    /// The highest position obeyed.
    pub fn seen(&self) -> Position {
        self.seen
    }

    /// The workers here and what is told of them.
    pub fn workers(&self) -> impl Iterator<Item = (&WorkerKey, Status)> {
        self.workers.iter().map(|(key, worker)| (key, worker.status()))
    }

    /// Whether nothing stands in the room that a worker waits for. Those before it that are gone had the same
    /// room, or waited for it as well; a coordinator that names a circle has nobody started.
    pub(super) fn has_room(&self, key: &WorkerKey) -> bool {
        let mut at = key;
        for _ in 0..=self.workers.len() {
            let after = self.workers.get(at).and_then(|worker| worker.after.as_ref());
            let Some(before) = after else { return true };
            match self.workers.get(before) {
                Some(worker) if worker.is_released() => at = before,
                Some(_) => return false,
                // Its folder is gone: so was the worker, long before.
                None => return true,
            }
        }
        false
    }

    /// What is told of one worker.
    pub fn status(&self, key: &WorkerKey) -> Option<Status> {
        self.workers.get(key).map(Worker::status)
    }
}

impl Worker {
    pub(super) fn new(step: Step) -> Self {
        Self { step, port: 0, go: false, after: None, stop: None, wanted: false, sealed: false }
    }

    pub(super) fn status(&self) -> Status {
        let (phase, outcome) = match &self.step {
            Step::Preparing => (Phase::Preparing, None),
            Step::Prepared | Step::Starting => (Phase::Prepared, None),
            Step::Running => (Phase::Running, None),
            Step::Publishing { .. } => (Phase::Publishing, None),
            Step::Finished(outcome) => (Phase::Finished, Some(outcome.clone())),
            Step::Released(outcome) => (Phase::Released, Some(outcome.clone())),
        };
        Status { phase, port: self.port, outcome }
    }

    pub(super) fn is_released(&self) -> bool {
        matches!(self.step, Step::Released(_))
    }
}
