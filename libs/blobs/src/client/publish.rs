//! Publishing: files become a tree in the store; what is there already is not sent, what did not change
//! is not even read.
//!
//! readers (blocking) → which are missing? → packer (blocking) → uploads, each step bounded.

mod measure;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use runyard_types::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::packer::{Parcel, pack};
use super::reader::{ReadFile, ReadQueue};
use super::{Meter, OnProgress, Remote, TransferError, blocking};
use crate::chunk::Chunk;
use crate::files::{
    Found, Listing, Root, ScanLimits, Skipped, StatCache, scan_code, scan_dir, scan_paths,
};
use crate::tree::{BuiltTree, RelPath, TreeBuilder};

pub use measure::{Measured, MeasuredFile};

/// Threads that read and hash files.
const READERS: usize = 2;
/// Questions for what is missing that are on their way at once, each about some 4 MiB: they wait behind packs
/// that move on the same connection.
const ASKED: usize = 8;
/// Packs that are on their way at once: one arrives while another one is synced.
const UPLOADS: usize = 6;

/// A published tree.
#[derive(Debug, Clone)]
pub struct Published {
    pub root: Digest,
    /// Bytes of all files.
    pub bytes: u64,
    pub files: u64,
    /// Bytes that were sent.
    pub uploaded_bytes: u64,
    /// Files whose bytes were not read, because nothing about them had changed.
    pub unread_files: u64,
    /// What a code snapshot left out because it is no file.
    pub skipped: Vec<Skipped>,
}

/// Publishes files into a project.
#[derive(Clone)]
pub struct Uploader {
    remote: Remote,
    limits: ScanLimits,
    stat_cache: Option<PathBuf>,
    told: Option<OnProgress>,
}

impl std::fmt::Debug for Uploader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploader").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Uploader {
    /// Publishes through `remote`.
    pub fn new(remote: Remote) -> Self {
        Self { remote, limits: ScanLimits::default(), stat_cache: None, told: None }
    }

    /// Refuses more than this.
    #[must_use]
    pub fn with_limits(mut self, limits: ScanLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Remembers in `file` what was read, so that it is not read again. One file per root that is published.
    #[must_use]
    pub fn with_stat_cache(mut self, file: PathBuf) -> Self {
        self.stat_cache = Some(file);
        self
    }

    /// Tells `told` how far it is.
    #[must_use]
    pub fn with_progress(mut self, told: OnProgress) -> Self {
        self.told = Some(told);
        self
    }

    /// Publishes `path` below `root`: a directory's content, or a single file under its name. Nothing
    /// outside `root` is read; links, pipes, sockets and devices are refused by name.
    pub async fn publish_dir(
        &self,
        root: &Path,
        path: &RelPath,
    ) -> Result<Published, TransferError> {
        let (root, path, limits) = (root.to_owned(), path.clone(), self.limits);
        let scan = move || Ok(scan_dir(Root::open(&root)?, &path, limits)?);
        self.publish(blocking(scan).await?).await
    }

    /// Publishes the named files and directories below `root`, each at its path.
    pub async fn publish_paths(
        &self,
        root: &Path,
        paths: &[RelPath],
    ) -> Result<Published, TransferError> {
        let (root, paths, limits) = (root.to_owned(), paths.to_owned(), self.limits);
        let scan = move || Ok(scan_paths(Root::open(&root)?, &paths, limits)?);
        self.publish(blocking(scan).await?).await
    }

    /// Publishes the code in `dir`: what neither `.gitignore` nor `.runyardignore` excludes.
    pub async fn snapshot_code(&self, dir: &Path) -> Result<Published, TransferError> {
        let (dir, limits) = (dir.to_owned(), self.limits);
        let scan = move || Ok(scan_code(&dir, limits)?);
        self.publish(blocking(scan).await?).await
    }

    /// Publishes what was listed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves at most unfinished packs behind, which nobody sees.
    pub async fn publish(&self, listing: Listing) -> Result<Published, TransferError> {
        let meter = Meter::new(listing.files.len() as u64, listing.bytes(), self.told.clone());
        let (mut cache, known, unread) = self.split(&listing, &meter).await?;
        let unread_files = known.len() as u64;
        let (chunks, to_filter) = mpsc::channel(8);
        let (missing, to_pack) = mpsc::channel(4);
        let (parcels, to_send) = mpsc::channel(2);
        let packing = blocking(move || pack(to_pack, &parcels));
        let reading = self.read(&listing, known, unread, &meter, chunks);
        let filtering = self.filter(to_filter, missing);
        let sending = self.send(to_send, &meter);
        let ((read, tree), (), (), ()) = futures::try_join!(reading, filtering, packing, sending)?;
        let bytes = read.iter().flat_map(|file| &file.chunks).map(|c| u64::from(c.len)).sum();
        let files = read.len() as u64;
        if let Some(file) = &self.stat_cache {
            self.remember(file, &mut cache, &read);
        }
        let uploaded_bytes = meter.now().wire_bytes;
        let skipped = listing.skipped;
        Ok(Published { root: tree.root, bytes, files, uploaded_bytes, unread_files, skipped })
    }

    /// Tells the files whose chunks are known and present from those that must be read.
    async fn split(
        &self,
        listing: &Listing,
        meter: &Meter,
    ) -> Result<(StatCache, Vec<ReadFile>, Vec<Found>), TransferError> {
        let Some(file) = self.stat_cache.clone() else {
            return Ok((StatCache::default(), Vec::new(), listing.files.clone()));
        };
        let cache = blocking(move || Ok(StatCache::load(&file))).await?;
        let (mut known, mut unread) = (Vec::new(), Vec::new());
        let mut ids = HashSet::new();
        for found in listing.files.iter().cloned() {
            match cache.get(&found.path, &found.stat) {
                Some(chunks) => {
                    ids.extend(chunks.iter().map(|chunk| chunk.id));
                    known.push(ReadFile { found, chunks, steady: None });
                }
                None => unread.push(found),
            }
        }
        let ids: Vec<Digest> = ids.into_iter().collect();
        let missing: HashSet<Digest> = self.remote.find_missing(&ids).await?.into_iter().collect();
        let (known, lost): (Vec<_>, Vec<_>) = known
            .into_iter()
            .partition(|file| file.chunks.iter().all(|chunk| !missing.contains(&chunk.id)));
        unread.extend(lost.into_iter().map(|file| file.found));
        meter.add(known.len() as u64, known.iter().map(|file| file.found.stat.size).sum(), 0);
        Ok((cache, known, unread))
    }

    /// Reads what must be read, then makes the tree; all chunks go to `chunks`.
    async fn read(
        &self,
        listing: &Listing,
        known: Vec<ReadFile>,
        unread: Vec<Found>,
        meter: &Arc<Meter>,
        chunks: mpsc::Sender<Vec<Chunk>>,
    ) -> Result<(Vec<ReadFile>, BuiltTree), TransferError> {
        let readers = READERS.min(unread.len());
        let queue = ReadQueue::new(listing.root.clone(), unread, meter.clone());
        let reading = (0..readers).map(|_| {
            let (queue, chunks) = (queue.clone(), chunks.clone());
            blocking(move || queue.run(&chunks))
        });
        let mut read = known;
        read.extend(futures::future::try_join_all(reading).await?.into_iter().flatten());
        let mut builder = TreeBuilder::new();
        for dir in &listing.dirs {
            builder.dir(&listing.in_tree(dir)?)?;
        }
        for file in &read {
            let path = listing.in_tree(&file.found.path)?;
            builder.file(&path, file.found.executable, &file.chunks)?;
        }
        let tree = blocking(move || Ok(builder.finish()?)).await?;
        for batch in tree.chunks.chunks(64) {
            chunks.send(batch.to_vec()).await.map_err(|_| TransferError::Stopped)?;
        }
        Ok((read, tree))
    }

    /// Lets through, once each, the chunks that the store lacks.
    async fn filter(
        &self,
        chunks: mpsc::Receiver<Vec<Chunk>>,
        missing: mpsc::Sender<Vec<Chunk>>,
    ) -> Result<(), TransferError> {
        let mut seen: HashSet<Digest> = HashSet::new();
        let asked = ReceiverStream::new(chunks).ready_chunks(4).map(|batches| {
            let mut fresh: Vec<Chunk> = batches.into_iter().flatten().collect();
            let whole = bytes_of(&fresh);
            fresh.retain(|chunk| seen.insert(chunk.id));
            async move {
                let ids: Vec<Digest> = fresh.iter().map(|chunk| chunk.id).collect();
                let lacking = self.remote.find_missing(&ids).await?;
                let lacking: HashSet<Digest> = lacking.into_iter().collect();
                fresh.retain(|chunk| lacking.contains(&chunk.id));
                if bytes_of(&fresh) < whole / 2 {
                    let_go(&mut fresh);
                }
                Ok::<Vec<Chunk>, TransferError>(fresh)
            }
        });
        let mut asked = std::pin::pin!(asked.buffered(ASKED));
        while let Some(fresh) = asked.next().await {
            missing.send(fresh?).await.map_err(|_| TransferError::Stopped)?;
        }
        Ok(())
    }

    async fn send(
        &self,
        parcels: mpsc::Receiver<Parcel>,
        meter: &Arc<Meter>,
    ) -> Result<(), TransferError> {
        let sent = ReceiverStream::new(parcels).map(|parcel| async move {
            match parcel {
                Parcel::Pack(bundle) => self.remote.upload(&bundle, meter).await,
                Parcel::Loose(chunks) => {
                    self.remote.put_chunks(&chunks).await?;
                    meter.add(0, 0, chunks.iter().map(|chunk| chunk.data.len() as u64).sum());
                    Ok(())
                }
            }
        });
        sent.buffer_unordered(UPLOADS).try_collect().await
    }

    /// Notes what was read. Failing to is no failure of the publication: the next one reads again.
    fn remember(&self, file: &Path, cache: &mut StatCache, read: &[ReadFile]) {
        let here: HashSet<&str> = read.iter().map(|file| file.found.path.as_str()).collect();
        cache.retain(|path| here.contains(path));
        let mut noted = false;
        for ReadFile { found, chunks, steady } in read {
            if let Some((stat, seen)) = steady {
                cache.note(&found.path, *stat, *seen, chunks);
                noted = true;
            }
        }
        if let Some(error) = noted.then(|| cache.save(file)).and_then(Result::err) {
            tracing::warn!(path = %file.display(), %error, "the stat cache cannot be written");
        }
    }
}

fn bytes_of(chunks: &[Chunk]) -> usize {
    chunks.iter().map(|chunk| chunk.data.len()).sum()
}

/// Copies chunks out of the blocks that they were read in: a few of them must not keep all of it in memory until
/// their pack is sent.
fn let_go(chunks: &mut [Chunk]) {
    for chunk in chunks {
        chunk.data = Bytes::copy_from_slice(&chunk.data);
    }
}
