//! The processes of this host as `/proc` shows them: descendants, marks, and killing by them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sys::{pidfd_open, pidfd_signal};

/// The variable by which a stage's processes are known as ours, whatever their parent is.
pub const MARK: &str = "RUNYARD_WORKER";

/// A process that is left of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remain {
    /// Its number, now.
    pub pid: i32,
    /// Its name, as `ps` shows it.
    pub name: String,
    /// Its state letter; `D` can't be killed.
    pub state: char,
}

#[derive(Debug)]
struct Stat {
    name: String,
    state: char,
    parent: i32,
}

fn pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

fn stat(pid: i32) -> Option<Stat> {
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name may contain blanks and parentheses; the last `)` ends it.
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let mut rest = text.get(close + 2..)?.split(' ');
    let state = rest.next()?.chars().next()?;
    let parent = rest.next()?.parse().ok()?;
    Some(Stat { name: text[open + 1..close].to_string(), state, parent })
}

/// All living descendants of a process. With a subreaper at their head, none can leave its tree.
pub(crate) fn descendants(of: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in pids() {
        if let Some(s) = stat(pid).filter(|s| s.state != 'Z' && s.state != 'X') {
            children.entry(s.parent).or_default().push(pid);
        } else if let Some(s) = stat(pid) {
            // A zombie is dead, but its children may not be.
            children.entry(s.parent).or_default().push(-pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![of.as_raw()];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            open.push(child.abs());
            if *child > 0 {
                found.push(Pid::from_raw(*child));
            }
        }
    }
    found
}

/// Kills all descendants. They are stopped first, until no new ones appear, so that something
/// that forks all the time can't outrun us.
pub(crate) fn kill_descendants(of: Pid) {
    let mut stopped = BTreeSet::new();
    for _ in 0..100 {
        let fresh: Vec<Pid> =
            descendants(of).into_iter().filter(|p| !stopped.contains(&p.as_raw())).collect();
        if fresh.is_empty() {
            break;
        }
        for p in fresh {
            let _ = kill(p, Signal::SIGSTOP);
            stopped.insert(p.as_raw());
        }
    }
    for p in descendants(of) {
        let _ = kill(p, Signal::SIGKILL);
    }
}

/// The processes whose environment carries this worker's mark, and those the cgroup names.
pub(crate) fn remains(uid: &str, members: &[i32]) -> Vec<Remain> {
    let mut found = Vec::new();
    for pid in pids() {
        if !members.contains(&pid) && !is_marked(pid, uid) {
            continue;
        }
        if let Some(s) = stat(pid).filter(|s| s.state != 'Z' && s.state != 'X') {
            found.push(Remain { pid, name: s.name, state: s.state });
        }
    }
    found
}

/// Kills what carries the mark. The mark is read *after* a pidfd was opened, so a number that was
/// taken over by a foreign process meanwhile can't be hit (F30).
pub(crate) fn kill_marked(uid: &str) {
    // Twice: a child forked while we walked is met by the second round, or by the caller's next.
    for _ in 0..2 {
        for pid in pids() {
            if is_marked(pid, uid)
                && let Ok(handle) = pidfd_open(Pid::from_raw(pid))
                && is_marked(pid, uid)
            {
                let _ = pidfd_signal(&handle, Signal::SIGKILL);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_marked(pid: i32, uid: &str) -> bool {
    let Ok(env) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
    let mark = format!("{MARK}={uid}");
    env.split(|b| *b == 0).any(|pair| pair == mark.as_bytes())
}
