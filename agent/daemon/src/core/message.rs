//! What the core is told, and what it wants done.

use runyard_types::{Outcome, WorkerKey};

/// A place in the group's history: sets are obeyed in this order only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Raised by a restore of the group.
    pub generation: u64,
    /// Of the log entry that the set was derived from.
    pub index: u64,
}

/// All that this node should be doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredSet {
    pub at: Position,
    pub workers: Vec<DesiredWorker>,
    pub tombstones: Vec<Tombstone>,
}

/// A worker that should be here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredWorker {
    pub key: WorkerKey,
    /// It may start as soon as it is prepared: it is alone, or its whole gang is prepared.
    pub go: bool,
    /// It ran here already.
    pub started: bool,
    /// The worker of this node for whose room it waits: it may be prepared, and not yet be started.
    pub after: Option<WorkerKey>,
}

/// A worker that must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    pub key: WorkerKey,
    pub reason: String,
    /// Between TERM and KILL.
    pub grace_ms: u64,
}

/// A worker whose folder was here when the agent started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub key: WorkerKey,
    pub step: FoundStep,
}

/// Where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundStep {
    /// Its shim lives, or left processes that have yet to be cleared away.
    Running,
    /// It ran, and nothing of it is left; its result is still to be taken.
    Ended,
    /// Its result was taken before.
    Finished(Outcome),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The scan at the start.
    Found(Vec<Found>),
    /// A set came.
    Desired(DesiredSet),
    /// Ready to start. `port`: of a replica or of a gang's first worker, else 0.
    Prepared { key: WorkerKey, port: u16 },
    /// It could not be prepared or started; nothing of it runs.
    NotStarted { key: WorkerKey, outcome: Outcome },
    /// Its shim runs.
    Started { key: WorkerKey },
    /// It has ended, and something of it can't be killed: its result need not wait for that.
    Wedged { key: WorkerKey },
    /// It ran, and no process of it is left.
    Ended { key: WorkerKey },
    /// Its outputs are in the store, or there are none to be had.
    Published { key: WorkerKey, outcome: Outcome },
    /// All of its log is in the store, and that was acknowledged.
    Sealed { key: WorkerKey },
    /// It ended long ago, and nobody wants its log.
    Expired { key: WorkerKey },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Remember that no set below this may be obeyed.
    Persist(Position),
    /// Make its environment and its workspace ready.
    Prepare(WorkerKey),
    /// Give up the preparation; answer `NotStarted` when it has ended.
    CancelPrepare(WorkerKey),
    /// Start its shim.
    Start(WorkerKey),
    /// Watch its processes until `Ended`, and bring its log to the store until `Sealed`.
    Follow(WorkerKey),
    /// Ask its shim to stop it.
    Stop { key: WorkerKey, grace_ms: u64 },
    /// Take its result and its outputs. `stopped`: it was asked to stop, so there are no outputs.
    Publish { key: WorkerKey, stopped: bool },
    /// Tell the group that there is no more of its log; nothing of it is here.
    CloseLog(WorkerKey),
    /// Remove what is left on disk.
    Remove(WorkerKey),
    /// Tell the group.
    Report { key: WorkerKey, status: Status },
    /// Workers that are here and that the group does not name; it replaces the list before it.
    Orphans(Vec<WorkerKey>),
}

/// What is told of a worker. Phases only go forward, and an outcome never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    pub port: u16,
    /// Present when finished or released.
    pub outcome: Option<Outcome>,
}

/// How far a worker is, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Preparing,
    Prepared,
    Running,
    Publishing,
    /// It has its result, and something of it is left.
    Finished,
    /// It has its result, and nothing of it is left.
    Released,
}
