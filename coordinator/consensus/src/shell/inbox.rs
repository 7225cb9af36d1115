//! A thread's inbox: anybody puts in, one thread takes all at once.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// An unbounded queue whose senders are bounded elsewhere: proposals by
/// [`Inflight`](super::pending::Inflight), all else by what the core has under way.
pub(super) struct Inbox<T>(Arc<Shared<T>>);

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    filled: Condvar,
}

struct Queue<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> std::fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Inbox<T> {
    pub(super) fn new() -> Self {
        let queue = Mutex::new(Queue { items: VecDeque::new(), closed: false });
        Self(Arc::new(Shared { queue, filled: Condvar::new() }))
    }

    /// Puts an item in. A closed inbox drops it, which answers whoever waits for it.
    pub(super) fn push(&self, item: T) {
        let mut queue = self.queue();
        if queue.closed {
            drop(queue);
            return;
        }
        queue.items.push_back(item);
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Waits for items until the deadline and takes all. `None` once closed and empty.
    pub(super) fn take(&self, deadline: Option<Instant>) -> Option<VecDeque<T>> {
        let mut queue = self.queue();
        loop {
            if !queue.items.is_empty() {
                return Some(std::mem::take(&mut queue.items));
            }
            if queue.closed {
                return None;
            }
            queue = match deadline {
                None => self.0.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Some(VecDeque::new());
                    }
                    let waited = self.0.filled.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Whether something waits.
    pub(super) fn has_items(&self) -> bool {
        !self.queue().items.is_empty()
    }

    /// Lets nothing in any more; what is in can still be taken.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.0.filled.notify_all();
    }

    /// Nobody runs foreign code while holding the lock, so a poisoned queue is still whole.
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
