//! The bytes and names behind a simulated disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::Fault;

#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) files: BTreeMap<u64, SimFile>,
    /// What a reader sees.
    pub(super) names: BTreeMap<PathBuf, u64>,
    /// What survives a power cut for certain.
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since their directory was synced, in order.
    pub(super) name_ops: Vec<NameOp>,
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) operations: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) dead: bool,
    pub(super) capacity: Option<u64>,
    pub(super) next_file: u64,
    /// Orders unsynced writes over all files.
    pub(super) next_write: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimFile {
    pub(super) durable: Vec<u8>,
    pub(super) current: Vec<u8>,
    pub(super) pending: Vec<PendingWrite>,
}

#[derive(Debug, Clone)]
pub(super) struct PendingWrite {
    pub(super) order: u64,
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) enum NameOp {
    Link { path: PathBuf, id: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
}

impl NameOp {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link { path, id } => {
                names.insert(path.clone(), *id);
            }
            Self::Rename { from, to } => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Unlink { path } => {
                names.remove(path);
            }
        }
    }
}

pub(super) fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}

impl World {
    /// Counts an operation and says whether it may happen.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        let fault = self.faults.remove(&number);
        self.dead |= fault == Some(Fault::PowerCut);
        if self.dead {
            return Err(io::Error::other("simulated power cut"));
        }
        match fault {
            Some(Fault::Io) => Err(io::Error::other("simulated I/O error")),
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::PowerCut) | None => Ok(()),
        }
    }

    pub(super) fn id(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn file(&self, id: u64) -> io::Result<&SimFile> {
        self.files.get(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn new_file(&mut self) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, SimFile::default());
        self.next_file
    }

    pub(super) fn change_name(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.name_ops.push(op);
    }

    pub(super) fn sync_names(&mut self, dir: &Path, succeeds: bool) {
        if self.dead {
            return;
        }
        let (synced, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.name_ops).into_iter().partition(|op| op.dir() == Some(dir));
        self.name_ops = rest;
        if succeeds {
            for op in synced {
                op.apply(&mut self.durable_names);
            }
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().map(|id| self.files[id].current.len() as u64).sum()
    }

    pub(super) fn write(&mut self, id: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let used = self.used();
        let order = self.next_write;
        let file = self.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let growth = (offset + bytes.len()).saturating_sub(file.current.len()) as u64;
        if growth > 0 && self.capacity.is_some_and(|capacity| used + growth > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut file.current, offset, bytes);
        file.pending.push(PendingWrite { order, offset, bytes: bytes.to_vec() });
        self.next_write += 1;
        Ok(())
    }

    /// A failed sync forgets what was to be saved: the pages count as clean afterwards. One that
    /// the power cut came before leaves it to the crash's plan.
    pub(super) fn sync(&mut self, id: u64, succeeds: bool) {
        if self.dead {
            return;
        }
        let Some(file) = self.files.get_mut(&id) else { return };
        for write in std::mem::take(&mut file.pending) {
            if succeeds {
                put(&mut file.durable, write.offset, &write.bytes);
            }
        }
    }

    pub(super) fn unsynced(&self) -> (usize, usize) {
        let writes = || self.files.values().flat_map(|file| &file.pending);
        let bytes = writes().map(|write| write.bytes.len()).sum();
        (bytes, writes().map(|write| super::crash::pieces(write).count()).sum())
    }
}
