//! Callers that wait, each answered exactly once whatever happens.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::error::{ProposeError, ReadError};

/// Called with the reply of a proposal, on one of consensus's threads: it must be quick and not
/// block.
pub type ProposeDone<R> = Box<dyn FnOnce(Result<R, ProposeError>) + Send>;

/// Called when a read may be served, with the index applied by then. Like [`ProposeDone`].
pub type ReadDone = Box<dyn FnOnce(Result<u64, ReadError>) + Send>;

/// Bounds what proposers have under way.
#[derive(Debug, Default)]
pub(super) struct Inflight {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

/// A proposer that waits. Dropped unanswered, it is told that this peer stops.
pub(super) struct PendingProposal<R> {
    done: Option<ProposeDone<R>>,
    inflight: Arc<Inflight>,
    bytes: usize,
}

impl<R> PendingProposal<R> {
    /// Counts the proposal, or gives `done` back if there are too many.
    pub(super) fn admit(
        inflight: &Arc<Inflight>,
        bytes: usize,
        (count_max, bytes_max): (usize, usize),
        done: ProposeDone<R>,
    ) -> Result<Self, ProposeDone<R>> {
        let count = inflight.count.fetch_add(1, Ordering::Relaxed) + 1;
        let sum = inflight.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // One proposal may always be under way, however large.
        if count > count_max || (count > 1 && sum > bytes_max) {
            inflight.release(bytes);
            return Err(done);
        }
        Ok(Self { done: Some(done), inflight: inflight.clone(), bytes })
    }

    pub(super) fn answer(mut self, result: Result<R, ProposeError>) {
        self.finish(result);
    }

    fn finish(&mut self, result: Result<R, ProposeError>) {
        if let Some(done) = self.done.take() {
            // Before the caller hears of it: its next proposal finds the place free.
            self.inflight.release(self.bytes);
            done(result);
        }
    }
}

impl<R> Drop for PendingProposal<R> {
    fn drop(&mut self) {
        self.finish(Err(ProposeError::Stopped));
    }
}

impl Inflight {
    fn release(&self, bytes: usize) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A reader that waits. Dropped unanswered, it is told that this peer stops.
pub(super) struct PendingRead(Option<ReadDone>);

impl PendingRead {
    pub(super) fn new(done: ReadDone) -> Self {
        Self(Some(done))
    }

    pub(super) fn answer(mut self, result: Result<u64, ReadError>) {
        self.finish(result);
    }

    fn finish(&mut self, result: Result<u64, ReadError>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        self.finish(Err(ReadError::Stopped));
    }
}
