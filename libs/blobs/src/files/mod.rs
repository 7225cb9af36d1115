//! Files on disk as sources and destinations: walked and created relative to an open directory, never
//! through a link.

mod beneath;
mod ignored;
mod raw;
mod scan;
mod slices;
mod stat_cache;

pub use beneath::Root;
pub use ignored::scan_code;
pub use scan::{Found, Listing, ScanLimits, Skipped, scan_dir, scan_paths};
pub use stat_cache::{FileStat, StatCache};

pub(crate) use raw::{clone_file, start_writeback};
pub(crate) use slices::write_slices;

use std::path::PathBuf;

use crate::tree::NameError;

/// Why a file was refused or could not be read or written. Paths are relative to their root.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A path leads through a link, or leaves its root.
    #[error("`{0}` leads through a symbolic link; only files and directories below {1} are read")]
    Link(String, PathBuf),
    /// Something that is neither file nor directory.
    #[error(
        "`{path}` is {kind}; an artifact holds regular files and directories only: remove it or write its content to a file"
    )]
    Kind { path: String, kind: &'static str },
    /// A hard link to another user's file.
    #[error("`{0}` is a hard link to a file of another user; copy the file instead")]
    HardLink(String),
    /// A name that a tree cannot hold.
    #[error(transparent)]
    Name(#[from] NameError),
    /// More than is allowed.
    #[error("{path} holds more than {limit} {what}")]
    TooLarge { path: PathBuf, what: &'static str, limit: u64 },
    /// An output or input that is not there.
    #[error("`{0}` does not exist in {1}")]
    Missing(String, PathBuf),
    /// Ignore rules that cannot be read.
    #[error("cannot apply the ignore rules of {0}: {1}")]
    Ignore(PathBuf, String),
}
