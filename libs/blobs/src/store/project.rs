//! One project's packs, journals and arriving packs.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fs_err::{self as fs, File};
use runyard_types::Digest;

use super::actions::Actions;
use super::durable::{TEMP_PREFIX, make_dir, write_whole};
use super::index::{Home, Index};
use super::journal::{Group, Journal, journal_path, recover};
use super::upload::Part;
use super::{PackStatus, PackUpload, StoreError, StoreOptions};
use crate::blocks::BlockPool;
use crate::chunk::{CHUNK_BYTES_MAX, Chunk};
use crate::pack::{Entry, PackBuilder, PackError, PackId, open_stored, read_index};

/// Files of packs that are kept open for reading.
const OPEN_FILES_MAX: usize = 32;
/// Chunks that lie side by side are read together, up to this much.
const RUN_BYTES: u32 = 1 << 20;
/// Buffers of that size kept for the next reading; a coordinator that rests must stay small.
const FREE_RUNS: usize = 3;
/// A journal of this size becomes a pack.
const JOURNAL_BYTES: u64 = 16 << 20;
/// What arrived of a pack is kept this long for its upload to go on.
const PART_KEPT: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct Project {
    pub(super) packs: PathBuf,
    uploads: PathBuf,
    uploads_max: usize,
    index: RwLock<Index>,
    arriving: Mutex<HashMap<PackId, Arriving>>,
    group: Group,
    journal: Mutex<JournalSlot>,
    files: Mutex<VecDeque<(Home, Arc<File>)>>,
    /// What runs of chunks are read into.
    runs: BlockPool,
    pub(super) actions: Mutex<Actions>,
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
        clear_uploads(&uploads)?;
        let this = Self {
            actions: Mutex::new(Actions::open(&dir.join("ac"), options.action_bytes_max)?),
            packs,
            uploads,
            uploads_max: options.uploads_max,
            index: RwLock::default(),
            arriving: Mutex::default(),
            group: Group::default(),
            journal: Mutex::default(),
            files: Mutex::default(),
            runs: BlockPool::new(RUN_BYTES as usize, FREE_RUNS),
        };
        this.load(threads)?;
        Ok(this)
    }

    fn load(&self, threads: usize) -> Result<(), StoreError> {
        let (mut packs, mut journals) = (Vec::new(), Vec::new());
        let list = || StoreError::io("list", &self.packs);
        for file in fs::read_dir(&self.packs).map_err(list())? {
            let path = file.map_err(list())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(TEMP_PREFIX) {
                let _ = fs::remove_file(&path);
            } else if let Some(id) = name.strip_suffix(".pack").and_then(PackId::parse) {
                packs.push((id, path));
            } else if let Some(number) = name.strip_suffix(".journal") {
                journals.extend(number.parse::<u64>().ok().map(|number| (number, path)));
            }
        }
        // The same order at every opening, so that a chunk in two packs is read from the same one.
        packs.sort();
        journals.sort();
        let indexes = read_footers(&packs, threads);
        for ((id, path), entries) in packs.iter().zip(indexes) {
            match entries {
                Ok(entries) => self.add_pack(*id, &entries),
                Err(error) => set_aside(path, &error),
            }
        }
        let next = journals.last().map_or(0, |(number, _)| number + 1);
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).next = next;
        for (_, path) in journals {
            self.take_up(&path)?;
        }
        Ok(())
    }

    /// Makes packs of what an earlier process put into a journal.
    fn take_up(&self, path: &Path) -> Result<(), StoreError> {
        let recovered = recover(path)?;
        self.write_packs(&recovered.chunks)?;
        if recovered.lost_bytes > 0 {
            let lost_bytes = recovered.lost_bytes;
            let aside = path.with_extension("damaged");
            tracing::warn!(path = %path.display(), lost_bytes, "the end of a journal is torn; kept aside");
            return fs::rename(path, aside).map_err(StoreError::io("rename", path));
        }
        fs::remove_file(path).map_err(StoreError::io("remove", path))
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
            self.add_pack(pack.id, &pack.entries);
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
        if !arriving.contains_key(&pack) && arriving.len() >= self.uploads_max {
            return Err(StoreError::Busy(arriving.len()));
        }
        let entry = arriving.entry(pack).or_insert_with(|| {
            let part = Arc::new(Mutex::new(Part::new(self.part_path(pack))));
            Arriving { part, senders: 0 }
        });
        entry.senders += 1;
        let part = entry.part.clone();
        drop(arriving);
        PackUpload::new(self.clone(), pack, size, index, part)
    }

    /// Forgets a part in memory when its last sender leaves; the file stays for the next one.
    pub(super) fn leave(&self, pack: PackId) {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = arriving.get_mut(&pack) {
            entry.senders -= 1;
            if entry.senders == 0 {
                arriving.remove(&pack);
            }
        }
    }

    pub(super) fn status(self: &Arc<Self>, pack: PackId) -> Result<PackStatus, StoreError> {
        if self.has_pack(pack) {
            let path = self.pack_path(pack);
            let received_bytes = fs::metadata(&path).map_err(StoreError::io("read", &path))?.len();
            return Ok(PackStatus { complete: true, received_bytes });
        }
        let part = self.part_path(pack);
        match fs::metadata(&part) {
            Ok(meta) => Ok(PackStatus { complete: false, received_bytes: meta.len() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(PackStatus { complete: self.has_pack(pack), received_bytes: 0 })
            }
            Err(error) => Err(StoreError::io("read", part)(error)),
        }
    }

    fn part_path(&self, pack: PackId) -> PathBuf {
        self.uploads.join(format!("{pack}.part"))
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
        if recovered.lost_bytes > 0 {
            tracing::warn!(path = %journal.path.display(), "a journal is damaged; it is kept");
            return Ok(());
        }
        let home = Home::Journal(journal.number);
        for (pack, entries) in self.write_packs(&recovered.chunks)? {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.shift(home, Home::Pack(pack), &entries);
        }
        fs::remove_file(&journal.path).map_err(StoreError::io("remove", &journal.path))
    }

    /// A chunk's verified bytes. A damaged copy is forgotten, and other packs are searched for one.
    pub(super) fn read(&self, id: &Digest) -> Result<Bytes, StoreError> {
        let (home, entry) = self.locate(id).ok_or(StoreError::NotFound(*id))?;
        match self.read_at(home, &entry) {
            Ok(data) => return Ok(data),
            Err(error) => {
                // A journal may have become a pack between the look-up and the reading.
                if let Some((now, entry)) = self.locate(id).filter(|(now, _)| *now != home)
                    && let Ok(data) = self.read_at(now, &entry)
                {
                    return Ok(data);
                }
                tracing::error!(chunk = %id, ?home, %error, "a chunk is damaged on disk");
            }
        }
        self.index.write().unwrap_or_else(PoisonError::into_inner).forget(id, home);
        self.another_copy(id, home).ok_or(StoreError::Corrupt(*id))
    }

    /// The first of `ids`, and those behind it that lie behind it in the same pack, verified: of one reading
    /// of at most [`RUN_BYTES`]. At least one answer, if there are ids.
    pub(super) fn read_run(&self, ids: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        let run = self.run(ids);
        let stored = match run.as_slice() {
            [(home, first), .., (_, last)] => {
                self.stored(*home, first.offset, last.offset + last.stored).ok()
            }
            _ => None,
        };
        let Some(stored) = stored else {
            return ids.first().map(|id| self.read(id)).into_iter().collect();
        };
        let base = run[0].1.offset;
        let open = |(_, entry): &(Home, Entry)| {
            let at = (entry.offset - base) as usize;
            let data = stored.slice(at..at + entry.stored as usize);
            // What is damaged is told, and searched for elsewhere, as for a chunk by itself.
            open_stored(entry, data).or_else(|_| self.read(&entry.id))
        };
        run.iter().map(open).collect()
    }

    /// Where the first of `ids` lies, and those of the next ones that lie right behind.
    fn run(&self, ids: &[Digest]) -> Vec<(Home, Entry)> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut run: Vec<(Home, Entry)> = Vec::new();
        for id in ids {
            let Some((home, entry)) = index.find(id) else { break };
            if let (Some((first_home, first)), Some((_, last))) = (run.first(), run.last()) {
                let follows = home == *first_home && entry.offset == last.offset + last.stored;
                if !follows || entry.offset + entry.stored - first.offset > RUN_BYTES {
                    break;
                }
            }
            run.push((home, entry));
        }
        run
    }

    fn stored(&self, home: Home, from: u32, to: u32) -> std::io::Result<Bytes> {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = self.runs.take(RUN_BYTES as usize);
        bytes.resize((to - from) as usize, 0);
        self.file(home)?.file().read_exact_at(&mut bytes, u64::from(from))?;
        Ok(self.runs.share(bytes))
    }

    fn read_at(&self, home: Home, entry: &Entry) -> Result<Bytes, PackError> {
        use std::os::unix::fs::FileExt as _;
        let file = self.file(home)?;
        let mut stored = vec![0; entry.stored as usize];
        file.file().read_exact_at(&mut stored, u64::from(entry.offset))?;
        open_stored(entry, stored.into())
    }

    /// Searches the footers of all packs: slow, and only after damage.
    fn another_copy(&self, id: &Digest, bad: Home) -> Option<Bytes> {
        let packs: Vec<PackId> =
            self.index.read().unwrap_or_else(PoisonError::into_inner).packs().collect();
        for pack in packs.into_iter().filter(|pack| Home::Pack(*pack) != bad) {
            let Ok(entries) = read_footer(&self.pack_path(pack)) else { continue };
            let Some(entry) = entries.iter().find(|entry| entry.id == *id) else { continue };
            if let Ok(data) = self.read_at(Home::Pack(pack), entry) {
                self.add_pack(pack, std::slice::from_ref(entry));
                return Some(data);
            }
        }
        None
    }

    fn file(&self, home: Home) -> std::io::Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = files.iter().position(|(known, _)| *known == home) {
            let found = files.remove(at).expect("its position was just found");
            files.push_back(found.clone());
            return Ok(found.1);
        }
        let file = Arc::new(File::open(match home {
            Home::Pack(pack) => self.pack_path(pack),
            Home::Journal(number) => journal_path(&self.packs, number),
        })?);
        if files.len() >= OPEN_FILES_MAX {
            files.pop_front();
        }
        files.push_back((home, file.clone()));
        Ok(file)
    }
}

fn read_footer(path: &Path) -> Result<Vec<Entry>, PackError> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    read_index(file.file(), len)
}

type Footers = Vec<Result<Vec<Entry>, PackError>>;

fn read_footers(packs: &[(PackId, PathBuf)], threads: usize) -> Footers {
    let share = packs.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = packs
            .chunks(share)
            .map(|part| {
                scope.spawn(|| part.iter().map(|(_, path)| read_footer(path)).collect::<Footers>())
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("reading a footer does not panic"))
            .collect()
    })
}

/// A pack that cannot be understood is moved out of the way, so that its chunks count as missing.
fn set_aside(path: &Path, error: &PackError) {
    tracing::error!(path = %path.display(), %error, "a pack is damaged; set aside");
    if let Err(error) = fs::rename(path, path.with_extension("damaged")) {
        tracing::error!(%error, "the damaged pack could not be set aside");
    }
}

fn clear_uploads(uploads: &Path) -> Result<(), StoreError> {
    for file in fs::read_dir(uploads).map_err(StoreError::io("list", uploads))? {
        let file = file.map_err(StoreError::io("list", uploads))?;
        let age = file.metadata().and_then(|meta| meta.modified()).ok();
        let age = age.and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > PART_KEPT) {
            let _ = fs::remove_file(file.path());
        }
    }
    Ok(())
}
