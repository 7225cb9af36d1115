//! Outputs out of the workspace: regular files and folders, nothing through a link (A13).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;

use super::beneath::{self, Kind};
use super::{Workspace, WorkspaceError, inside};

/// Bounds of one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Files and folders.
    pub entries: u64,
    /// Bytes of all files, as their sizes say.
    pub bytes: u64,
    /// Folders within folders.
    pub depth: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries: 10_000_000, bytes: 1 << 44, depth: 128 }
    }
}

/// What was found under an output's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Files.
    pub files: u64,
    /// Folders below the output's own.
    pub folders: u64,
    /// Bytes of the files when they were opened.
    pub bytes: u64,
    /// The output is a single file, not a folder.
    pub is_file: bool,
}

/// One thing of an output, given to the visitor in the order of names.
#[derive(Debug)]
pub enum Entry {
    /// A regular file, open for reading.
    File {
        /// Path relative to the output (empty when the output is the file itself), `/` between.
        path: String,
        /// The open file. Bytes appended after it was opened may show up.
        file: File,
        /// Its size when it was opened.
        size: u64,
        /// Somebody may execute it.
        executable: bool,
    },
    /// A folder; what is in it follows.
    Folder {
        /// Path relative to the output.
        path: String,
    },
}

/// An output that is refused.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Nothing is there.
    #[error(
        "the output `{output}` is missing: the stage left nothing at `{path}` in its working directory"
    )]
    Missing {
        /// The output as named in the pipeline.
        output: String,
        /// Where it was looked for.
        path: String,
    },
    /// Something that is no file and no folder.
    #[error(
        "the output `{output}` is refused: `{path}` is {kind}; outputs are regular files and folders"
    )]
    Refused {
        /// The output as named in the pipeline.
        output: String,
        /// The offending path, in the working directory.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// More than the bounds allow.
    #[error("the output `{output}` is refused: it has more than {limit} {of}")]
    TooMuch {
        /// The output as named in the pipeline.
        output: String,
        /// The bound.
        limit: u64,
        /// Of what.
        of: &'static str,
    },
    /// Its path in the pipeline is no path.
    #[error(transparent)]
    Path(#[from] WorkspaceError),
    /// Reading failed, or the visitor did.
    #[error("cannot read `{path}` of the output `{output}`")]
    Io {
        /// The output as named in the pipeline.
        output: String,
        /// The path, in the working directory.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Workspace {
    /// Walks what is at `path` in the working directory, names it `output` in errors, and hands
    /// every file and folder to `visit`. Safe against a stage that is still changing it.
    pub fn collect(
        &self,
        output: &str,
        path: &str,
        bounds: &Bounds,
        visit: impl FnMut(Entry) -> io::Result<()>,
    ) -> Result<Collected, CollectError> {
        let parts = inside(path)?;
        let mut walk =
            Walk { output, base: parts.join("/"), bounds, visit, found: Collected::default() };
        let mut dir = beneath::root(&self.work()).map_err(|e| walk.io("", e))?;
        let Some((last, folders)) = parts.split_last() else {
            walk.folder(&dir, "", 0)?;
            return Ok(walk.found);
        };
        let mut at = String::new();
        for part in folders {
            at = join(&at, part);
            dir = match beneath::look(&dir, part).map(|s| beneath::kind(&s)) {
                Ok(Kind::Folder) => beneath::folder(&dir, part).map_err(|e| walk.gone(&at, e))?,
                Ok(Kind::File) => return Err(walk.missing(path)),
                Ok(Kind::Other(kind)) => return Err(walk.refused(&at, kind)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(walk.missing(path)),
                Err(e) => return Err(walk.gone(&at, e)),
            };
        }
        match beneath::look(&dir, last).map(|s| beneath::kind(&s)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(walk.missing(path)),
            Err(e) => return Err(walk.gone(path, e)),
            Ok(Kind::Folder) => {
                let dir = beneath::folder(&dir, last).map_err(|e| walk.gone(path, e))?;
                walk.folder(&dir, "", 0)?;
            }
            // As it was when we looked: a second look could see something else.
            Ok(Kind::Other(kind)) => return Err(walk.refused_at("", kind)),
            Ok(Kind::File) => {
                walk.found.is_file = true;
                walk.file(&dir, last, "")?;
            }
        }
        Ok(walk.found)
    }
}

struct Walk<'a, V> {
    output: &'a str,
    /// The output's path in the working directory.
    base: String,
    bounds: &'a Bounds,
    visit: V,
    found: Collected,
}

impl<V: FnMut(Entry) -> io::Result<()>> Walk<'_, V> {
    fn folder(&mut self, dir: &OwnedFd, path: &str, depth: u32) -> Result<(), CollectError> {
        if depth > self.bounds.depth {
            return Err(self.too_much(u64::from(self.bounds.depth), "levels of folders"));
        }
        for name in self.names(dir, path)? {
            self.entry(dir, &name, &join(path, &name), depth)?;
        }
        Ok(())
    }

    /// Names in order, so that equal trees are met equally.
    fn names(&self, dir: &OwnedFd, path: &str) -> Result<Vec<String>, CollectError> {
        let failed = |e: nix::errno::Errno| self.io(path, e.into());
        // A descriptor of its own: a listing moves the offset that copies would share.
        let mut listing = beneath::folder(dir, ".")
            .map_err(|e| self.io(path, e))
            .and_then(|fd| Dir::from_fd(fd).map_err(failed))?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if names.len() as u64 >= self.bounds.entries {
                return Err(self.too_much(self.bounds.entries, "files and folders"));
            }
            match name.to_str() {
                Ok(name) => names.push(name.to_string()),
                Err(_) => {
                    let path = join(path, &name.to_string_lossy());
                    return Err(self.refused_at(&path, "a name that is not UTF-8"));
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &str,
        path: &str,
        depth: u32,
    ) -> Result<(), CollectError> {
        if self.found.files + self.found.folders >= self.bounds.entries {
            return Err(self.too_much(self.bounds.entries, "files and folders"));
        }
        let stat = beneath::look(dir.as_fd(), name).map_err(|e| self.io(path, e))?;
        match beneath::kind(&stat) {
            Kind::Other(kind) => Err(self.refused_at(path, kind)),
            Kind::Folder => {
                let below = beneath::folder(dir, name).map_err(|e| self.swapped(path, e))?;
                self.found.folders += 1;
                self.show(path, Entry::Folder { path: path.to_string() })?;
                self.folder(&below, path, depth + 1)
            }
            Kind::File => self.file(dir, name, path),
        }
    }

    fn file(&mut self, dir: &OwnedFd, name: &str, path: &str) -> Result<(), CollectError> {
        let (fd, stat) = beneath::file(dir, name).map_err(|e| self.swapped(path, e))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.found.files += 1;
        self.found.bytes = self.found.bytes.saturating_add(size);
        if self.found.bytes > self.bounds.bytes {
            return Err(self.too_much(self.bounds.bytes, "bytes"));
        }
        let executable = stat.st_mode & 0o111 != 0;
        let (path, file) = (path.to_string(), File::from(fd));
        self.show(&path.clone(), Entry::File { path, file, size, executable })
    }

    fn show(&mut self, path: &str, entry: Entry) -> Result<(), CollectError> {
        (self.visit)(entry).map_err(|e| self.io(path, e))
    }

    fn missing(&self, path: &str) -> CollectError {
        CollectError::Missing { output: self.output.into(), path: path.into() }
    }

    fn refused(&self, path: &str, kind: &'static str) -> CollectError {
        CollectError::Refused { output: self.output.into(), path: path.into(), kind }
    }

    fn refused_at(&self, path: &str, kind: &'static str) -> CollectError {
        self.refused(&join(&self.base, path), kind)
    }

    /// It was a file or folder a moment ago and is now something that we don't open.
    fn swapped(&self, path: &str, e: io::Error) -> CollectError {
        match e.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(
                nix::errno::Errno::ELOOP | nix::errno::Errno::ENOTDIR | nix::errno::Errno::EINVAL,
            ) => self.refused_at(path, "changing while it is collected"),
            _ => self.io(path, e),
        }
    }

    fn gone(&self, path: &str, source: io::Error) -> CollectError {
        CollectError::Io { output: self.output.into(), path: path.into(), source }
    }

    fn io(&self, path: &str, source: io::Error) -> CollectError {
        self.gone(&join(&self.base, path), source)
    }

    fn too_much(&self, limit: u64, of: &'static str) -> CollectError {
        CollectError::TooMuch { output: self.output.into(), limit, of }
    }
}

fn join(path: &str, name: &str) -> String {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_string(),
        (_, true) => path.to_string(),
        _ => format!("{path}/{name}"),
    }
}
