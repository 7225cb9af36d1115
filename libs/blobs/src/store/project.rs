//! One project's packs, journals and arriving packs.

mod opening;
mod reading;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fs_err::{self as fs, File};
use runyard_types::Digest;

use super::actions::Actions;
use super::durable::{make_dir, write_whole};
use super::index::{Home, Index};
use super::journal::{Group, Journal, recover};
use super::parts::{part_path, sweep};
use super::upload::Part;
use super::{PackStatus, PackUpload, StoreError, StoreOptions};
use crate::blocks::BlockPool;
use crate::chunk::{CHUNK_BYTES_MAX, Chunk};
use crate::pack::{Entry, PackBuilder, PackId};
use opening::read_footer;
use reading::RUN_BYTES;

/// Buffers of that size kept for the next reading; a coordinator that rests must stay small.
const FREE_RUNS: usize = 3;
/// A journal of this size becomes a pack.
const JOURNAL_BYTES: u64 = 16 << 20;
/// How often parts that nobody sends any more are looked for, if there are uploads at all.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Project {
    pub(super) packs: PathBuf,
    uploads: PathBuf,
    options: StoreOptions,
    index: RwLock<Index>,
    arriving: Mutex<Arrivals>,
    group: Group,
    journal: Mutex<JournalSlot>,
    files: Mutex<VecDeque<(Home, Arc<File>)>>,
    /// What runs of chunks are read into.
    runs: BlockPool,
    pub(super) actions: Mutex<Actions>,
}

#[derive(Debug)]
struct Arrivals {
    packs: HashMap<PackId, Arriving>,
    swept: Instant,
}

/// A pack that is arriving, and how many send it.
#[derive(Debug)]
struct Arriving {
    part: Arc<Mutex<Part>>,
    senders: usize,
}

#[derive(Debug, Default)]
struct JournalSlot {
    current: Option<Journal>,
    next: u64,
}

impl Project {
    /// Opens or creates the folder; `threads` read footers.
    pub(super) fn open(
        dir: &Path,
        options: &StoreOptions,
        threads: usize,
    ) -> Result<Self, StoreError> {
        let (packs, uploads) = (dir.join("packs"), dir.join("uploads"));
        make_dir(&packs)?;
        make_dir(&uploads)?;
        sweep(&uploads, options.part_bytes_max, SystemTime::now(), |_| false)?;
        let this = Self {
            actions: Mutex::new(Actions::open(&dir.join("ac"), options.action_bytes_max)?),
            packs,
            uploads,
            options: *options,
            index: RwLock::default(),
            arriving: Mutex::new(Arrivals { packs: HashMap::new(), swept: Instant::now() }),
            group: Group::default(),
            journal: Mutex::default(),
            files: Mutex::default(),
            runs: BlockPool::new(RUN_BYTES as usize, FREE_RUNS),
        };
        this.load(threads)?;
        Ok(this)
    }

    fn write_packs(&self, chunks: &[Chunk]) -> Result<Vec<(PackId, Vec<Entry>)>, StoreError> {
        let mut builder = PackBuilder::new().map_err(StoreError::io("pack into", &self.packs))?;
        let mut written = Vec::new();
        let mut rest = chunks.iter().peekable();
        while rest.peek().is_some() {
            while let Some(chunk) = rest.peek() {
                if !builder.push(chunk) {
                    break;
                }
                rest.next();
            }
            let pack = builder.finish();
            write_whole(&self.pack_path(pack.id), &pack.bytes, true)?;
            self.renew_pack(pack.id, &pack.entries);
            written.push((pack.id, pack.entries));
        }
        Ok(written)
    }

    pub(super) fn pack_path(&self, pack: PackId) -> PathBuf {
        self.packs.join(format!("{pack}.pack"))
    }

    pub(super) fn has_pack(&self, pack: PackId) -> bool {
        self.index.read().unwrap_or_else(PoisonError::into_inner).has_pack(pack)
    }

    pub(super) fn add_pack(&self, pack: PackId, entries: &[Entry]) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).add(Home::Pack(pack), entries);
    }

    /// Adds a pack that was just written, perhaps in the place of a damaged one.
    pub(super) fn renew_pack(&self, pack: PackId, entries: &[Entry]) {
        let home = Home::Pack(pack);
        self.close(home);
        self.index.write().unwrap_or_else(PoisonError::into_inner).renew(home, entries);
    }

    pub(super) fn contains(&self, id: &Digest) -> bool {
        self.index.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    pub(super) fn missing(&self, ids: &[Digest]) -> Vec<Digest> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        ids.iter().filter(|id| !index.contains(id)).copied().collect()
    }

    pub(super) fn chunk_count(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).chunk_count()
    }

    pub(super) fn locate(&self, id: &Digest) -> Option<(Home, Entry)> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).find(id)
    }

    pub(super) fn chunks_in(&self, pack: PackId) -> Result<u64, StoreError> {
        let path = self.pack_path(pack);
        read_footer(&path).map(|entries| entries.len() as u64).map_err(|source| {
            StoreError::BadPack {
                pack,
                why: "it can no longer be read".into(),
                source: Some(source),
            }
        })
    }

    /// Joins the upload of a pack.
    pub(super) fn upload(
        self: &Arc<Self>,
        pack: PackId,
        size: u64,
        index: Option<Bytes>,
    ) -> Result<PackUpload, StoreError> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        if arriving.swept.elapsed() > SWEEP_EVERY {
            self.sweep(&mut arriving);
        }
        let others = arriving.packs.len();
        if !arriving.packs.contains_key(&pack) && others >= self.options.uploads_max {
            return Err(StoreError::Busy(others));
        }
        let entry = arriving.packs.entry(pack).or_insert_with(|| {
            let part = Arc::new(Mutex::new(Part::new(part_path(&self.uploads, pack))));
            Arriving { part, senders: 0 }
        });
        entry.senders += 1;
        let part = entry.part.clone();
        drop(arriving);
        PackUpload::new(self.clone(), pack, size, index, part)
    }

    /// Removes what nobody sends any more and is too old or too much.
    fn sweep(&self, arriving: &mut Arrivals) {
        arriving.swept = Instant::now();
        let busy = |pack| arriving.packs.contains_key(&pack);
        if let Err(error) =
            sweep(&self.uploads, self.options.part_bytes_max, SystemTime::now(), busy)
        {
            tracing::warn!(%error, "unfinished uploads could not be looked through");
        }
    }

    /// Forgets a part in memory when its last sender leaves; the file stays for the next one, within limits.
    pub(super) fn leave(&self, pack: PackId) {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = arriving.packs.get_mut(&pack) else { return };
        entry.senders -= 1;
        if entry.senders == 0 {
            arriving.packs.remove(&pack);
            if part_path(&self.uploads, pack).exists() {
                self.sweep(&mut arriving);
            }
        }
    }

    pub(super) fn status(self: &Arc<Self>, pack: PackId) -> Result<PackStatus, StoreError> {
        if self.has_pack(pack) {
            let path = self.pack_path(pack);
            let received_bytes = fs::metadata(&path).map_err(StoreError::io("read", &path))?.len();
            return Ok(PackStatus { complete: true, received_bytes });
        }
        let part = part_path(&self.uploads, pack);
        match fs::metadata(&part) {
            Ok(meta) => Ok(PackStatus { complete: false, received_bytes: meta.len() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(PackStatus { complete: self.has_pack(pack), received_bytes: 0 })
            }
            Err(error) => Err(StoreError::io("read", part)(error)),
        }
    }

    /// Makes small chunks durable, together with those of other callers.
    pub(super) fn put(&self, chunks: Vec<Chunk>) -> Result<(), Arc<StoreError>> {
        for chunk in &chunks {
            if chunk.data.is_empty() || chunk.data.len() > CHUNK_BYTES_MAX {
                return Err(Arc::new(StoreError::ChunkSize(chunk.data.len())));
            }
        }
        let fresh: Vec<Chunk> =
            chunks.into_iter().filter(|chunk| !self.contains(&chunk.id)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        self.group.commit(fresh, |group| self.write_group(group))
    }

    fn write_group(&self, group: &[Chunk]) -> Result<(), StoreError> {
        let mut slot = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let mut journal = match slot.current.take() {
            Some(journal) => journal,
            None => {
                slot.next += 1;
                Journal::create(&self.packs, slot.next - 1)?
            }
        };
        // On an error the journal stays taken: its synced part is still read, nothing follows in it.
        let entries = journal.append(group)?;
        let home = Home::Journal(journal.number);
        self.index.write().unwrap_or_else(PoisonError::into_inner).add(home, &entries);
        if journal.len < JOURNAL_BYTES {
            slot.current = Some(journal);
            return Ok(());
        }
        // The chunks are durable already: failing to make a pack of them is no failure of the put.
        match self.close_journal(&journal) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "a full journal stays as it is"),
        }
        Ok(())
    }

    fn close_journal(&self, journal: &Journal) -> Result<(), StoreError> {
        let recovered = recover(&journal.path)?;
        if recovered.is_hurt() {
            tracing::error!(path = %journal.path.display(), "a journal is damaged; it is kept as it is");
            return Ok(());
        }
        let home = Home::Journal(journal.number);
        for (pack, entries) in self.write_packs(&recovered.chunks)? {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.shift(home, Home::Pack(pack), &entries);
        }
        fs::remove_file(&journal.path).map_err(StoreError::io("remove", &journal.path))
    }
}
