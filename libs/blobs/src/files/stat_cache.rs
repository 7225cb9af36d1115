//! What is known of files that were read before: a file whose inode, size and times did not change has
//! the chunks that it had.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nix::sys::stat::FileStat as RawStat;
use serde::{Deserialize, Serialize};

use crate::chunk::ChunkRef;
use crate::tree::RelPath;

/// What tells a file's state without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    pub dev: u64,
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970 UTC.
    pub modified_ns: i64,
    /// Change of the inode: a program can set the modification time back, but not this.
    pub changed_ns: i64,
}

impl FileStat {
    pub(super) fn of(stat: &RawStat) -> Self {
        let nanos = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// The state of an open file.
    pub(crate) fn of_file(file: &std::fs::File) -> std::io::Result<Self> {
        Ok(Self::of(&nix::sys::stat::fstat(file)?))
    }

    /// Whether a change after `seen` would show: the clock of the file system has moved on since.
    fn settled(&self, seen: SystemTime) -> bool {
        let latest = self.modified_ns.max(self.changed_ns);
        let seen = seen.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        // Times without a fraction come from a file system that counts in (up to two) whole seconds.
        let tick: i64 = if latest % 1_000_000_000 == 0 { 2_000_000_000 } else { 20_000_000 };
        i64::try_from(seen).is_ok_and(|seen| latest < seen.saturating_sub(tick))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    stat: FileStat,
    /// `digest:32 len:u32` for each chunk.
    chunks: Bytes,
}

/// The files of one root that were read before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StatCache {
    files: BTreeMap<String, Known>,
}

const MAGIC: &[u8; 8] = b"RYSTAT\x01\x00";

impl StatCache {
    /// Reads a cache file. One that is missing, damaged or of another version is an empty cache.
    pub fn load(path: &Path) -> Self {
        let Ok(bytes) = fs_err::read(path) else { return Self::default() };
        let Some((head, body)) = bytes.split_at_checked(12) else { return Self::default() };
        if &head[..8] != MAGIC || head[8..] != crc32c::crc32c(body).to_le_bytes() {
            return Self::default();
        }
        runyard_types::decode("a stat cache", body).unwrap_or_default()
    }

    /// Writes the cache file, whole or not at all.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let body = runyard_types::encode(self);
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        if let Some(dir) = dir {
            fs_err::create_dir_all(dir)?;
        }
        let temp = path.with_extension(format!("tmp-{}", std::process::id()));
        let mut file = fs_err::File::create(&temp)?;
        file.write_all(MAGIC)?;
        file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
        file.write_all(&body)?;
        fs_err::rename(&temp, path)
    }

    /// The chunks of a file, if its state is the one that was noted.
    pub fn get(&self, path: &RelPath, stat: &FileStat) -> Option<Vec<ChunkRef>> {
        let known = self.files.get(path.as_str()).filter(|known| known.stat == *stat)?;
        crate::tree::decode_refs(&known.chunks)
    }

    /// Forgets all files but those for which `keep` says so.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.files.retain(|path, _| keep(path));
    }

    /// Notes a file that was read while its state was `stat`, at `seen`; one that changed too shortly
    /// before to tell a later change is not noted.
    pub fn note(&mut self, path: &RelPath, stat: FileStat, seen: SystemTime, chunks: &[ChunkRef]) {
        if stat.settled(seen) {
            let chunks = crate::tree::encode_refs(chunks);
            self.files.insert(path.as_str().to_owned(), Known { stat, chunks });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use runyard_types::Digest;

    #[test]
    fn a_change_within_the_clocks_tick_is_not_trusted() {
        let stat = FileStat { dev: 1, ino: 2, size: 3, modified_ns: 5_000_000_001, changed_ns: 0 };
        let coarse = FileStat { modified_ns: 5_000_000_000, ..stat };
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        assert!(!stat.settled(at(5_010)) && stat.settled(at(5_021)));
        assert!(!coarse.settled(at(6_999)) && coarse.settled(at(7_001)));
    }

    #[test]
    fn a_cache_survives_its_file_and_damage_empties_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("deep/stat");
        let stat = FileStat { dev: 1, ino: 2, size: 3, modified_ns: 4, changed_ns: 5 };
        let path = RelPath::parse("a/b").expect("a path");
        let chunks = [ChunkRef { id: Digest::of(b"x"), len: 3 }];
        let mut cache = StatCache::default();
        cache.note(&path, stat, SystemTime::now(), &chunks);
        cache.save(&file).expect("saves");
        let again = StatCache::load(&file);
        assert_eq!(again.get(&path, &stat), Some(chunks.to_vec()));
        assert_eq!(again.get(&path, &FileStat { ino: 9, ..stat }), None);
        let mut bytes = fs_err::read(&file).expect("reads");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs_err::write(&file, bytes).expect("writes");
        assert_eq!(StatCache::load(&file).get(&path, &stat), None);
    }
}
