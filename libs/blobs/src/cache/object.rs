//! One object: held while it is read, or being written.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fs_err::{self as fs, File};
use runyard_types::Digest;

use super::{Cache, CacheError, object_id};
use crate::chunk::ChunkRef;
use crate::tree::encode_refs;

/// An object that stays as long as this is held.
#[derive(Debug)]
pub struct Pinned {
    cache: Arc<Cache>,
    id: Digest,
}

impl Pinned {
    pub(super) fn new(cache: Arc<Cache>, id: Digest) -> Self {
        Self { cache, id }
    }

    /// Opens it and notes the use, which is all that a restart remembers.
    pub(crate) fn open(&self) -> Result<File, CacheError> {
        let path = self.cache.object_path(&self.id);
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(CacheError::io("open", &path))?;
        // Failing to note the use makes the object go a little earlier, nothing more.
        let _ = file.file().set_modified(SystemTime::now());
        Ok(file)
    }

    /// `len` bytes from `offset` on, unverified.
    pub fn read(&self, offset: u64, len: u32) -> Result<Bytes, CacheError> {
        let path = self.cache.object_path(&self.id);
        let read = || {
            let mut bytes = vec![0; len as usize];
            File::open(&path)?.file().read_exact_at(&mut bytes, offset)?;
            Ok(bytes.into())
        };
        read().map_err(CacheError::io("read", &path))
    }

    pub(super) fn read_whole(&self) -> Result<Bytes, CacheError> {
        let path = self.cache.object_path(&self.id);
        fs::read(&path).map(Bytes::from).map_err(CacheError::io("read", &path))
    }

    /// Writes the object, which has these chunks, to the empty file `to`, by sharing blocks where `share`
    /// says that this works. Nothing unverified stays there: on an error the caller removes the file. An
    /// object that cannot be read is dropped, so that it is fetched anew.
    pub(crate) fn place(
        &self,
        chunks: &[ChunkRef],
        to: &std::fs::File,
        share: bool,
    ) -> Result<(), CacheError> {
        let object = self.open().inspect_err(|_| self.cache.drop_object(&self.id))?;
        let path = self.cache.object_path(&self.id);
        let shared = share && crate::files::clone_file(object.file(), to).is_ok();
        // What was shared is read from its new place: these are the bytes that the stage will see.
        let from = if shared { to } else { object.file() };
        let (mut offset, mut buffer) = (0, Vec::new());
        for chunk in chunks {
            buffer.resize(chunk.len as usize, 0);
            let read = from.read_exact_at(&mut buffer, offset);
            if read.is_err() || Digest::of(&buffer) != chunk.id {
                self.cache.drop_object(&self.id);
                return Err(CacheError::Corrupt(chunk.id));
            }
            if !shared {
                to.write_all_at(&buffer, offset).map_err(CacheError::io("copy", &path))?;
            }
            offset += u64::from(chunk.len);
        }
        let len = from.metadata().map_err(CacheError::io("read", &path))?.len();
        if len != offset {
            self.cache.drop_object(&self.id);
            return Err(CacheError::Corrupt(self.id));
        }
        Ok(())
    }

    /// Drops the object from the cache as damaged.
    pub(crate) fn discard(self) {
        self.cache.drop_object(&self.id);
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.cache.lock().unpin(&self.id);
    }
}

/// An object being written; dropped without a commit, it leaves nothing.
#[derive(Debug)]
pub struct ObjectWriter {
    cache: Arc<Cache>,
    temp: PathBuf,
    file: Option<File>,
    size: u64,
}

impl ObjectWriter {
    pub(super) fn new(cache: Arc<Cache>, size: u64) -> Result<Self, CacheError> {
        let temp = cache.temp_path();
        // Made first, so that the room it has reserved is given back if the file cannot be made.
        let mut this = Self { cache, temp, file: None, size };
        let file = File::options().read(true).write(true).create_new(true).open(&this.temp);
        this.file = Some(file.map_err(CacheError::io("create", &this.temp))?);
        Ok(this)
    }

    /// Appends verified bytes.
    pub fn write(&mut self, data: &[u8]) -> Result<(), CacheError> {
        let file = self.file.as_mut().expect("it is there until the commit");
        file.write_all(data).map_err(CacheError::io("write", &self.temp))
    }

    /// Appends verified bytes that lie in several places.
    pub(crate) fn write_slices(&mut self, data: &[Bytes]) -> Result<(), CacheError> {
        let file = self.file.as_mut().expect("it is there until the commit");
        crate::files::write_slices(file, data).map_err(CacheError::io("write", &self.temp))
    }

    pub(crate) fn file(&self) -> Option<&std::fs::File> {
        self.file.as_ref().map(File::file)
    }

    /// Keeps what was written, which has these chunks.
    pub fn commit(mut self, chunks: &[ChunkRef]) -> Result<(), CacheError> {
        self.file = None;
        let id = object_id(chunks);
        let path = self.cache.object_path(&id);
        let shard = path.parent().expect("an object lies in a shard");
        if !shard.is_dir() {
            fs::create_dir_all(shard).map_err(CacheError::io("create", shard))?;
        }
        let mut state = self.cache.lock();
        // Somebody else may have been faster; a held object must not be replaced under its reader.
        if state.has(&id) {
            return Ok(());
        }
        if chunks.len() > 1 {
            let list = self.cache.list_path(&id);
            fs::write(&list, encode_refs(chunks)).map_err(CacheError::io("write", &list))?;
        }
        fs::rename(&self.temp, &path).map_err(CacheError::io("rename", &self.temp))?;
        let used = state.now();
        let list = (chunks.len() > 1).then_some(chunks);
        state.add(id, self.size, used, list);
        Ok(())
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        self.cache.lock().release(self.size);
        let _ = fs::remove_file(&self.temp);
    }
}
