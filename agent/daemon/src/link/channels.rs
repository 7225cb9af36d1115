//! The channels that all parts of the agent call by. A renewed certificate needs new connections: calls
//! that are under way end on the old ones.

use std::sync::{Mutex, MutexGuard, PoisonError};

use runyard_transport::Target;
use tokio::sync::watch;
use tonic::transport::Channel;

/// The channels of the agent's certificate.
#[derive(Debug)]
pub(crate) struct Channels {
    open: Mutex<Open>,
    /// Moves at each renewal.
    renewed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Open {
    calls: Channel,
    bulk: Channel,
}

impl Open {
    fn new(target: &Target) -> Self {
        Self { calls: target.lazy(), bulk: target.lazy() }
    }
}

impl Channels {
    /// Channels that connect at their first call.
    pub(crate) fn new(target: &Target) -> Self {
        Self { open: Mutex::new(Open::new(target)), renewed: watch::Sender::new(0) }
    }

    /// Seals and tails.
    pub(crate) fn calls(&self) -> Channel {
        self.lock().calls.clone()
    }

    /// Chunks, on a connection of their own.
    pub(crate) fn bulk(&self) -> Channel {
        self.lock().bulk.clone()
    }

    /// Begins anew with what `target` shows now, and tells whoever has a connection of its own.
    pub(super) fn renew(&self, target: &Target) {
        *self.lock() = Open::new(target);
        self.renewed.send_modify(|count| *count += 1);
    }

    /// Changes at each renewal.
    pub(super) fn renewals(&self) -> watch::Receiver<u64> {
        self.renewed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
