//! An agent's cache of file contents: whole files by their chunks, least recently used first out, pinned
//! while in use, verified whenever they are read.
//!
//! An object is a file's content in a file of its own, so that it can be shared copy-on-write with a
//! workspace. One of a single chunk is named by that chunk; a longer one by the digest of its chunk list,
//! which lies beside it, so that a new version finds its old chunks. Nothing is synced: what a crash
//! tears fails its digest and is fetched again.

mod object;
mod state;

pub use object::{ObjectWriter, Pinned};

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use fs_err as fs;
use runyard_types::Digest;

use crate::chunk::{Chunk, ChunkRef};
use crate::tree::{decode_refs, encode_refs};
use state::State;

/// Why the cache failed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The operating system refused.
    #[error("cannot {what} {path} of the blob cache")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// An object's bytes are not what they should be; it was dropped.
    #[error("chunk {0} was corrupt in the cache; it was dropped")]
    Corrupt(Digest),
}

impl CacheError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// The cache. Its calls block.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    state: Mutex<State>,
}

/// The name of the object with these chunks.
pub fn object_id(chunks: &[ChunkRef]) -> Digest {
    match chunks {
        [one] => one.id,
        // The list's own digest names the list, which is a chunk of the tree and may be here as well.
        many => Digest::of(&[b"object ".as_slice(), &encode_refs(many)].concat()),
    }
}

impl Cache {
    /// Opens or creates the cache in `dir`, with at most `limit_bytes` in it.
    pub fn open(dir: &Path, limit_bytes: u64) -> Result<Arc<Self>, CacheError> {
        let temp = dir.join("tmp");
        // What an earlier process had not finished.
        match fs::remove_dir_all(&temp) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CacheError::io("clear", &temp)(error));
            }
            _ => {}
        }
        let objects = dir.join("objects");
        for dir in [&temp, &objects] {
            fs::create_dir_all(dir).map_err(CacheError::io("create", dir))?;
        }
        let this = Self { dir: dir.to_owned(), state: Mutex::new(State::new(limit_bytes)) };
        this.load(&objects)?;
        let mut state = this.lock();
        let gone = state.shrink(0);
        let aside = this.take_away(&state, gone);
        drop(state);
        unlink(aside);
        Ok(Arc::new(this))
    }

    fn load(&self, objects: &Path) -> Result<(), CacheError> {
        for shard in fs::read_dir(objects).map_err(CacheError::io("list", objects))? {
            let shard = shard.map_err(CacheError::io("list", objects))?.path();
            for file in fs::read_dir(&shard).map_err(CacheError::io("list", &shard))? {
                let file = file.map_err(CacheError::io("list", &shard))?;
                let name = file.file_name();
                let Ok(id) = Digest::parse(&name.to_string_lossy()) else { continue };
                let Ok(meta) = file.metadata() else { continue };
                let used = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let used = used.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(0));
                let list = fs::read(self.list_path(&id)).ok();
                let list = list.and_then(|bytes| decode_refs(&Bytes::from(bytes)));
                self.lock().add(id, meta.len(), used, list.as_deref());
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    /// Holds the object with these chunks, if it is here, against being dropped.
    pub fn pin(self: &Arc<Self>, chunks: &[ChunkRef]) -> Option<Pinned> {
        let id = object_id(chunks);
        self.lock().pin(&id)?;
        Some(Pinned::new(self.clone(), id))
    }

    /// Holds the object that contains a chunk; answers where in it the chunk lies as well.
    pub fn pin_chunk(self: &Arc<Self>, chunk: &ChunkRef) -> Option<(Pinned, u64)> {
        let mut state = self.lock();
        let (id, offset) = state.find_chunk(chunk)?;
        state.pin(&id)?;
        drop(state);
        Some((Pinned::new(self.clone(), id), offset))
    }

    /// A single chunk's verified bytes, if they are an object of their own.
    pub fn get(self: &Arc<Self>, id: &Digest) -> Option<Bytes> {
        self.lock().pin(id)?;
        let pinned = Pinned::new(self.clone(), *id);
        let data = pinned.read_whole().ok().filter(|data| Digest::of(data) == *id);
        if data.is_none() {
            self.drop_object(id);
        }
        data
    }

    /// Keeps a single chunk as an object, if there is room.
    pub fn put(self: &Arc<Self>, chunk: &Chunk) -> Result<(), CacheError> {
        let Some(mut writer) = self.writer(chunk.data.len() as u64)? else { return Ok(()) };
        writer.write(&chunk.data)?;
        writer.commit(&[chunk.reference()])
    }

    /// Begins an object of `size` bytes; `None` when it cannot have room (everything else is pinned, or
    /// it is larger than half the cache).
    pub fn writer(self: &Arc<Self>, size: u64) -> Result<Option<ObjectWriter>, CacheError> {
        let mut state = self.lock();
        let Some(gone) = state.reserve(size) else { return Ok(None) };
        let aside = self.take_away(&state, gone);
        drop(state);
        unlink(aside);
        ObjectWriter::new(self.clone(), size).map(Some)
    }

    /// Forgets an object that was found damaged, or gone.
    pub(crate) fn drop_object(&self, id: &Digest) {
        tracing::warn!(object = %id, "an object of the blob cache is damaged or gone; dropped");
        let mut state = self.lock();
        state.forget(id);
        let aside = self.take_away(&state, vec![*id]);
        drop(state);
        unlink(aside);
    }

    /// Takes the names from files of objects that `_state` no longer has. It is held meanwhile: another may
    /// write the same object at once, and must not lose its file to this. To unlink a large file takes long, so
    /// that is left for later.
    fn take_away(&self, _state: &MutexGuard<'_, State>, gone: Vec<Digest>) -> Vec<PathBuf> {
        let mut aside = Vec::with_capacity(gone.len());
        for id in gone {
            let (path, temp) = (self.object_path(&id), self.temp_path());
            match fs::rename(&path, &temp) {
                Ok(()) => aside.push(temp),
                // What stays behind is found, and counted, when the cache is opened again.
                Err(_) => drop(fs::remove_file(&path)),
            }
            let _ = fs::remove_file(self.list_path(&id));
        }
        aside
    }

    /// A path that nothing else has; what is there goes when the cache is opened again.
    fn temp_path(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.dir.join("tmp").join(NEXT.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn object_path(&self, id: &Digest) -> PathBuf {
        let name = id.to_string();
        self.dir.join("objects").join(&name[..2]).join(name)
    }

    fn list_path(&self, id: &Digest) -> PathBuf {
        self.object_path(id).with_extension("list")
    }
}

fn unlink(aside: Vec<PathBuf>) {
    for path in aside {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::cut_bytes;
    use crate::testing::noise;

    fn store(cache: &Arc<Cache>, seed: u64, len: usize) -> Vec<ChunkRef> {
        let chunks = cut_bytes(noise(seed, len).into());
        let refs: Vec<ChunkRef> = chunks.iter().map(Chunk::reference).collect();
        if let Some(mut writer) = cache.writer(len as u64).expect("writes") {
            chunks.iter().for_each(|chunk| writer.write(&chunk.data).expect("writes"));
            writer.commit(&refs).expect("commits");
        }
        refs
    }

    #[test]
    fn the_least_recently_used_go_and_the_pinned_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(dir.path(), 1_000_000).expect("opens");
        let first = store(&cache, 1, 300_000);
        let second = store(&cache, 2, 300_000);
        let third = store(&cache, 3, 300_000);
        drop(cache.pin(&first).expect("it is here, and used now"));
        let held = cache.pin(&third).expect("it is here");
        let fourth = store(&cache, 4, 400_000);
        assert!(cache.pin(&second).is_none(), "the least recently used went");
        assert!(cache.pin(&first).is_some() && cache.pin(&fourth).is_some());
        assert!(cache.bytes() <= 1_000_000);
        let _more = (cache.pin(&first).expect("here"), cache.pin(&fourth).expect("here"));
        let fifth = store(&cache, 5, 400_000);
        assert!(cache.pin(&fifth).is_none(), "everything is pinned: nothing more fits");
        assert!(store(&cache, 6, 600_000).len() > 1 && cache.bytes() <= 1_000_000);
        drop(held);
        let fifth = store(&cache, 5, 300_000);
        assert!(cache.pin(&fifth).is_some() && cache.pin(&third).is_none());
    }

    #[test]
    fn a_cache_is_found_again_with_its_order_and_without_rubbish() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(dir.path(), 1_000_000).expect("opens");
        let (old, new) = (store(&cache, 1, 300_000), store(&cache, 2, 300_000));
        let mut unfinished = cache.writer(1_000).expect("writes").expect("room");
        unfinished.write(b"half").expect("writes");
        std::mem::forget(unfinished);
        let past = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        let file = fs::File::options().write(true).open(cache.object_path(&object_id(&old)));
        file.expect("opens").file().set_modified(past).expect("sets");
        let bytes = cache.bytes();
        drop(cache);
        let cache = Cache::open(dir.path(), 1_000_000).expect("opens");
        assert_eq!(cache.bytes(), bytes);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).expect("lists").count(), 0);
        let (pinned, offset) = cache.pin_chunk(&new[1]).expect("its chunks are known");
        assert_eq!(offset, u64::from(new[0].len));
        assert_eq!(Digest::of(&pinned.read(offset, new[1].len).expect("reads")), new[1].id);
        drop((pinned, cache));
        let smaller = Cache::open(dir.path(), 400_000).expect("opens");
        assert!(smaller.pin(&old).is_none() && smaller.pin(&new).is_some());
    }

    #[test]
    fn f41_a_flipped_bit_in_the_cache_is_never_answered() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(dir.path(), 1_000_000).expect("opens");
        let chunk = Chunk::new(noise(1, 4_000).into());
        cache.put(&chunk).expect("puts");
        assert_eq!(cache.get(&chunk.id), Some(chunk.data.clone()));
        let path = cache.object_path(&chunk.id);
        let mut bytes = fs::read(&path).expect("reads");
        bytes[77] ^= 4;
        fs::write(&path, bytes).expect("writes");
        assert_eq!(cache.get(&chunk.id), None);
        assert!(!path.exists() && cache.bytes() == 0);
    }

    #[test]
    fn an_object_whose_file_is_gone_is_dropped_and_can_be_kept_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(dir.path(), 1_000_000).expect("opens");
        let chunks = store(&cache, 1, 300_000);
        let place = |pinned: &Pinned| {
            let to = tempfile::tempfile().expect("a file");
            pinned.place(&chunks, &to, false)
        };
        let lose = || fs::remove_file(cache.object_path(&object_id(&chunks))).expect("removes");
        lose();
        assert!(place(&cache.pin(&chunks).expect("believed to be here")).is_err());
        assert!(cache.pin(&chunks).is_none() && cache.bytes() == 0, "no longer believed");
        store(&cache, 1, 300_000);
        place(&cache.pin(&chunks).expect("here")).expect("is whole");
        lose();
        let (pinned, offset) = cache.pin_chunk(&chunks[1]).expect("believed to be here");
        assert!(pinned.read(offset, chunks[1].len).is_err());
        pinned.discard();
        assert!(cache.pin(&chunks).is_none());
    }

    #[test]
    fn a_destination_that_is_full_costs_no_object() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(dir.path(), 1_000_000).expect("opens");
        let chunks = store(&cache, 1, 300_000);
        let full = fs::File::options().write(true).open("/dev/full").expect("opens");
        let pinned = cache.pin(&chunks).expect("here");
        assert!(pinned.place(&chunks, full.file(), false).is_err());
        assert!(cache.pin(&chunks).is_some());
    }

    #[test]
    fn what_is_dropped_and_written_at_once_keeps_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        // Room for three of the eight: each is dropped and written all the time.
        let cache = Cache::open(dir.path(), 31_000).expect("opens");
        let chunks: Vec<Chunk> = (0..8).map(|n| Chunk::new(noise(n, 10_000).into())).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, chunks) = (&cache, &chunks);
                scope.spawn(move || {
                    for n in 0..400 {
                        let chunk = &chunks[(n * (thread + 1) + thread) % chunks.len()];
                        cache.put(chunk).expect("puts");
                        let here = cache.pin(&[chunk.reference()]);
                        if let Some(pinned) = here {
                            let data = pinned.read_whole().expect("what is believed is here");
                            assert_eq!(data, chunk.data);
                        }
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path().join("tmp")).expect("lists").count(), 0);
    }
}
