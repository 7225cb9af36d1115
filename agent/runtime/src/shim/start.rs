//! From a forked process to a running stage.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use super::control::Control;
use super::pump::Pump;
use crate::clock;
use crate::secrets::Secrets;
use crate::spec::WorkerSpec;
use crate::status::{ExitStatus, Reason};
use crate::sys::{SingleThreaded, ignore_signal};

/// Space for a status, taken when the worker starts, so that a full disk can't lose it.
pub(crate) const STATUS_RESERVE: usize = 4096;

/// Runs the worker of this folder to its end; returns when no process of it is left.
///
/// `reply` gets one line, `ok` or `error WHY`, as soon as the lock is held, the spec is read and
/// the status has its space.
/// An `error` means that nothing was started, and nothing but the lock file was touched.
pub(crate) fn run(
    proof: SingleThreaded,
    dir: &Path,
    reply: Option<OwnedFd>,
    secrets: Option<OwnedFd>,
) -> i32 {
    let _ = nix::unistd::setsid();
    for s in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGPIPE] {
        ignore_signal(s);
    }
    let _ = nix::sys::prctl::set_name(c"runyard-shim");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let _ = std::env::set_current_dir("/");
    let mut reply = reply.map(File::from);
    let mut answer = |text: String| {
        if let Some(mut r) = reply.take() {
            let _ = r.write_all(text.as_bytes());
        }
    };
    let claimed = claim(dir).and_then(|lock| {
        let spec = read_spec(dir)?;
        let secrets = secrets.map(|fd| Secrets::read(File::from(fd))).transpose()?;
        Ok((lock, spec, secrets.unwrap_or_default()))
    });
    let (lock, spec, secrets) = match claimed {
        Ok(parts) => parts,
        Err(e) => {
            answer(format!("error {e}\n"));
            return 1;
        }
    };
    let control = reserve_status(dir).and_then(|()| Control::begin(dir));
    answer("ok\n".into());
    let started_ms = clock::utc_ms();
    let status = match control {
        Ok(control) => Pump::new(proof, dir, &spec, secrets, control, started_ms).run(),
        Err(e) => not_started(format!("{}: {e}", dir.display()), started_ms),
    };
    // Everything of the pump is gone, the stage's processes with it. The status was written while
    // they still might have lived; the lock falls only now.
    let failed = status.error.is_some();
    if !dir.join("status").exists() {
        let _ = write_status(dir, &status);
    }
    drop(lock);
    i32::from(failed)
}

/// A status for a stage that never ran.
pub(super) fn not_started(error: String, started_ms: u64) -> ExitStatus {
    ExitStatus {
        reason: Reason::NotStarted,
        error: Some(error),
        boot_id: clock::boot_id(),
        started_ms,
        ended_ms: clock::utc_ms(),
        ..ExitStatus::default()
    }
}

/// Takes the lock, once per folder: a second shim, or one started twice by an agent that had
/// crashed between request and answer, goes away.
fn claim(dir: &Path) -> io::Result<Flock<File>> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path)?;
    let mut tries = 0;
    // Whoever asks "is it alive?" holds the lock for a moment.
    let mut lock = loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => break lock,
            Err((back, nix::errno::Errno::EWOULDBLOCK)) if tries < 500 => {
                file = back;
                tries += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((_, e)) => {
                return Err(io::Error::other(format!("{}: another shim: {e}", path.display())));
            }
        }
    };
    let mut text = String::new();
    lock.read_to_string(&mut text)?;
    // A folder that is used again (`worker::Spares`) has a lock of blanks.
    if !text.trim().is_empty() {
        return Err(io::Error::other(format!("{}: was started before", dir.display())));
    }
    // While we waited, the folder may have become another worker's: by its path it is found no more.
    if !is_at(&lock, &path) {
        return Err(io::Error::other(format!("{}: was removed", dir.display())));
    }
    let line = format!("{} {} {}\n", std::process::id(), clock::boot_id(), clock::utc_ms());
    lock.write_all_at(line.as_bytes(), 0)?;
    Ok(lock)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn read_spec(dir: &Path) -> io::Result<WorkerSpec> {
    let path = dir.join("spec");
    let said = |e: &dyn std::fmt::Display| io::Error::other(format!("{}: {e}", path.display()));
    let bytes = std::fs::read(&path).map_err(|e| said(&e))?;
    let spec = WorkerSpec::decode(&bytes).map_err(|e| said(&e))?;
    spec.check().map_err(|e| said(&e))?;
    Ok(spec)
}

fn reserve_status(dir: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(dir.join("status.new"))?;
    // A folder that is used again has it.
    if file.metadata()?.len() == STATUS_RESERVE as u64 {
        return Ok(());
    }
    file.write_all(&[b' '; STATUS_RESERVE])
}

/// Writes into the reserved blocks, then renames.
pub(super) fn write_status(dir: &Path, status: &ExitStatus) -> io::Result<()> {
    let mut text = status.encode();
    if text.len() > STATUS_RESERVE
        && let Some(error) = &status.error
    {
        let short: String = error.chars().take(1000).collect();
        text = ExitStatus { error: Some(short + " …"), ..status.clone() }.encode();
    }
    let from = dir.join("status.new");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&from)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    std::fs::rename(&from, dir.join("status"))
}
