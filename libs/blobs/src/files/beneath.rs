//! An open directory, and files below it reached without ever following a link.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};

use super::FileError;
use crate::tree::RelPath;

/// An open directory. Its path is for messages only: the directory is held by its descriptor.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

/// Kernels before 5.6 and some sandboxes have no openat2; there each name is opened by itself.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

const READ_ONLY: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC);
const DIRECTORY: OFlag = READ_ONLY.union(OFlag::O_DIRECTORY);

impl Root {
    /// Opens a directory; the path to it is trusted, its last name must be no link.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = DIRECTORY | OFlag::O_NOFOLLOW;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ELOOP => FileError::Link(path.display().to_string(), path.to_owned()),
            _ => io("open", path, errno),
        })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a directory, creating it and its parents first.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        fs_err::create_dir_all(path).map_err(|source| FileError::Io {
            what: "create",
            path: path.to_owned(),
            source,
        })?;
        Self::open(path)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file for reading. The caller checks what it got: opening waits for nothing.
    pub fn read(&self, path: &RelPath) -> Result<File, FileError> {
        let flags = READ_ONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        self.open_at(path, flags, Mode::empty()).map(File::from)
    }

    /// Opens a directory for reading.
    pub fn dir(&self, path: &RelPath) -> Result<OwnedFd, FileError> {
        self.open_at(path, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())
    }

    /// Creates a file, which must not exist yet.
    pub fn create_file(&self, path: &RelPath, executable: bool) -> Result<File, FileError> {
        let flags =
            OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = if executable { 0o755 } else { 0o644 };
        self.open_at(path, flags, Mode::from_bits_truncate(mode)).map(File::from)
    }

    /// Creates a directory whose parent exists; one that exists already is fine.
    pub fn create_dir(&self, path: &RelPath) -> Result<(), FileError> {
        let Some((parent, name)) = path.split() else { return Ok(()) };
        let made =
            self.within(&parent, |dir| mkdirat(dir, name, Mode::from_bits_truncate(0o755)))?;
        match made {
            Ok(()) => Ok(()),
            // It must be a directory, and no link to one.
            Err(Errno::EEXIST) => self.dir(path).map(drop),
            Err(errno) => Err(io("create", &self.path.join(path.as_str()), errno)),
        }
    }

    /// Removes a file.
    pub fn remove_file(&self, path: &RelPath) -> Result<(), FileError> {
        let Some((parent, name)) = path.split() else { return Ok(()) };
        let flag = nix::unistd::UnlinkatFlags::NoRemoveDir;
        self.within(&parent, |dir| nix::unistd::unlinkat(dir, name, flag))?
            .map_err(|errno| io("remove", &self.path.join(path.as_str()), errno))
    }

    /// What stands at `path`, without following a link there.
    pub fn stat(&self, path: &RelPath) -> Result<nix::sys::stat::FileStat, FileError> {
        let Some((parent, name)) = path.split() else {
            return nix::sys::stat::fstat(&self.fd).map_err(|errno| io("read", &self.path, errno));
        };
        let flag = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
        self.within(&parent, |dir| nix::sys::stat::fstatat(dir, name, flag))?.map_err(|errno| {
            match errno {
                Errno::ENOENT => FileError::Missing(path.to_string(), self.path.clone()),
                _ => io("read", &self.path.join(path.as_str()), errno),
            }
        })
    }

    fn within<T>(
        &self,
        parent: &RelPath,
        act: impl FnOnce(BorrowedFd<'_>) -> nix::Result<T>,
    ) -> Result<nix::Result<T>, FileError> {
        if parent.is_empty() {
            return Ok(act(self.fd.as_fd()));
        }
        let dir = self.dir(parent)?;
        Ok(act(dir.as_fd()))
    }

    fn open_at(&self, path: &RelPath, flags: OFlag, mode: Mode) -> Result<OwnedFd, FileError> {
        let text = if path.is_empty() { "." } else { path.as_str() };
        let opened = if NO_OPENAT2.load(Ordering::Relaxed) {
            self.open_stepwise(path, flags, mode)
        } else {
            let resolve = ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
            match openat2(&self.fd, text, how) {
                Err(Errno::ENOSYS | Errno::EPERM) => {
                    let opened = self.open_stepwise(path, flags, mode);
                    if opened.is_ok() {
                        NO_OPENAT2.store(true, Ordering::Relaxed);
                    }
                    opened
                }
                other => other,
            }
        };
        opened.map_err(|errno| match errno {
            Errno::ELOOP | Errno::EXDEV => FileError::Link(path.to_string(), self.path.clone()),
            Errno::ENOENT => FileError::Missing(path.to_string(), self.path.clone()),
            Errno::ENXIO => FileError::Kind { path: path.to_string(), kind: "a socket or pipe" },
            _ => io("open", &self.path.join(text), errno),
        })
    }

    fn open_stepwise(&self, path: &RelPath, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
        let flags = flags | OFlag::O_NOFOLLOW;
        let Some((parent, name)) = path.split() else {
            return openat(&self.fd, ".", flags, mode);
        };
        let mut dir: Option<OwnedFd> = None;
        for step in parent.names() {
            let at = dir.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let next = openat(at, step, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty());
            // O_DIRECTORY wins over O_NOFOLLOW in what the kernel answers for a link.
            dir = Some(
                next.map_err(|errno| if errno == Errno::ENOTDIR { Errno::ELOOP } else { errno })?,
            );
        }
        openat(dir.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd), name, flags, mode)
    }
}

pub(super) fn io(what: &'static str, path: &Path, errno: Errno) -> FileError {
    FileError::Io { what, path: path.to_owned(), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).expect(text)
    }

    #[test]
    fn a13_no_link_is_followed_by_either_way_of_opening() {
        let dir = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        fs_err::write(outside.path().join("secret"), "s").expect("writes");
        fs_err::create_dir(dir.path().join("in")).expect("creates");
        symlink(outside.path(), dir.path().join("in/link")).expect("links");
        symlink(outside.path().join("secret"), dir.path().join("in/file")).expect("links");
        let root = Root::open(dir.path()).expect("opens");
        for bad in ["in/link/secret", "in/file", "in/link"] {
            assert!(matches!(root.read(&path(bad)), Err(FileError::Link(..))), "{bad}");
            let step = root.open_stepwise(&path(bad), READ_ONLY, Mode::empty());
            assert_eq!(step.expect_err(bad), Errno::ELOOP, "{bad}");
        }
        assert!(root.create_file(&path("in/link/new"), false).is_err());
        assert!(root.create_file(&path("in/file"), false).is_err());
        assert!(root.create_dir(&path("in/link")).is_err());
        assert!(root.create_dir(&path("in/link/x")).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).expect("lists").count(), 1);
        assert!(Root::open(&dir.path().join("in/link")).is_err());
    }

    #[test]
    fn files_are_created_once_with_their_bit() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let root = Root::create(&dir.path().join("a/b")).expect("creates");
        root.create_dir(&path("c")).expect("creates");
        root.create_dir(&path("c")).expect("it is there");
        root.create_file(&path("c/x"), true).expect("creates").write_all(b"hi").expect("writes");
        assert!(root.create_file(&path("c/x"), true).is_err());
        let mut text = String::new();
        let mut file = root.read(&path("c/x")).expect("opens");
        file.read_to_string(&mut text).expect("reads");
        assert_eq!(text, "hi");
        assert_ne!(file.metadata().expect("stats").permissions().mode() & 0o100, 0);
        assert!(matches!(root.read(&path("c/y")), Err(FileError::Missing(..))));
        root.remove_file(&path("c/x")).expect("removes");
    }
}
