//! Threads that do one thing and end.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread::{self, JoinHandle},
};

/// A helper panicked; its owner must not wait for it for ever.
#[derive(Debug, thiserror::Error)]
#[error("the thread {0} panicked; see the message above")]
pub(super) struct Panicked(&'static str);

/// A thread that writes to the peer's directory beside its owner. Dropping this waits for it:
/// nobody may write there once the directory's lock is given up.
#[derive(Debug)]
pub(super) struct Helper(Option<JoinHandle<()>>);

impl Helper {
    /// Does `work` on a thread of that name, then says on the same one what came of it.
    pub(super) fn spawn<T: 'static>(
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(Result<T, Panicked>) + Send + 'static,
    ) -> io::Result<Self> {
        let body = move || done(catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked(name)));
        let thread = thread::Builder::new().name(name.into()).spawn(body)?;
        Ok(Self(Some(thread)))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Its work cannot unwind past it.
            let _ = thread.join();
        }
    }
}
