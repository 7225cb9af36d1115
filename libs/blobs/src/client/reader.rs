//! Reading, cutting and hashing files, on blocking threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::{Meter, TransferError};
use crate::blocks::BlockPool;
use crate::chunk::{BLOCK_BYTES, Chunk, ChunkRef, Chunker};
use crate::files::{FileError, FileStat, Found, Root};

/// Chunks go on in batches of about this many bytes.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_CHUNKS: usize = 512;
/// Blocks kept for the next file: 32 MiB, until the publication ends.
const FREE_BLOCKS: usize = 16;
/// A file may grow by this much between its listing and its reading.
const GROWTH_BYTES: u64 = 64 << 20;

/// A file that was read.
#[derive(Debug)]
pub(super) struct ReadFile {
    pub(super) found: Found,
    pub(super) chunks: Vec<ChunkRef>,
    /// Its state and the time, if it did not change while it was read.
    pub(super) steady: Option<(FileStat, SystemTime)>,
}

/// Files to read, taken by several readers.
#[derive(Debug)]
pub(super) struct ReadQueue {
    root: Arc<Root>,
    files: Vec<Found>,
    next: AtomicUsize,
    meter: Arc<Meter>,
    blocks: BlockPool,
}

impl ReadQueue {
    pub(super) fn new(root: Arc<Root>, files: Vec<Found>, meter: Arc<Meter>) -> Arc<Self> {
        let blocks = BlockPool::new(BLOCK_BYTES, FREE_BLOCKS);
        Arc::new(Self { root, files, next: AtomicUsize::new(0), meter, blocks })
    }

    /// Reads files until none is left.
    pub(super) fn run(
        &self,
        out: &mpsc::Sender<Vec<Chunk>>,
    ) -> Result<Vec<ReadFile>, TransferError> {
        let mut batch = Batch { out, chunks: Vec::new(), bytes: 0 };
        let mut read = Vec::new();
        while let Some(found) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let file = self.read(found, &mut batch)?;
            self.meter.add(1, 0, 0);
            read.push(file);
        }
        batch.flush()?;
        Ok(read)
    }

    fn read(&self, found: &Found, batch: &mut Batch<'_>) -> Result<ReadFile, TransferError> {
        let failed = |source| {
            let path = self.root.path().join(found.path.as_str());
            TransferError::File(FileError::Io { what: "read", path, source })
        };
        let seen = SystemTime::now();
        let file = self.root.read(&found.path)?;
        if !file.metadata().map_err(failed)?.is_file() {
            let kind = "no regular file any more";
            return Err(FileError::Kind { path: found.path.to_string(), kind }.into());
        }
        let before = FileStat::of_file(&file).map_err(failed)?;
        let chunker = Chunker::with_pool(&file, before.size, self.blocks.clone());
        let mut chunker = chunker.map_err(failed)?;
        let mut chunks = Vec::new();
        while let Some(chunk) = chunker.next_chunk().map_err(failed)? {
            if chunker.read_bytes() > found.stat.size.saturating_add(GROWTH_BYTES) {
                return Err(TransferError::Growing(found.path.to_string()));
            }
            chunks.push(chunk.reference());
            self.meter.add(0, chunk.data.len() as u64, 0);
            batch.push(chunk)?;
        }
        let after = FileStat::of_file(&file).map_err(failed)?;
        let steady = (before == after).then_some((before, seen));
        Ok(ReadFile { found: found.clone(), chunks, steady })
    }
}

struct Batch<'a> {
    out: &'a mpsc::Sender<Vec<Chunk>>,
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Batch<'_> {
    fn push(&mut self, chunk: Chunk) -> Result<(), TransferError> {
        self.bytes += chunk.data.len();
        self.chunks.push(chunk);
        if self.bytes >= BATCH_BYTES || self.chunks.len() >= BATCH_CHUNKS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TransferError> {
        self.bytes = 0;
        let chunks = std::mem::take(&mut self.chunks);
        if chunks.is_empty() {
            return Ok(());
        }
        self.out.blocking_send(chunks).map_err(|_| TransferError::Stopped)
    }
}
