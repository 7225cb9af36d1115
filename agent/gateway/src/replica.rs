//! One process that serves, as the gateway sees it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::route::Replica;

#[derive(Debug)]
pub(crate) struct ReplicaState {
    pub(crate) replica: Replica,
    pub(crate) in_flight: AtomicU64,
    /// It answered its readiness requests, and no connection to it has failed since.
    ready: AtomicBool,
    was_ready: AtomicBool,
    /// Wakes its prober when a connection has failed.
    pub(crate) doubted: Notify,
    /// Ends its prober.
    pub(crate) gone: CancellationToken,
}

impl ReplicaState {
    pub(crate) fn new(replica: Replica) -> Self {
        Self {
            replica,
            in_flight: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            was_ready: AtomicBool::new(false),
            doubted: Notify::new(),
            gone: CancellationToken::new(),
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready(&self) {
        self.was_ready.store(true, Ordering::Release);
        self.ready.store(true, Ordering::Release);
    }

    /// A connection to it failed: no new requests until it has answered its prober again. Answers
    /// whether that is news.
    pub(crate) fn doubt(&self) -> bool {
        let was = self.ready.swap(false, Ordering::AcqRel);
        if was {
            self.doubted.notify_one();
        }
        was
    }
}
