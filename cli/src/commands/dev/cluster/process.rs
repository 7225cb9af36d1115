//! A process that may be another supervisor's child: known by its number and the time of its start.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(10);

/// Which process, beyond doubt: a number is given to another only with another start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Clock ticks after the boot, from `/proc/PID/stat`.
    pub(crate) started: u64,
    /// The boot that the ticks count from.
    pub(crate) boot: String,
}

/// A process of the cluster.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) identity: Identity,
    /// Ours to reap; a process that was adopted is init's.
    child: Option<Child>,
    /// How it ended, once that was seen.
    ended: Option<String>,
}

impl Identity {
    /// That of a living process.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let (started, _) = stat(pid)?;
        Some(Self { pid, started, boot: boot() })
    }

    /// Whether it lives; a zombie does not.
    pub(crate) fn is_alive(&self) -> bool {
        self.boot == boot()
            && stat(self.pid).is_some_and(|(started, state)| {
                started == self.started && state != 'Z' && state != 'X'
            })
    }
}

impl Process {
    /// A child that was just started.
    pub(crate) fn own(child: Child) -> Self {
        let pid = child.id().cast_signed();
        // An unreaped child keeps its number, so this is it even if it has ended already.
        let identity =
            Identity::of(pid).unwrap_or_else(|| Identity { pid, started: 0, boot: boot() });
        Self { identity, child: Some(child), ended: None }
    }

    /// The living process that another supervisor wrote down.
    pub(crate) fn adopt(path: &Path) -> Option<Self> {
        let identity: Identity = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
        identity.is_alive().then_some(Self { identity, child: None, ended: None })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// How it ended; `None` while it lives.
    pub(crate) fn ended(&mut self) -> Option<String> {
        if self.ended.is_none() {
            self.ended = match &mut self.child {
                Some(child) => match child.try_wait() {
                    Ok(Some(status)) => Some(status.to_string()),
                    Ok(None) => None,
                    Err(error) => Some(format!("lost: {error}")),
                },
                None => (!self.identity.is_alive()).then(|| "it has ended".to_owned()),
            };
        }
        self.ended.clone()
    }

    /// Sends a signal, if it still lives.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // It may end in between; the number is ours until a child is reaped, and for an
            // adopted process the window is the time between two system calls.
            let _ = kill(Pid::from_raw(self.identity.pid), signal);
        }
    }

    /// Waits for the end; false if it did not come in time.
    pub(crate) fn wait(&mut self, patience: Duration) -> bool {
        let give_up = Instant::now() + patience;
        while self.ended().is_none() {
            if Instant::now() >= give_up {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

/// Start and state of a process.
fn stat(pid: i32) -> Option<(u64, char)> {
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name may contain blanks and parentheses; the last `)` ends it.
    let mut words = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    // Field 22 of the line; `words` began at field 3.
    Some((words.nth(18)?.parse().ok()?, state))
}

fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_seen_to_end() {
        let child = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
        let mut process = Process::own(child);
        assert!(process.identity.is_alive() && process.ended().is_none());
        let other = Identity { started: process.identity.started + 1, ..process.identity.clone() };
        assert!(!other.is_alive(), "the same number with another start is another process");
        let other = Identity { boot: "another".into(), ..process.identity.clone() };
        assert!(!other.is_alive());
        process.signal(Signal::SIGKILL);
        assert!(process.wait(Duration::from_secs(10)));
        assert!(process.ended().is_some_and(|how| how.contains("signal: 9")));
        assert!(!process.identity.is_alive());
    }
}
