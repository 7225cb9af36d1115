//! A pack that is arriving: appended in order, resumed where it stopped, visible only when it is whole.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fs_err::{self as fs, File};
use sha2::{Digest as _, Sha256};

use super::StoreError;
use super::durable::sync_dir;
use super::project::Project;
use crate::pack::{PACK_BYTES_MAX, PackId, verify_pack};

/// Writing back is started whenever so many bytes have arrived.
const WRITEBACK_BYTES: u64 = 4 << 20;

/// How much of a pack is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackStatus {
    /// It is verified, durable and readable.
    pub complete: bool,
    /// Bytes of it that have arrived; an upload goes on there.
    pub received_bytes: u64,
}

/// The arriving bytes, shared by all who send the same pack.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: Option<File>,
    len: u64,
    hash: Sha256,
}

/// One sender's hold on an arriving pack. Several may send the same one: each byte is taken once.
#[derive(Debug)]
pub struct PackUpload {
    project: Arc<Project>,
    pack: PackId,
    size: u64,
    part: Arc<Mutex<Part>>,
}

impl Part {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, len: 0, hash: Sha256::new() }
    }

    /// Opens the file, taking up what an earlier process received.
    fn ready(&mut self) -> Result<&File, StoreError> {
        if self.file.is_none() {
            let open = || {
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&self.path)?;
                let mut hash = Sha256::new();
                let len = std::io::copy(&mut &file, &mut hash)?;
                Ok((file, hash, len))
            };
            let (file, hash, len) = open().map_err(StoreError::io("open", &self.path))?;
            (self.file, self.hash, self.len) = (Some(file), hash, len);
        }
        Ok(self.file.as_ref().expect("it was opened above"))
    }

    fn received(&mut self) -> Result<u64, StoreError> {
        self.ready()?;
        Ok(self.len)
    }

    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let at = self.len;
        let written = self.ready()?.file().write_all_at(data, at);
        if let Err(source) = written {
            // What a failed write left behind its known end is written over when the upload goes on.
            return Err(StoreError::io("append to", &self.path)(source));
        }
        self.hash.update(data);
        self.len += data.len() as u64;
        // The disk works while the rest is on its way.
        let (before, now) = (at / WRITEBACK_BYTES, self.len / WRITEBACK_BYTES);
        if now > before {
            let (from, len) = (before * WRITEBACK_BYTES, (now - before) * WRITEBACK_BYTES);
            crate::files::start_writeback(self.ready()?.file(), from, len);
        }
        Ok(())
    }

    /// Throws the bytes away, so that the next sender begins anew.
    fn discard(&mut self) {
        *self = Self::new(std::mem::take(&mut self.path));
        let _ = fs::remove_file(&self.path);
    }
}

impl PackUpload {
    pub(super) fn new(
        project: Arc<Project>,
        pack: PackId,
        size: u64,
        part: Arc<Mutex<Part>>,
    ) -> Result<Self, StoreError> {
        // Made first, so that a refusal takes the sender off the books again.
        let this = Self { project, pack, size, part };
        if size > PACK_BYTES_MAX {
            let why = format!("{size} bytes; a pack has at most {PACK_BYTES_MAX}");
            return Err(StoreError::BadPack { pack, why, source: None });
        }
        Ok(this)
    }

    /// How much has arrived.
    pub fn status(&self) -> Result<PackStatus, StoreError> {
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        if self.project.has_pack(self.pack) {
            return Ok(PackStatus { complete: true, received_bytes: self.size });
        }
        Ok(PackStatus { complete: false, received_bytes: part.received()? })
    }

    /// Takes the bytes at `offset`; those that are there already are passed over.
    pub fn append(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        if self.project.has_pack(self.pack) {
            return Ok(());
        }
        let received = part.received()?;
        if offset > received {
            return Err(StoreError::Gap { pack: self.pack, received, offset });
        }
        let known = usize::try_from(received - offset).unwrap_or(usize::MAX).min(data.len());
        let fresh = &data[known..];
        if received + fresh.len() as u64 > self.size {
            let why = format!("it is longer than the {} bytes it was said to have", self.size);
            return Err(StoreError::BadPack { pack: self.pack, why, source: None });
        }
        if fresh.is_empty() { Ok(()) } else { part.append(fresh) }
    }

    /// Verifies the whole pack, makes it durable and visible; answers with its number of chunks.
    ///
    /// Done twice it answers the same. A pack that fails is thrown away.
    pub fn finish(&self) -> Result<u64, StoreError> {
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        if self.project.has_pack(self.pack) {
            return self.project.chunks_in(self.pack);
        }
        let received = part.received()?;
        if received != self.size {
            return Err(StoreError::Gap { pack: self.pack, received, offset: self.size });
        }
        let refused = |why: &str, source| {
            Err(StoreError::BadPack { pack: self.pack, why: why.into(), source })
        };
        if PackId::from_bytes(part.hash.clone().finalize().into()) != self.pack {
            part.discard();
            return refused("its bytes do not have its SHA-256; it was thrown away", None);
        }
        let verified = verify_pack(part.ready()?.file(), self.size);
        let entries = match verified {
            Ok(entries) => entries,
            Err(source) => {
                part.discard();
                return refused("it was thrown away", Some(source));
            }
        };
        let sync = part.ready()?.sync_data();
        sync.map_err(StoreError::io("sync", &part.path))?;
        let path = self.project.pack_path(self.pack);
        fs::rename(&part.path, &path).map_err(StoreError::io("rename", &part.path))?;
        sync_dir(&self.project.packs)?;
        self.project.add_pack(self.pack, &entries);
        part.file = None;
        Ok(entries.len() as u64)
    }
}

impl Drop for PackUpload {
    fn drop(&mut self) {
        self.project.leave(self.pack);
    }
}
