//! A disk that forgets, tears, refuses and rots as its caller tells it to.
//!
//! It has no clock and no random source: the same calls and the same plan give the same bytes.
//! What was written and not synced is kept apart from what is durable; [`SimDisk::crash`] decides
//! what of it a power cut leaves, down to the sector, and [`SimDisk::fail`] makes one operation
//! fail. A kill -9 without a power cut is [`Crash::KeepAll`].

mod crash;
mod world;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

pub use crash::Crash;
use world::{NameOp, World};

use crate::disk::{DirLock, Disk, DiskFile, LockError};

/// What happens to one operation instead of its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this operation and all later ones fail without effect.
    PowerCut,
    /// The operation fails with an I/O error. If it is a sync, what was written before it is lost
    /// although it can still be read, as Linux does it: the next sync succeeds and saves nothing.
    Io,
    /// The operation fails for lack of room.
    NoSpace,
}

/// The simulated disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<World>>);

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changing operations were asked for so far (creations, writes, syncs, renames,
    /// removals). The next one has this number.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Makes the operation with number `operation` fail.
    pub fn fail(&self, operation: u64, fault: Fault) {
        self.world().faults.insert(operation, fault);
    }

    /// Limits the sum of all files' sizes; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world().capacity = bytes;
    }

    /// The sum of all files' sizes in bytes.
    pub fn used(&self) -> u64 {
        self.world().used()
    }

    /// How many bytes, and how many sectors, are written and not synced.
    pub fn unsynced(&self) -> (usize, usize) {
        self.world().unsynced()
    }

    /// The disk as it is found when the power is back. This one stays as it is, so that many
    /// plans can be tried on one history.
    #[must_use]
    pub fn crash(&self, plan: &Crash) -> Self {
        Self(Arc::new(Mutex::new(crash::after(&self.world(), plan))))
    }

    /// The files there are, with their sizes in bytes, sorted by name.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let world = self.world();
        world.names.iter().map(|(name, id)| (name.clone(), world.files[id].current.len())).collect()
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.world();
        let id = world.id(path)?;
        Ok(world.files[&id].current.clone())
    }

    /// Replaces the bytes of a file behind its user's back: rot, an operator's hand.
    pub fn overwrite(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let mut world = self.world();
        let id = world.id(path)?;
        let file = world.files.get_mut(&id).expect("a name leads to a file");
        file.durable.clone_from(&bytes);
        file.current = bytes;
        file.pending.clear();
        Ok(())
    }

    /// Flips one bit of a file.
    pub fn flip(&self, path: &Path, byte: usize, bit: u8) -> io::Result<()> {
        let mut bytes = self.bytes(path)?;
        let at = bytes.get_mut(byte).ok_or(io::ErrorKind::UnexpectedEof)?;
        *at ^= 1 << (bit % 8);
        self.overwrite(path, bytes)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no thread panics while it holds the simulated disk")
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.world().dirs.insert(dir.to_owned());
        Ok(())
    }

    fn lock(&self, dir: &Path) -> Result<Box<dyn DirLock>, LockError> {
        if self.world().locks.insert(dir.to_owned()) {
            return Ok(Box::new(SimLock { disk: self.clone(), dir: dir.to_owned() }));
        }
        Err(LockError::Held { pid: Some(std::process::id()) })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        world.begin()?;
        let id = world.new_file();
        world.change_name(NameOp::Link { path: path.to_owned(), id });
        Ok(Box::new(SimFileHandle { disk: self.clone(), id }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.world().id(path)?;
        Ok(Box::new(SimFileHandle { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        world.id(from)?;
        world.change_name(NameOp::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.begin()?;
        world.id(path)?;
        world.change_name(NameOp::Unlink { path: path.to_owned() });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        if !world.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let here = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        let failed = world.begin();
        world.sync_names(dir, failed.is_ok());
        failed
    }
}

#[derive(Debug)]
struct SimFileHandle {
    disk: SimDisk,
    id: u64,
}

impl DiskFile for SimFileHandle {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.world().file(self.id)?.current.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let world = self.disk.world();
        let file = world.file(self.id)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = file.current.get(start..start.saturating_add(buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.disk.world();
        world.begin()?;
        world.write(self.id, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        let failed = world.begin();
        world.sync(self.id, failed.is_ok());
        failed
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        world.begin()?;
        let count = usize::try_from(bytes).map_err(io::Error::other)?;
        world.write(self.id, 0, &vec![0; count])
    }
}

/// The lock of a simulated process; it goes when the process's objects are dropped.
#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    dir: PathBuf,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.world().locks.remove(&self.dir);
    }
}
