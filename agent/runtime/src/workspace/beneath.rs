//! Opening things below a folder one step at a time, never through a link.
//!
//! Whoever owns the folder may swap a directory for a link at any moment: every step is relative
//! to a descriptor of the step before and refuses links itself, so there is nothing to race with.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// Neither, in words.
    Other(&'static str),
}

pub(super) fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Folder,
        SFlag::S_IFLNK => Kind::Other("a symbolic link"),
        SFlag::S_IFIFO => Kind::Other("a FIFO"),
        SFlag::S_IFSOCK => Kind::Other("a socket"),
        SFlag::S_IFBLK | SFlag::S_IFCHR => Kind::Other("a device"),
        _ => Kind::Other("neither a file nor a folder"),
    }
}

/// The folder everything starts from; its own path is ours, not the stage's.
pub(super) fn root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Looks at an entry without opening it: a FIFO would block, a device would act.
pub(super) fn look(dir: impl AsFd, name: &str) -> io::Result<FileStat> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty())?;
    Ok(fstat(fd)?)
}

/// Opens a folder below a folder. A link is `ELOOP` or `ENOTDIR`.
pub(super) fn folder(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

/// Opens a regular file for reading; what has become something else meanwhile is `EINVAL`.
pub(super) fn file(dir: impl AsFd, name: &str) -> io::Result<(OwnedFd, FileStat)> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty())?;
    let stat = fstat(&fd)?;
    if kind(&stat) != Kind::File {
        return Err(Errno::EINVAL.into());
    }
    Ok((fd, stat))
}

/// Opens a folder below a folder, and makes it when it is missing.
pub(super) fn make_folder(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(&dir, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => folder(dir, name),
        Err(e) => Err(e.into()),
    }
}

/// Makes a file that must not exist.
pub(super) fn make_file(dir: impl AsFd, name: &str, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    Ok(openat(dir, name, flags, Mode::from_bits_truncate(mode))?)
}
