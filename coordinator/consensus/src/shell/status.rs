//! What a peer says of itself.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    core::{CoreStatus, Role},
    ids::{Identity, PeerId},
    room::DiskState,
};

/// A peer's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub identity: Identity,
    /// Its part in the group.
    pub role: Role,
    /// Raft's term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<PeerId>,
    /// The highest index known to be committed.
    pub commit: u64,
    /// The highest index applied here.
    pub applied: u64,
    /// The end of the log.
    pub last_index: u64,
    /// The end of what is durable here.
    pub last_durable: u64,
    /// The index of the newest snapshot, 0 before the first.
    pub snapshot_index: u64,
    /// What the disk allows.
    pub disk: DiskState,
    /// Whether all that was in the log at the start is applied.
    pub ready: bool,
    /// Whether this peer has stopped, by shutdown or for good.
    pub stopped: bool,
    /// What was found odd at the start, and put right.
    pub notes: Vec<String>,
}

impl Status {
    pub(super) fn set_core(&mut self, core: CoreStatus) {
        self.role = core.role;
        self.term = core.term;
        self.leader = core.leader;
        self.commit = core.commit;
        self.applied = core.applied;
        self.last_index = core.last_index;
        self.last_durable = core.last_durable;
    }
}

/// The status as the threads keep it and others read it.
#[derive(Debug, Clone)]
pub(super) struct Board(Arc<(Mutex<Status>, Condvar)>);

impl Board {
    pub(super) fn new(status: Status) -> Self {
        Self(Arc::new((Mutex::new(status), Condvar::new())))
    }

    pub(super) fn get(&self) -> Status {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the status; wakes who waits for `ready` or `stopped` when one of them changed.
    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (status.ready, status.stopped);
        change(&mut status);
        if before != (status.ready, status.stopped) {
            self.0.1.notify_all();
        }
    }

    /// Waits until the peer is ready or stopped; whether it is ready.
    pub(super) fn wait_ready(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut status = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !status.ready && !status.stopped {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.0.1.wait_timeout(status, left);
            status = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        status.ready && !status.stopped
    }
}
