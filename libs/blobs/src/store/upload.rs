//! A pack that is arriving: appended in order, resumed where it stopped, visible only when it is whole.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fs_err::{self as fs, File};
use runyard_types::Digest;
use sha2::{Digest as _, Sha256};

use super::StoreError;
use super::durable::sync_dir;
use super::project::Project;
use crate::pack::{Entry, PACK_BYTES_MAX, PackCheck, PackError, PackId, verify_pack};

/// Writing back is started whenever so many bytes have arrived.
const WRITEBACK_BYTES: u64 = 4 << 20;
/// What is there already is read again in pieces of this size.
const TAKE_UP_BYTES: usize = 256 << 10;

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
    /// Of a pack whose index came first: its chunks are checked as they come.
    check: Option<PackCheck>,
    /// Its number of chunks, once it is a pack.
    done: Option<u64>,
}

/// One sender's hold on an arriving pack. Several may send the same one: each byte is taken once.
#[derive(Debug)]
pub struct PackUpload {
    project: Arc<Project>,
    /// What the sender calls it: its SHA-256, or the digest of the index that came first.
    pack: PackId,
    size: u64,
    index: Option<Bytes>,
    part: Arc<Mutex<Part>>,
}

impl Part {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, len: 0, hash: Sha256::new(), check: None, done: None }
    }

    /// Opens the file, taking up what an earlier process received.
    fn ready(&mut self) -> Result<&File, StoreError> {
        if self.file.is_none() {
            let open = || {
                File::options().read(true).write(true).create(true).truncate(false).open(&self.path)
            };
            let mut file = open().map_err(StoreError::io("open", &self.path))?;
            let mut buffer = vec![0; TAKE_UP_BYTES];
            loop {
                let got = file.read(&mut buffer).map_err(StoreError::io("read", &self.path))?;
                if got == 0 {
                    break;
                }
                if self.take(&buffer[..got]).is_err() {
                    // Damaged while it lay: it is sent anew.
                    file.set_len(0).map_err(StoreError::io("empty", &self.path))?;
                    self.begin_anew();
                    break;
                }
            }
            self.file = Some(file);
        }
        Ok(self.file.as_ref().expect("it was opened above"))
    }

    fn received(&mut self) -> Result<u64, StoreError> {
        self.ready()?;
        Ok(self.len)
    }

    /// Hashes and checks the bytes that follow.
    fn take(&mut self, data: &[u8]) -> Result<(), PackError> {
        if let Some(check) = &mut self.check {
            check.push(data)?;
        }
        self.hash.update(data);
        self.len += data.len() as u64;
        Ok(())
    }

    fn append(&mut self, data: &[u8]) -> Result<Result<(), PackError>, StoreError> {
        let at = self.len;
        let written = self.ready()?.file().write_all_at(data, at);
        if let Err(source) = written {
            // What a failed write left behind its known end is written over when the upload goes on.
            return Err(StoreError::io("append to", &self.path)(source));
        }
        if let Err(damage) = self.take(data) {
            return Ok(Err(damage));
        }
        // The disk works while the rest is on its way.
        let (before, now) = (at / WRITEBACK_BYTES, self.len / WRITEBACK_BYTES);
        if now > before {
            let (from, len) = (before * WRITEBACK_BYTES, (now - before) * WRITEBACK_BYTES);
            crate::files::start_writeback(self.ready()?.file(), from, len);
        }
        Ok(Ok(()))
    }

    fn begin_anew(&mut self) {
        let check = self.check.take().map(PackCheck::anew);
        *self = Self { check, ..Self::new(std::mem::take(&mut self.path)) };
    }

    /// Throws the bytes away, so that the next sender begins anew.
    fn discard(&mut self) {
        self.begin_anew();
        let _ = fs::remove_file(&self.path);
    }
}

impl PackUpload {
    pub(super) fn new(
        project: Arc<Project>,
        pack: PackId,
        size: u64,
        index: Option<Bytes>,
        part: Arc<Mutex<Part>>,
    ) -> Result<Self, StoreError> {
        // Made first, so that a refusal takes the sender off the books again.
        let this = Self { project, pack, size, index, part };
        if size > PACK_BYTES_MAX {
            let why = format!("{size} bytes; a pack has at most {PACK_BYTES_MAX}");
            return Err(StoreError::BadPack { pack, why, source: None });
        }
        if let Some(index) = &this.index {
            let bad = |why: &str, source| StoreError::BadPack { pack, why: why.into(), source };
            if Digest::of(index).as_bytes() != pack.as_bytes() {
                return Err(bad("its index does not have its BLAKE3 digest", None));
            }
            let check = PackCheck::new(index, size);
            let check = check.map_err(|source| bad("nothing of it was taken", Some(source)))?;
            let mut part = this.lock();
            // Another sender of the same pack may have begun.
            part.check.get_or_insert(check);
            drop(part);
        }
        Ok(this)
    }

    fn lock(&self) -> MutexGuard<'_, Part> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number of chunks, if it is a pack by now.
    fn complete(&self, part: &Part) -> Result<Option<u64>, StoreError> {
        match part.done {
            None if self.index.is_none() && self.project.has_pack(self.pack) => {
                self.project.chunks_in(self.pack).map(Some)
            }
            done => Ok(done),
        }
    }

    fn refused(&self, why: &str, source: Option<PackError>) -> StoreError {
        StoreError::BadPack { pack: self.pack, why: why.into(), source }
    }

    /// Bytes that are there. If they are more than the pack has, another size was said when they came: they
    /// would only stand in this sender's way.
    fn received(&self, part: &mut Part) -> Result<u64, StoreError> {
        if part.received()? > self.size {
            part.discard();
        }
        part.received()
    }

    /// How much has arrived.
    pub fn status(&self) -> Result<PackStatus, StoreError> {
        let mut part = self.lock();
        if self.complete(&part)?.is_some() {
            return Ok(PackStatus { complete: true, received_bytes: self.size });
        }
        Ok(PackStatus { complete: false, received_bytes: self.received(&mut part)? })
    }

    /// Takes the bytes at `offset`; those that are there already are passed over.
    pub fn append(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        let mut part = self.lock();
        if part.done.is_some() || self.index.is_none() && self.project.has_pack(self.pack) {
            return Ok(());
        }
        let received = self.received(&mut part)?;
        if offset > received {
            return Err(StoreError::Gap { pack: self.pack, received, offset });
        }
        let known = usize::try_from(received - offset).unwrap_or(usize::MAX).min(data.len());
        let fresh = &data[known..];
        if received + fresh.len() as u64 > self.size {
            let why = format!("it is longer than the {} bytes it was said to have", self.size);
            return Err(self.refused(&why, None));
        }
        if fresh.is_empty() {
            return Ok(());
        }
        part.append(fresh)?.map_err(|damage| {
            part.discard();
            self.refused(&format!("{damage}; it was thrown away"), None)
        })
    }

    /// Verifies the whole pack, makes it durable and visible; answers with its number of chunks.
    ///
    /// Done twice it answers the same. A pack that fails is thrown away.
    pub fn finish(&self) -> Result<u64, StoreError> {
        let mut part = self.lock();
        if let Some(chunks) = self.complete(&part)? {
            return Ok(chunks);
        }
        let received = self.received(&mut part)?;
        if received != self.size {
            return Err(StoreError::Gap { pack: self.pack, received, offset: self.size });
        }
        let pack = PackId::from_bytes(part.hash.clone().finalize().into());
        if self.index.is_none() && pack != self.pack {
            part.discard();
            let why = "its bytes do not have its SHA-256; it was thrown away";
            return Err(self.refused(why, None));
        }
        let checked = match &part.check {
            Some(check) => check.finish().map(<[Entry]>::to_vec),
            None => verify_pack(part.ready()?.file(), self.size),
        };
        let entries = checked.map_err(|source| match source {
            // Nothing is known against the bytes.
            PackError::Io(source) => StoreError::io("read", &part.path)(source),
            source => {
                part.discard();
                self.refused("it was thrown away", Some(source))
            }
        })?;
        self.keep(&mut part, pack, &entries)?;
        part.done = Some(entries.len() as u64);
        Ok(entries.len() as u64)
    }

    /// Makes what has arrived a pack: durable first, then visible.
    fn keep(&self, part: &mut Part, pack: PackId, entries: &[Entry]) -> Result<(), StoreError> {
        if self.project.has_pack(pack) {
            // It came before, by another name or as a whole: that one is durable.
            part.discard();
            return Ok(());
        }
        let file = part.ready()?;
        file.sync_data().map_err(StoreError::io("sync", &part.path))?;
        let path = self.project.pack_path(pack);
        fs::rename(&part.path, &path).map_err(StoreError::io("rename", &part.path))?;
        sync_dir(&self.project.packs)?;
        self.project.renew_pack(pack, entries);
        part.file = None;
        Ok(())
    }
}

impl Drop for PackUpload {
    fn drop(&mut self) {
        self.project.leave(self.pack);
    }
}
