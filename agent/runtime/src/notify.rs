//! One inotify instance for all workers of an agent: who has new output, who has ended.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::worker::WorkerDir;

/// Something happened to a worker. A hint: look at the folder to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Its spool has grown.
    Output(String),
    /// Its status appeared, or its lock was let go.
    State(String),
    /// The kernel dropped notices: look at every worker.
    All,
}

/// Watches workers. Readable (as a descriptor, for epoll or tokio's `AsyncFd`) when there are
/// notices.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    /// What each watch is of: (uid, is it the spool).
    of: HashMap<WatchDescriptor, (String, bool)>,
}

impl Watch {
    /// An instance without workers. A user may have 128 by default: make one, not one per worker.
    pub fn new() -> io::Result<Self> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let inotify = Inotify::init(flags).map_err(|e| {
            io::Error::new(
                io::Error::from(e).kind(),
                format!("inotify: {e}; raise fs.inotify.max_user_instances if it says EMFILE"),
            )
        })?;
        Ok(Self { inotify, of: HashMap::new() })
    }

    /// Watches a worker until its folder is removed.
    pub fn worker(&mut self, worker: &WorkerDir) -> io::Result<()> {
        let state = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CLOSE_WRITE;
        let output = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
        let mut add = |path: &std::path::Path, flags, is_spool| -> io::Result<()> {
            let wd = self.inotify.add_watch(path, flags).map_err(|e| {
                let said = format!("inotify on {}: {e}", path.display());
                io::Error::new(io::Error::from(e).kind(), said)
            })?;
            self.of.insert(wd, (worker.uid().to_string(), is_spool));
            Ok(())
        };
        add(worker.path(), state, false)?;
        add(&worker.path().join("spool"), output, true)
    }

    /// What has happened since the last call, each once. Never blocks.
    pub fn events(&mut self) -> io::Result<Vec<Notice>> {
        let mut notices = Vec::new();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    notices.push(Notice::All);
                    continue;
                }
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.of.remove(&event.wd);
                    continue;
                }
                let Some((uid, is_spool)) = self.of.get(&event.wd) else { continue };
                let name = event.name.as_deref().and_then(|n| n.to_str()).unwrap_or_default();
                if *is_spool {
                    notices.push(Notice::Output(uid.clone()));
                } else if name == "status" || name == "lock" {
                    notices.push(Notice::State(uid.clone()));
                }
            }
        }
        notices.dedup();
        Ok(notices)
    }

    /// Blocks until there are notices or the time has passed.
    pub fn wait(&self, patience: Duration) -> io::Result<()> {
        let ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX).max(1);
        let timeout = PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
