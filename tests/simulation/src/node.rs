//! A simulated host: what survives its agent, and what survives its power.

use std::collections::BTreeMap;

use runyard_daemon::core::Position;
use runyard_types::WorkerKey;

/// What is on the host's disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostDisk {
    pub(crate) seen: Position,
    pub(crate) session: u64,
    pub(crate) folders: BTreeMap<WorkerKey, Folder>,
}

/// A worker's folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folder {
    /// Its outputs were published: that is kept, so that it is not done twice.
    pub(crate) published: bool,
}

/// A stage's process, with the shim that belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) alive: bool,
    pub(crate) end: End,
    pub(crate) ended_at: u64,
    /// Bytes of output in all.
    pub(crate) bytes: u64,
    /// Its folder is gone, with what was not sealed of its log.
    pub(crate) wiped: bool,
    /// It ran before, and the folder of that was lost before anybody heard of it.
    pub(crate) cut: bool,
}

/// How a process ended, or is going to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failure,
    /// By a signal that a tombstone asked for.
    Stopped,
    /// With the host's power.
    PowerCut,
}
