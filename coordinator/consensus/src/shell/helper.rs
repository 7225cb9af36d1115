//! Threads that do one thing and end.

use std::{
    io,
    thread::{self, JoinHandle},
};

/// A thread that writes to the peer's directory beside its owner. Dropping this waits for it:
/// nobody may write there once the directory's lock is given up.
#[derive(Debug)]
pub(super) struct Helper(Option<JoinHandle<()>>);

impl Helper {
    pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let thread = thread::Builder::new().name(name.into()).spawn(work)?;
        Ok(Self(Some(thread)))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic in it was printed; what it was to report is missing, which is its owner's
            // business.
            let _ = thread.join();
        }
    }
}
