//! Reading files that a stage wrote, when it may have put anything in their place.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use runyard_blobs::RelPath;
use runyard_blobs::files::Root;

/// Opens a regular file below `root`, through no link.
pub(crate) fn open_own(root: &Path, path: &str) -> Result<File, String> {
    let path = RelPath::parse(path).map_err(|error| error.to_string())?;
    let root = Root::open(root).map_err(|error| super::chain(&error))?;
    let file = root.read(&path).map_err(|error| super::chain(&error))?;
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if meta.is_file() { Ok(file) } else { Err(format!("`{path}` is not a regular file")) }
}

/// Reads at most `limit` bytes; a larger file is refused.
pub(super) fn read(root: &Path, path: &str, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = open_own(root, path)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("`{path}` is larger than {limit} bytes"));
    }
    Ok(bytes)
}
