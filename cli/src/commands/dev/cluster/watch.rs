//! Restarting what died, later each time.

use std::time::{Duration, Instant};

use super::{Cluster, ClusterError, Process};

const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// One that lived so long is not what keeps dying.
const STEADY: Duration = Duration::from_secs(60);

/// A process that should run.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(super) process: Process,
    since: Instant,
    pause: Duration,
    /// When to start it again.
    again: Option<Instant>,
}

impl Watched {
    pub(super) fn new(process: Process) -> Self {
        Self { process, since: Instant::now(), pause: PAUSE, again: None }
    }
}

/// What a look at the processes found or did.
#[derive(Debug)]
pub(crate) enum Change {
    /// It died; it is started again after the pause.
    Died { name: String, how: String, pause: Duration },
    /// It runs again.
    Restarted { name: String },
    /// It could not be started; it is tried again.
    Failed { name: String, error: ClusterError },
}

impl Cluster {
    /// Looks at every process once, and starts what has been down for its pause.
    pub(crate) fn watch(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for name in self.names() {
            let Some(watched) = self.processes.get_mut(&name) else { continue };
            let Some(how) = watched.process.ended() else { continue };
            match watched.again {
                None => {
                    if watched.since.elapsed() > STEADY {
                        watched.pause = PAUSE;
                    }
                    let pause = watched.pause;
                    watched.again = Some(Instant::now() + pause);
                    changes.push(Change::Died { name, how, pause });
                }
                Some(at) if Instant::now() < at => {}
                Some(_) => {
                    let pause = (watched.pause * 2).min(PAUSE_MAX);
                    changes.push(self.again(&name, pause));
                }
            }
        }
        changes
    }

    fn again(&mut self, name: &str, pause: Duration) -> Change {
        let outcome = self.start_one(name);
        if let Some(watched) = self.processes.get_mut(name) {
            watched.pause = pause;
            // A failed start is not waited for twice: the next look finds it dead or alive.
            watched.again = None;
        }
        match outcome {
            Ok(()) => Change::Restarted { name: name.to_owned() },
            Err(error) => Change::Failed { name: name.to_owned(), error },
        }
    }
}
