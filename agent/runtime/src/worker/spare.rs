//! Folders of workers that have ended, kept for the next ones.
//!
//! A file that is made and removed for each worker is dear on ext4: its allocator passes over the
//! inodes that were freed in the last minutes, and looks at each of them for every new one. So the
//! folder of a worker that ended in the ordinary way is emptied and gets a new name, and none of
//! its seven files is made or removed. What is not exactly as a shim leaves it is removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::{State, WorkerDir, WorkerError};
use crate::shim::STATUS_RESERVE;
use crate::spec::WorkerSpec;

/// Spares that are kept; more workers than this at a time make their own.
const SPARES_MAX: usize = 64;
/// A file that has grown beyond this is not worth keeping the blocks of.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The name of the segment that begins a worker's output ([`crate::spool`]).
const FIRST_SEGMENT: &str = "00000000000000000000.seg";

/// Makes and removes the workers' folders of one agent, using them again where that is safe.
#[derive(Debug)]
pub struct Spares {
    root: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    free: Vec<PathBuf>,
    named: u64,
}

impl Spares {
    /// Spares below `root`, a folder of workers that is this process's alone. What an earlier one
    /// kept or left half done there (all names that begin with a dot) is removed.
    pub fn open(root: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { root: root.to_path_buf(), inner: Mutex::default() })
    }

    /// As [`WorkerDir::create`], in a spare folder if there is one.
    pub fn create(&self, spec: &WorkerSpec) -> Result<WorkerDir, WorkerError> {
        let refused = |source| WorkerError::Spec { uid: spec.uid.clone(), source };
        spec.check().map_err(refused)?;
        let Some(spare) = self.lock().free.pop() else {
            return WorkerDir::create(&self.root, spec);
        };
        let path = self.root.join(&spec.uid);
        let filled = open_own(&spare.join("spec")).and_then(|mut f| f.write_all(&spec.encode()));
        match filled.and_then(|()| std::fs::rename(&spare, &path)) {
            Ok(()) => Ok(WorkerDir { path, uid: spec.uid.clone() }),
            Err(_) => {
                let _ = fs::remove_dir_all(&spare);
                WorkerDir::create(&self.root, spec)
            }
        }
    }

    /// As [`WorkerDir::remove`]; the folder becomes a spare when its one shim ended in the ordinary
    /// way and left nothing but what every shim leaves.
    pub fn take_back(&self, worker: &WorkerDir) -> Result<(), WorkerError> {
        if self.lock().free.len() >= SPARES_MAX || worker.state()? != State::Released {
            return worker.remove();
        }
        // A second shim that was started by mistake may stand before the lock: as long as we hold
        // it, it can't take the folder for a new one; and then it finds the name gone.
        let Some(lock) = hold(&worker.path().join("lock")) else { return worker.remove() };
        let spare = {
            let mut inner = self.lock();
            inner.named += 1;
            self.root.join(format!(".spare-{}", inner.named))
        };
        // Out of the way first, so that a crash half-way leaves nothing that looks like a worker.
        fs::rename(worker.path(), &spare)?;
        if empty(&spare, &lock).unwrap_or(false) {
            drop(lock);
            self.lock().free.push(spare);
        } else {
            drop(lock);
            fs::remove_dir_all(&spare)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hold(lock: &Path) -> Option<Flock<File>> {
    let file = open_own(lock).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

/// Makes a worker's folder as one that has not begun. False: it holds something else.
fn empty(path: &Path, lock: &File) -> io::Result<bool> {
    if names(path)? != ["lock", "spec", "spool", "status"] {
        return Ok(false);
    }
    let spool = path.join("spool");
    let segment = match names(&spool)?.as_slice() {
        [] => None,
        [one] if one == FIRST_SEGMENT => Some(open_own(&spool.join(one))?),
        _ => return Ok(false),
    };
    let (spec, status) = (open_own(&path.join("spec"))?, open_own(&path.join("status"))?);
    for file in [Some(lock), Some(&spec), Some(&status), segment.as_ref()].into_iter().flatten() {
        if !is_plain(file)? {
            return Ok(false);
        }
    }
    // What it said and what it was told (its environment!) goes now, not when the next one comes.
    if let Some(segment) = segment {
        segment.set_len(0)?;
    }
    spec.set_len(0)?;
    // Blanks, not cut off: freeing a block and taking it again costs more than the block.
    status.write_all_at(&[b' '; STATUS_RESERVE], 0)?;
    status.set_len(STATUS_RESERVE as u64)?;
    std::fs::rename(path.join("status"), path.join("status.new"))?;
    let len = usize::try_from(lock.metadata()?.len()).unwrap_or(usize::MAX);
    lock.write_all_at(&vec![b' '; len.min(STATUS_RESERVE)], 0)?;
    Ok(len <= STATUS_RESERVE)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let name =
        |e: io::Result<std::fs::DirEntry>| e.map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names = std::fs::read_dir(folder)?.map(name).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// Opened through no link.
fn open_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// A file as a shim makes it, that nobody else has a name for.
fn is_plain(file: &File) -> io::Result<bool> {
    let meta = file.metadata()?;
    let ours = meta.uid() == nix::unistd::Uid::effective().as_raw();
    let open = meta.mode() & 0o077 & !0o044;
    Ok(meta.is_file() && ours && open == 0 && meta.nlink() == 1 && meta.len() <= FILE_BYTES_MAX)
}
