//! Who has new output, who has ended: one inotify instance, spread to whoever waits for a worker.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use runyard_runtime::WorkerDir;
use runyard_runtime::notify::{Notice, Watch};
use tokio::sync::watch;

use crate::AgentError;
use crate::readable::readable;

/// What is heard of one worker; the numbers only say that something is new.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Its spool has grown.
    pub(crate) output: watch::Sender<u64>,
    /// Its status appeared, or its lock was let go.
    pub(crate) state: watch::Sender<u64>,
}

/// The notices of all workers.
#[derive(Debug)]
pub(crate) struct Signals {
    watch: Mutex<Watch>,
    fd: OwnedFd,
    of: Mutex<BTreeMap<String, Arc<Heard>>>,
}

impl Signals {
    pub(crate) fn new(root: &std::path::Path) -> Result<Self, AgentError> {
        let failed = || AgentError::io("watch the workers in", root);
        let watch = Watch::new().map_err(failed())?;
        // The same instance: waiting on it needs no lock.
        let fd = watch.as_fd().try_clone_to_owned().map_err(failed())?;
        Ok(Self { watch: Mutex::new(watch), fd, of: Mutex::default() })
    }

    /// The notices of a worker.
    pub(crate) fn hear(&self, uid: &str) -> Arc<Heard> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Heard { output: watch::Sender::new(0), state: watch::Sender::new(0) };
        of.entry(uid.to_owned()).or_insert_with(|| Arc::new(new())).clone()
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Begins to watch a worker's folder.
    pub(crate) fn watch(&self, worker: &WorkerDir) -> std::io::Result<()> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).worker(worker)
    }

    /// Hands notices on until the agent stops.
    pub(crate) async fn run(&self) -> std::io::Result<()> {
        let ready = readable(self.fd.try_clone()?)?;
        loop {
            let mut guard = ready.readable().await?;
            // Cleared first: what comes while we read makes it ready again.
            guard.clear_ready();
            let notices = self.watch.lock().unwrap_or_else(PoisonError::into_inner).events()?;
            for notice in notices {
                self.hand_on(&notice);
            }
        }
    }

    fn hand_on(&self, notice: &Notice) {
        let more = |counter: &watch::Sender<u64>| counter.send_modify(|n| *n = n.wrapping_add(1));
        let of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Notice::Output(uid) => {
                if let Some(heard) = of.get(uid) {
                    more(&heard.output);
                }
            }
            Notice::State(uid) => {
                if let Some(heard) = of.get(uid) {
                    more(&heard.state);
                }
            }
            Notice::All => of.values().for_each(|heard| {
                more(&heard.output);
                more(&heard.state);
            }),
        }
    }
}
