//! Small puts: appended to one file and made durable together, until there are enough for a pack.
//!
//! Many callers at once share one write and one fdatasync: whoever comes first writes for all that wait.
//! A record is `head_crc:u32 digest:32 stored:u32 raw:u32 encoding:u8 data_crc:u32 data`. When a store
//! opens, what its journals hold becomes a pack; a torn tail was never acknowledged. A file begins with
//! "RYJRNL" version:u8 0.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use fs_err::{self as fs, File};
use runyard_types::Digest;

use super::StoreError;
use super::durable::sync_dir;
use crate::chunk::{CHUNK_BYTES_MAX, Chunk};
use crate::pack::{Encoding, Entry, Squeezer};

const HEAD_BYTES: usize = 4 + 32 + 4 + 4 + 1 + 4;
const VERSION: u8 = 1;
const MAGIC: &[u8; 8] = b"RYJRNL\x01\x00";

/// Puts that wait, and the turn to write.
#[derive(Debug, Default)]
pub(super) struct Group {
    state: Mutex<GroupState>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct GroupState {
    waiting: Vec<(Vec<Chunk>, Ticket)>,
    writing: bool,
}

type Ticket = Arc<Mutex<Option<Result<(), Arc<StoreError>>>>>;

/// A group writes at most about this much at once.
const GROUP_BYTES: usize = 16 << 20;

impl Group {
    /// Hands `chunks` to the next group and waits until `write` has made that group durable.
    pub(super) fn commit(
        &self,
        chunks: Vec<Chunk>,
        write: impl Fn(&[Chunk]) -> Result<(), StoreError>,
    ) -> Result<(), Arc<StoreError>> {
        let ticket = Ticket::default();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push((chunks, ticket.clone()));
        loop {
            let done = ticket.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(result) = done {
                return result;
            }
            if state.writing {
                state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.writing = true;
            let (group, tickets) = take_group(&mut state.waiting);
            drop(state);
            let result = write(&group).map_err(Arc::new);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.writing = false;
            for ticket in tickets {
                *ticket.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.clone());
            }
            self.turn.notify_all();
        }
    }
}

fn take_group(waiting: &mut Vec<(Vec<Chunk>, Ticket)>) -> (Vec<Chunk>, Vec<Ticket>) {
    let mut bytes = 0;
    let count = waiting
        .iter()
        .take_while(|(chunks, _)| {
            let fits = bytes < GROUP_BYTES;
            bytes += chunks.iter().map(|chunk| chunk.data.len()).sum::<usize>();
            fits
        })
        .count();
    let (mut group, mut tickets) = (Vec::new(), Vec::new());
    for (chunks, ticket) in waiting.drain(..count) {
        group.extend(chunks);
        tickets.push(ticket);
    }
    (group, tickets)
}

/// The journal that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    file: File,
    squeezer: Squeezer,
    pub(super) len: u64,
    pub(super) entries: Vec<Entry>,
}

pub(super) fn journal_path(packs: &Path, number: u64) -> PathBuf {
    packs.join(format!("{number}.journal"))
}

impl Journal {
    /// Begins a journal in the folder of packs; its name is durable.
    pub(super) fn create(packs: &Path, number: u64) -> Result<Self, StoreError> {
        let path = journal_path(packs, number);
        let io = StoreError::io("create", &path);
        let file = (|| {
            let file = File::create_new(&path)?;
            file.file().write_all_at(MAGIC, 0)?;
            let squeezer = Squeezer::new()?;
            Ok((file, squeezer))
        })();
        let (file, squeezer) = file.map_err(io)?;
        sync_dir(packs)?;
        let len = MAGIC.len() as u64;
        Ok(Self { number, path, file, squeezer, len, entries: Vec::new() })
    }

    /// Appends chunks and makes them durable. After an error the journal must not be written again.
    pub(super) fn append(&mut self, chunks: &[Chunk]) -> Result<Vec<Entry>, StoreError> {
        let mut out = Vec::new();
        let mut entries = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let (encoding, stored) = self.squeezer.squeeze(&chunk.data);
            let number = |n: usize| u32::try_from(n).expect("chunks are far below 4 GiB");
            let offset = number(self.len as usize + out.len() + HEAD_BYTES);
            let (stored_len, raw) = (number(stored.len()), number(chunk.data.len()));
            let entry = Entry { id: chunk.id, offset, stored: stored_len, raw, encoding };
            out.extend_from_slice(&head(&entry, &stored));
            out.extend_from_slice(&stored);
            entries.push(entry);
        }
        let written = self.file.file().write_all_at(&out, self.len);
        written
            .and_then(|()| self.file.file().sync_data())
            .map_err(StoreError::io("append to", &self.path))?;
        self.len += out.len() as u64;
        self.entries.extend_from_slice(&entries);
        Ok(entries)
    }
}

fn head(entry: &Entry, stored: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[4..36].copy_from_slice(entry.id.as_bytes());
    head[36..40].copy_from_slice(&entry.stored.to_le_bytes());
    head[40..44].copy_from_slice(&entry.raw.to_le_bytes());
    head[44] = u8::from(entry.encoding == Encoding::Zstd);
    head[45..49].copy_from_slice(&crc32c::crc32c(stored).to_le_bytes());
    let crc = crc32c::crc32c(&head[4..]);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    head
}

/// What a journal left behind by an earlier process holds.
pub(super) struct Recovered {
    pub(super) chunks: Vec<Chunk>,
    /// Bytes behind the last whole record, that could not be understood: a crash tore a put that was never
    /// acknowledged.
    pub(super) torn_bytes: u64,
    /// Bytes before a whole record, that could not be understood: the disk damaged puts, perhaps acknowledged
    /// ones.
    pub(super) damaged_bytes: u64,
}

impl Recovered {
    pub(super) fn is_hurt(&self) -> bool {
        self.torn_bytes > 0 || self.damaged_bytes > 0
    }
}

/// Reads a journal; chunks are verified. Behind a place that cannot be understood, it goes on with the next
/// record that can.
pub(super) fn recover(path: &Path) -> Result<Recovered, StoreError> {
    let bytes = Bytes::from(fs::read(path).map_err(StoreError::io("read", path))?);
    check_version(path, &bytes)?;
    let mut recovered = Recovered { chunks: Vec::new(), torn_bytes: 0, damaged_bytes: 0 };
    let mut at = MAGIC.len().min(bytes.len());
    // Bytes not understood since the last whole record.
    let mut odd = if bytes.starts_with(MAGIC) { 0 } else { at };
    while at < bytes.len() {
        let (step, chunk) = record(&bytes, at).unwrap_or((1, None));
        match chunk {
            None => odd += step,
            Some(chunk) => {
                recovered.damaged_bytes += odd as u64;
                recovered.chunks.push(chunk);
                odd = 0;
            }
        }
        at += step;
    }
    recovered.torn_bytes = odd as u64;
    Ok(recovered)
}

/// Refuses a journal of a newer format, for what this version makes of it might lose what is there.
pub(super) fn refuse_newer(path: &Path) -> Result<(), StoreError> {
    let begin = || {
        let mut begin = Vec::new();
        File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
        Ok(begin)
    };
    let begin =
        begin().map_err(|source| StoreError::Unreadable { path: path.to_owned(), source })?;
    check_version(path, &begin)
}

fn check_version(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    match bytes.strip_prefix(&MAGIC[..6]) {
        Some([version, 0, ..]) if *version > VERSION => {
            Err(StoreError::Newer { path: path.to_owned(), version: u16::from(*version) })
        }
        _ => Ok(()),
    }
}

/// The length of the record at `at`, if there is one, and its chunk, if that is what it should be.
fn record(bytes: &Bytes, at: usize) -> Option<(usize, Option<Chunk>)> {
    let entry = parse_head(&bytes[at..], at)?;
    let begin = entry.offset as usize;
    let end = begin + entry.stored as usize;
    if end > bytes.len() {
        return None;
    }
    let data = crate::pack::open_stored(&entry, bytes.slice(begin..end)).ok();
    Some((end - at, data.map(|data| Chunk { id: entry.id, data })))
}

fn parse_head(bytes: &[u8], at: usize) -> Option<Entry> {
    let head: &[u8; HEAD_BYTES] = bytes.get(..HEAD_BYTES)?.try_into().ok()?;
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let (stored, raw) = (number(36), number(40));
    // First what is cheap: behind damage, this is asked at every byte.
    let encoding = match head[44] {
        0 => Encoding::Raw,
        1 => Encoding::Zstd,
        _ => return None,
    };
    if raw == 0 || raw as usize > CHUNK_BYTES_MAX || number(0) != crc32c::crc32c(&head[4..]) {
        return None;
    }
    let offset = u32::try_from(at + HEAD_BYTES).ok()?;
    let id = Digest::from_slice(&head[4..36]).ok()?;
    Some(Entry { id, offset, stored, raw, encoding })
}
