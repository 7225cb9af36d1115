//! Inputs into the workspace: by reflink where the file system can, else by copy, never by a link
//! through which a stage could write into the node's cache.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Workspace, WorkspaceError, beneath, failed, inside};
use crate::sys::reflink;

/// What was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placed {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them share their blocks with the source.
    pub reflinked: u64,
}

impl Workspace {
    /// Copies a file or a tree of the node's cache to `at` in the working directory. Folders on the
    /// way are made; a link on the way, or a file that is there already, is refused. A tree merges
    /// into a folder that exists.
    pub fn place(&self, source: &Path, at: &str) -> Result<Placed, WorkspaceError> {
        let work = self.work();
        let target = work.join(at);
        let parts = inside(at)?;
        let mut dir = beneath::root(&work).map_err(failed("open", &work))?;
        let mut placed = Placed::default();
        let meta = source.symlink_metadata().map_err(failed("look at", source))?;
        let (folders, last) = match (meta.is_dir(), parts.split_last()) {
            (true, _) => (&parts[..], None),
            (false, Some((last, folders))) => (folders, Some(*last)),
            (false, None) => {
                let why = "a file needs a name there";
                return Err(WorkspaceError::Path { path: at.into(), why });
            }
        };
        for part in folders {
            dir =
                beneath::make_folder(&dir, part).map_err(failed("make the folders of", &target))?;
        }
        match last {
            Some(name) => copy_file(source, &dir, name, &target, &mut placed)?,
            None => copy_tree(source, &dir, &target, &mut placed)?,
        }
        Ok(placed)
    }
}

fn copy_tree(
    from: &Path,
    to: &OwnedFd,
    target: &Path,
    placed: &mut Placed,
) -> Result<(), WorkspaceError> {
    let entries = std::fs::read_dir(from).map_err(failed("list", from))?;
    for entry in entries {
        let entry = entry.map_err(failed("list", from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().map_err(failed("look at", &path))?;
        let Some(name) = name.to_str() else {
            let source = io::Error::other("its name is not UTF-8");
            return Err(failed("place", &path)(source));
        };
        let target = target.join(name);
        if kind.is_dir() {
            let dir = beneath::make_folder(to, name).map_err(failed("make", &target))?;
            copy_tree(&path, &dir, &target, placed)?;
        } else if kind.is_file() {
            copy_file(&path, to, name, &target, placed)?;
        } else {
            let source = io::Error::other("it is neither a file nor a folder");
            return Err(failed("place", &path)(source));
        }
    }
    Ok(())
}

fn copy_file(
    from: &Path,
    dir: &OwnedFd,
    name: &str,
    target: &Path,
    placed: &mut Placed,
) -> Result<(), WorkspaceError> {
    let mut source = File::open(from).map_err(failed("open", from))?;
    let meta = source.metadata().map_err(failed("look at", from))?;
    // A file of the cache may be read-only; a stage may change its own copy.
    let mode = 0o644 | (meta.permissions().mode() & 0o111);
    let copy = beneath::make_file(dir, name, mode).map_err(failed("make", target))?;
    let mut copy = File::from(copy);
    placed.files += 1;
    placed.bytes += meta.len();
    if reflink(&source, &copy).is_ok() {
        placed.reflinked += 1;
        return Ok(());
    }
    // std copies inside the kernel (copy_file_range) where it can.
    io::copy(&mut source, &mut copy).map_err(failed("copy to", target))?;
    Ok(())
}
