//! What the log and the snapshots ask of a disk. [`OsDisk`] is the product's; the faulty
//! [`SimDisk`](crate::sim::SimDisk) is the tests'.

mod os;

use std::{fmt, io, path::Path};

pub use os::OsDisk;

/// A file system, as far as consensus needs one.
///
/// Durability is as strict as POSIX makes it: the bytes of a file are durable after
/// [`DiskFile::sync`], its name after [`Disk::sync_dir`] of its directory, and neither implies
/// the other.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes `dir` and its parents, readable by their owner alone. No error if it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the directory for this process until the guard is dropped. The guard also goes when
    /// the process dies, however it dies.
    fn lock(&self, dir: &Path) -> Result<Box<dyn DirLock>, LockError>;
    /// Makes an empty file; an existing one of this name is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name in the same directory, replacing what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names of a directory's files, sorted. A directory that does not exist is `NotFound`.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. Dropping it closes it and makes nothing durable.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// The file's size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, growing the file if needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's bytes durable. After an error nothing may be assumed of what was written
    /// since the last success, and asking again proves nothing: the caller must stop.
    fn sync(&self) -> io::Result<()>;
    /// Fills the file with `bytes` zeros, so that later writes change no metadata. `StorageFull`
    /// if there is no room.
    fn preallocate(&self, bytes: u64) -> io::Result<()>;
}

/// Held while a directory is ours.
pub trait DirLock: fmt::Debug + Send + Sync {}

/// Why a directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A living process has it.
    #[error("it is in use by process {pid}", pid = pid.map_or("(unknown)".into(), |p| p.to_string()))]
    Held {
        /// What that process wrote into the lock file, if it could be read.
        pid: Option<u32>,
    },
    /// The lock file could not be made or locked.
    #[error("its lock file cannot be used")]
    Io(#[source] io::Error),
}

/// Reads a whole file.
pub(crate) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
