//! The coordinator's store: per project a folder of packs, an index of chunks in memory, and the
//! stage cache's action objects.
//!
//! ```text
//! DIR/format, DIR/lock
//! DIR/projects/NAME/packs/SHA256.pack         finished packs
//! DIR/projects/NAME/packs/N.journal           small puts, until there are enough for a pack
//! DIR/projects/NAME/uploads/SHA256.part       packs that are arriving
//! DIR/projects/NAME/ac/XX/KEY                 action objects
//! ```
//!
//! Invariant: a chunk is in the index only when its bytes are durable; what is not verified is never
//! answered; deduplication and existence stay inside a project.

mod actions;
mod durable;
mod index;
mod journal;
mod local;
mod locator;
mod parts;
mod project;
mod upload;

pub use local::{LocalStore, StoreOptions, StoreSource};
pub use locator::{Located, Locator};
pub use upload::{PackStatus, PackUpload};

use std::path::PathBuf;

use runyard_types::Digest;

use crate::pack::{PackError, PackId};
use crate::tree::TreeError;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused; a full disk is told apart by [`StoreError::is_full`].
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Another process has the store open.
    #[error("the blob store {0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// The directory holds something else, or a newer format.
    #[error("{0} is not a blob store of a format this version of runyard knows: `{1}`")]
    Format(PathBuf, String),
    /// A file could not be read while the store opened; nothing was moved or changed.
    #[error(
        "cannot read {path} of the blob store, and will not open without it: see to its disk, its permissions \
         and the limit of open files (`ulimit -n`), then start again"
    )]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file was written by a newer version; nothing was moved or changed.
    #[error(
        "{path} of the blob store has format {version}, which this version of runyard does not know: upgrade \
         to the version that wrote it"
    )]
    Newer { path: PathBuf, version: u16 },
    /// The project has no such chunk.
    #[error("chunk {0} is not in the store")]
    NotFound(Digest),
    /// The chunk is damaged on disk; it counts as missing until it is sent again.
    #[error("chunk {0} is corrupt in the store; publish its source again")]
    Corrupt(Digest),
    /// An uploaded pack is not what its name says.
    #[error("pack {pack} was refused: {why}")]
    BadPack {
        pack: PackId,
        why: String,
        #[source]
        source: Option<PackError>,
    },
    /// Bytes came that do not follow those that are there.
    #[error("pack {pack} has {received} bytes; an upload goes on there, not at {offset}")]
    Gap { pack: PackId, received: u64, offset: u64 },
    /// One chunk is larger than allowed, or empty.
    #[error("a chunk of {0} bytes: 1 to {max} are possible", max = crate::chunk::CHUNK_BYTES_MAX)]
    ChunkSize(usize),
    /// An action object is larger than allowed.
    #[error("an action object of {0} bytes; at most {1} are possible")]
    ActionSize(usize, usize),
    /// Too many uploads at once.
    #[error("{0} packs are arriving in this project already; try again later")]
    Busy(usize),
    /// A tree is malformed.
    #[error("the tree cannot be read")]
    Tree(#[from] TreeError),
}

impl StoreError {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
    /// Whether the disk or a quota is full.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}
