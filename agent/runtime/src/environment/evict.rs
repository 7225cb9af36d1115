//! Keeping the environments within a number of bytes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::FlockArg;

use super::build::failed;
use super::{EnvironmentError, Environments};

/// What an eviction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Keys removed, least recently used first.
    pub keys: Vec<String>,
    /// Bytes freed on disk.
    pub freed_bytes: u64,
    /// Bytes that remain, those in use included.
    pub left_bytes: u64,
}

impl Environments {
    /// Removes the least recently used environments until all take at most `limit_bytes` on disk.
    /// What is in use (pinned, or being built) stays, also when that is too much.
    pub fn evict(&self, limit_bytes: u64) -> Result<Evicted, EnvironmentError> {
        let mut all = Vec::new();
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Ok(Evicted::default()) };
        for entry in entries.flatten().filter(|e| e.path().is_dir()) {
            let stamp = entry.path().join(".complete").metadata().and_then(|m| m.modified());
            let used = stamp.unwrap_or(SystemTime::UNIX_EPOCH);
            let key = entry.file_name().to_string_lossy().into_owned();
            all.push((used, key, bytes_on_disk(&entry.path())));
        }
        all.sort();
        let mut done =
            Evicted { left_bytes: all.iter().map(|(_, _, n)| n).sum(), ..Evicted::default() };
        for (_, key, bytes) in all {
            if done.left_bytes <= limit_bytes {
                break;
            }
            // In use somewhere: its lock is taken.
            let Ok(Some(lock)) = self.lock(&key, FlockArg::LockExclusiveNonblock) else { continue };
            let path = self.dir.join(&key);
            // First the mark: half an environment must not look whole.
            let _ = std::fs::remove_file(path.join(".complete"));
            std::fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
            drop(lock);
            done.left_bytes -= bytes;
            done.freed_bytes += bytes;
            done.keys.push(key);
        }
        Ok(done)
    }
}

fn bytes_on_disk(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |e: std::fs::DirEntry| match e.metadata() {
        Ok(m) if m.is_dir() => m.blocks() * 512 + bytes_on_disk(&e.path()),
        Ok(m) => m.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
