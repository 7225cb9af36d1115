//! The client's side: publishing files and fetching trees.

mod download;
mod lane;
mod packer;
mod publish;
mod reader;
mod remote;
mod retry;
mod send;

pub use download::{Downloader, Fetched};
pub use publish::{Measured, MeasuredFile, Published, Uploader};
pub use remote::Remote;
pub use retry::Retry;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runyard_types::Digest;

use crate::cache::CacheError;
use crate::files::FileError;
use crate::tree::TreeError;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The other side refused, or could not be reached in time.
    #[error("cannot {what}: {}", source.message())]
    Remote {
        what: &'static str,
        #[source]
        source: tonic::Status,
    },
    /// Files could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The local cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The tree is malformed or too large.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A chunk came damaged, and again when it was asked for anew.
    #[error("chunk {chunk} of `{path}` arrived corrupt twice; publish its source again")]
    Corrupt { chunk: Digest, path: String },
    /// The answers do not fit the question.
    #[error("the blob service answered out of order")]
    Protocol,
    /// A file grows faster than it is read.
    #[error("`{0}` grows while it is read; publish it when its writer has finished")]
    Growing(String),
    /// Memory for compression could not be had, or the like.
    #[error("cannot {what}")]
    Io {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// Another part of the transfer has failed; its error is the one that is told.
    #[error("the transfer was stopped")]
    Stopped,
}

/// How far a transfer is; counts only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub files: u64,
    pub files_total: u64,
    pub bytes: u64,
    pub bytes_total: u64,
    /// Bytes that went over the wire.
    pub wire_bytes: u64,
}

/// Is told how far a transfer is, from any thread, often: it must return at once.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// The counts behind [`Progress`].
#[derive(Default)]
pub(crate) struct Meter {
    files: AtomicU64,
    bytes: AtomicU64,
    wire: AtomicU64,
    totals: (u64, u64),
    told: Option<OnProgress>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.now().fmt(f)
    }
}

impl Meter {
    pub(crate) fn new(files_total: u64, bytes_total: u64, told: Option<OnProgress>) -> Arc<Self> {
        Arc::new(Self { totals: (files_total, bytes_total), told, ..Self::default() })
    }

    pub(crate) fn add(&self, files: u64, bytes: u64, wire: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.wire.fetch_add(wire, Ordering::Relaxed);
        if let Some(told) = &self.told {
            told(self.now());
        }
    }

    pub(crate) fn now(&self) -> Progress {
        Progress {
            files: self.files.load(Ordering::Relaxed),
            files_total: self.totals.0,
            bytes: self.bytes.load(Ordering::Relaxed),
            bytes_total: self.totals.1,
            wire_bytes: self.wire.load(Ordering::Relaxed),
        }
    }
}

/// Awaits a blocking task; a panic in it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(TransferError::Stopped),
    }
}
