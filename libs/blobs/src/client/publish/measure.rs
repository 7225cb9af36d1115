//! What publishing would send: files are read and cut as for it, the store is asked what it lacks, and
//! nothing goes up.

use std::path::Path;

use runyard_types::Digest;
use tokio::sync::mpsc;

use super::super::{Meter, TransferError, blocking};
use super::{Uploader, bytes_of};
use crate::chunk::Chunk;
use crate::files::{Listing, Root, Skipped, scan_code, scan_dir};
use crate::tree::RelPath;

/// A tree that was not published.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The digest that it would have.
    pub root: Digest,
    /// Sorted by path.
    pub files: Vec<MeasuredFile>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that the store lacks, before they are compressed.
    pub missing_bytes: u64,
    /// What a code snapshot leaves out because it is no file.
    pub skipped: Vec<Skipped>,
}

/// A file of such a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredFile {
    pub path: RelPath,
    pub executable: bool,
    /// In order.
    pub chunks: Vec<Digest>,
}

impl Uploader {
    /// Measures what [`Uploader::snapshot_code`] would publish.
    pub async fn measure_code(&self, dir: &Path) -> Result<Measured, TransferError> {
        let (dir, limits) = (dir.to_owned(), self.limits);
        let scan = move || Ok(scan_code(&dir, limits)?);
        self.measure(blocking(scan).await?).await
    }

    /// Measures what [`Uploader::publish_dir`] would publish.
    pub async fn measure_dir(
        &self,
        root: &Path,
        path: &RelPath,
    ) -> Result<Measured, TransferError> {
        let (root, path, limits) = (root.to_owned(), path.clone(), self.limits);
        let scan = move || Ok(scan_dir(Root::open(&root)?, &path, limits)?);
        self.measure(blocking(scan).await?).await
    }

    async fn measure(&self, listing: Listing) -> Result<Measured, TransferError> {
        let meter = Meter::new(listing.files.len() as u64, listing.bytes(), self.told.clone());
        let (mut cache, known, unread) = self.split(&listing, &meter).await?;
        let (chunks, to_filter) = mpsc::channel(8);
        let (missing, mut lacking) = mpsc::channel::<Vec<Chunk>>(4);
        let counting = async {
            let mut bytes = 0;
            while let Some(batch) = lacking.recv().await {
                bytes += bytes_of(&batch) as u64;
            }
            Ok(bytes)
        };
        let reading = self.read(&listing, known, unread, &meter, chunks);
        let filtering = self.filter(to_filter, missing);
        let ((read, tree), (), missing_bytes) = futures::try_join!(reading, filtering, counting)?;
        if let Some(file) = &self.stat_cache {
            // What was read now need not be read when it is published.
            self.remember(file, &mut cache, &read);
        }
        let bytes = read.iter().flat_map(|file| &file.chunks).map(|c| u64::from(c.len)).sum();
        let mut files = Vec::with_capacity(read.len());
        for file in &read {
            files.push(MeasuredFile {
                path: listing.in_tree(&file.found.path)?,
                executable: file.found.executable,
                chunks: file.chunks.iter().map(|chunk| chunk.id).collect(),
            });
        }
        files.sort_by(|a, b| a.path.as_str().cmp(b.path.as_str()));
        Ok(Measured { root: tree.root, files, bytes, missing_bytes, skipped: listing.skipped })
    }
}
