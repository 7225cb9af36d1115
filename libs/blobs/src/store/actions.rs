//! Action objects (`ac/KEY`): small answers of the stage cache, dropped least recently used first.
//!
//! They are not synced: one that a crash loses is a cache miss, one that it tears fails its checksum and
//! is dropped. Use is remembered across restarts by the file's modification time.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use runyard_types::Digest;

use super::StoreError;
use super::durable::{TEMP_PREFIX, make_dir, write_whole};

const MAGIC: &[u8; 4] = b"RYA1";
/// The largest action object, in bytes.
pub(super) const ACTION_BYTES_MAX: usize = 1 << 20;
/// The modification time is moved only when it is older than this, to spare the disk.
const TOUCH_MS: u64 = 60_000;

#[derive(Debug)]
pub(super) struct Actions {
    dir: PathBuf,
    limit: u64,
    bytes: u64,
    known: HashMap<Digest, (u64, u64)>,
    order: BTreeMap<(u64, Digest), ()>,
}

impl Actions {
    pub(super) fn open(dir: &Path, limit: u64) -> Result<Self, StoreError> {
        make_dir(dir)?;
        let mut this = Self {
            dir: dir.to_owned(),
            limit,
            bytes: 0,
            known: HashMap::new(),
            order: BTreeMap::new(),
        };
        for shard in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
            let shard = shard.map_err(StoreError::io("list", dir))?.path();
            for file in fs::read_dir(&shard).map_err(StoreError::io("list", &shard))? {
                let file = file.map_err(StoreError::io("list", &shard))?;
                let name = file.file_name();
                let name = name.to_string_lossy();
                if name.starts_with(TEMP_PREFIX) {
                    let _ = fs::remove_file(file.path());
                } else if let (Ok(key), Ok(meta)) = (Digest::parse(&name), file.metadata()) {
                    this.note(key, meta.len(), millis(meta.modified().unwrap_or(UNIX_EPOCH)));
                }
            }
        }
        this.shrink();
        Ok(this)
    }

    pub(super) fn get(&mut self, key: &Digest) -> Option<Vec<u8>> {
        let &(size, used) = self.known.get(key)?;
        let path = self.path(key);
        let Some(value) = fs::read(&path).ok().and_then(|bytes| unseal(&bytes)) else {
            tracing::warn!(%key, "an action object is damaged or gone; dropped");
            self.drop_one(key);
            return None;
        };
        let now = millis(SystemTime::now());
        if now.saturating_sub(used) > TOUCH_MS {
            // Failing to note the use makes the object go a little earlier, nothing more.
            let _ = fs::File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.file().set_modified(SystemTime::now()));
        }
        self.note(*key, size, now);
        Some(value)
    }

    pub(super) fn put(&mut self, key: &Digest, value: &[u8]) -> Result<(), StoreError> {
        if value.len() > ACTION_BYTES_MAX {
            return Err(StoreError::ActionSize(value.len(), ACTION_BYTES_MAX));
        }
        let path = self.path(key);
        make_dir(path.parent().expect("an action object lies in a shard"))?;
        let sealed = seal(value);
        write_whole(&path, &sealed, false)?;
        self.note(*key, sealed.len() as u64, millis(SystemTime::now()));
        self.shrink();
        Ok(())
    }

    fn path(&self, key: &Digest) -> PathBuf {
        let name = key.to_string();
        self.dir.join(&name[..2]).join(name)
    }

    fn note(&mut self, key: Digest, size: u64, used: u64) {
        if let Some((old_size, old_used)) = self.known.insert(key, (size, used)) {
            self.order.remove(&(old_used, key));
            self.bytes -= old_size;
        }
        self.order.insert((used, key), ());
        self.bytes += size;
    }

    fn shrink(&mut self) {
        while self.bytes > self.limit
            && let Some((&(_, key), ())) = self.order.first_key_value()
        {
            self.drop_one(&key);
        }
    }

    fn drop_one(&mut self, key: &Digest) {
        if let Some((size, used)) = self.known.remove(key) {
            self.order.remove(&(used, *key));
            self.bytes -= size;
            let _ = fs::remove_file(self.path(key));
        }
    }
}

fn seal(value: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &crc32c::crc32c(value).to_le_bytes(), value].concat()
}

fn unseal(bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, value) = bytes.split_at_checked(8)?;
    let crc = u32::from_le_bytes(head[4..].try_into().ok()?);
    (&head[..4] == MAGIC && crc == crc32c::crc32c(value)).then(|| value.to_vec())
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}
