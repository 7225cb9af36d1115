//! Stopping what an agent's workers left running, by their folders alone: shims outlive agents.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);
/// A living shim answers at once.
const ANSWER: Duration = Duration::from_secs(2);

/// Stops all workers below these folders: TERM, after `grace` KILL, and no process is left.
/// Returns how many were alive.
pub(crate) fn stop_all(roots: &[PathBuf], grace: Duration) -> usize {
    let alive: Vec<PathBuf> =
        roots.iter().flat_map(|root| folders(root)).filter(|folder| is_alive(folder)).collect();
    let shims: Vec<Option<i32>> = alive.iter().map(|folder| shim(folder)).collect();
    for folder in &alive {
        // A shim that does not answer is killed below.
        let _ = ask(folder, &format!("stop {}", grace.as_millis()));
    }
    wait(&alive, grace + ANSWER);
    for (folder, shim) in alive.iter().zip(shims) {
        if let (true, Some(pid)) = (is_alive(folder), shim) {
            // It holds its lock, so the number is still its own.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    wait(&alive, ANSWER);
    // Where the kernel gave no namespace to a worker, its processes are found by their mark.
    for root in roots {
        for folder in folders(root) {
            kill_marked(&folder);
        }
    }
    alive.len()
}

/// The shims of the workers that live below a folder.
#[allow(dead_code, reason = "tests kill them; the supervisor itself has no need to")]
pub(crate) fn living_shims(root: &Path) -> Vec<i32> {
    folders(root)
        .iter()
        .filter(|folder| is_alive(folder))
        .filter_map(|folder| shim(folder))
        .collect()
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.join("spec").exists()).collect();
    folders.sort();
    folders
}

/// Alive is who holds the lock.
fn is_alive(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join("lock")) else { return false };
    matches!(
        Flock::lock(file, FlockArg::LockExclusiveNonblock),
        Err((_, nix::errno::Errno::EWOULDBLOCK))
    )
}

fn shim(folder: &Path) -> Option<i32> {
    let answer = ask(folder, "ping").ok()?;
    answer.strip_prefix("ok")?.split_ascii_whitespace().next()?.parse().ok()
}

/// One line of the shim's protocol 1.
fn ask(folder: &Path, command: &str) -> std::io::Result<String> {
    // By descriptor: the path may be longer than a socket address can hold.
    let held = File::open(folder)?;
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/sock", held.as_raw_fd()))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn wait(folders: &[PathBuf], patience: Duration) {
    let give_up = Instant::now() + patience;
    while folders.iter().any(|folder| is_alive(folder)) && Instant::now() < give_up {
        std::thread::sleep(LOOK);
    }
}

/// Kills what carries the mark of a worker in its environment.
fn kill_marked(folder: &Path) {
    let Some(uid) = folder.file_name() else { return };
    let mark = format!("RUNYARD_WORKER={}", uid.to_string_lossy());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
