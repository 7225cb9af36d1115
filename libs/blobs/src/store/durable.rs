//! Files that are there whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err::{self as fs, File};

use super::StoreError;

/// Names of files that are being written; removed when the store opens.
pub(super) const TEMP_PREFIX: &str = ".tmp-";

/// A path in `dir` that no other caller of this process uses.
pub(super) fn temp_path(dir: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    dir.join(format!("{TEMP_PREFIX}{}-{n}", std::process::id()))
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))
}

/// Writes `bytes` to `path` by way of a temporary file; durable, name and all, if `durable`.
pub(super) fn write_whole(path: &Path, bytes: &[u8], durable: bool) -> Result<(), StoreError> {
    use std::io::Write as _;
    let dir = path.parent().expect("files of the store lie in its folders");
    let temp = temp_path(dir);
    let written = (|| {
        let mut file = File::create_new(&temp)?;
        file.write_all(bytes)?;
        if durable {
            file.sync_data()?;
        }
        fs::rename(&temp, path)
    })();
    if let Err(source) = written {
        // The first failure is what is told; a temporary file left behind goes at the next opening.
        let _ = fs::remove_file(&temp);
        return Err(StoreError::io("write", path)(source));
    }
    if durable { sync_dir(dir) } else { Ok(()) }
}

/// Creates `dir` and its parents below an existing directory; the names are durable.
pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
    match dir.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}
