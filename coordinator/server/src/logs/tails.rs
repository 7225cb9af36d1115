//! Live ends of logs, sent by agents while somebody reads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use runyard_proto::v1::LogPart;
use tokio::sync::mpsc;

/// Parts that may wait for a slow reader; then its agent waits.
const PARTS_WAITING_MAX: usize = 64;

/// The readers that wait for an agent, by ticket.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    open: Mutex<BTreeMap<String, mpsc::Sender<LogPart>>>,
    next: AtomicU64,
}

/// An open tail; dropping it tells the agent to stop.
#[derive(Debug)]
pub(crate) struct Tail<'a> {
    pub(crate) ticket: String,
    pub(crate) parts: mpsc::Receiver<LogPart>,
    tails: &'a Tails,
}

impl Tails {
    /// Opens a ticket.
    pub(crate) fn open(&self) -> Tail<'_> {
        let (send, parts) = mpsc::channel(PARTS_WAITING_MAX);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Unguessable, so that an agent can only serve tails that it was asked for.
        let ticket = format!("{number}-{}", ulid::Ulid::generate());
        self.with(|open| drop(open.insert(ticket.clone(), send)));
        Tail { ticket, parts, tails: self }
    }

    /// Hands a part to its reader; false if nobody reads any more.
    pub(crate) async fn deliver(&self, ticket: &str, part: LogPart) -> bool {
        let Some(send) = self.with(|open| open.get(ticket).cloned()) else { return false };
        send.send(part).await.is_ok()
    }

    /// The agent's connection ended: the reader sees the end of the parts.
    pub(crate) fn finish(&self, ticket: &str) {
        self.with(|open| drop(open.remove(ticket)));
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, mpsc::Sender<LogPart>>) -> T) -> T {
        f(&mut self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Drop for Tail<'_> {
    fn drop(&mut self) {
        self.tails.finish(&self.ticket);
    }
}
