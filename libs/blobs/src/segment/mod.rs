//! Sealed segments: log records in compressed blocks with an index by offset, and the list of a log's
//! segments.
//!
//! Layout, version 1, little endian:
//!
//! ```text
//! "RYSEGM" version:u16 | zstd blocks … | index: count × block | footer
//! block  = first:u64 at_ms:u64 pos:u32 stored:u32 raw:u32 lines:u32 crc32c:u32
//! footer = end:u64 index_pos:u32 count:u32 index_crc32c:u32 version:u16 "RYSEND"
//! record = at_ms_delta:varint flags:u8 [cut:varint] len:varint data     (inside a block)
//! ```
//!
//! Offsets are bytes of the worker's log. A record covers `data.len() + cut_bytes` of them.

mod manifest;
mod reader;
mod writer;

pub use manifest::{Manifest, ManifestError, SegmentRef};
pub use reader::{Records, Segment};
pub use writer::SegmentWriter;

use bytes::Bytes;

const MAGIC: &[u8; 6] = b"RYSEGM";
const END: &[u8; 6] = b"RYSEND";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 8;
const BLOCK_ENTRY_BYTES: usize = 8 + 8 + 4 * 5;
const FOOTER_BYTES: usize = 8 + 4 * 3 + 2 + 6;
/// A block is closed at this many bytes before compression.
const BLOCK_BYTES: usize = 256 << 10;
/// The most bytes of a single block, and so of one record's data, before compression.
const BLOCK_BYTES_MAX: usize = 8 << 20;

/// A part of a worker's log, as the shim received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of the first byte of `data` in the worker's log.
    pub offset: u64,
    /// When it arrived, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    pub stderr: bool,
    pub data: Bytes,
    /// Bytes that a quota or a lost disk dropped right behind `data`.
    pub cut_bytes: u64,
}

impl Record {
    /// The offset behind the record.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.data.len() as u64).saturating_add(self.cut_bytes)
    }
}

/// Why a segment was not made or not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// A record does not follow the one before it.
    #[error("a log record begins at {got}, but {expected} bytes are there")]
    Gap { expected: u64, got: u64 },
    /// A record is larger than a block may be.
    #[error("a log record of {0} bytes; at most {BLOCK_BYTES_MAX} are possible")]
    TooLarge(usize),
    /// The segment is damaged or no segment.
    #[error("not a log segment: {0}")]
    Malformed(&'static str),
    /// The format is newer than this program.
    #[error("segment format {0} is not known to this version of runyard; upgrade it")]
    Version(u16),
    /// zstd failed.
    #[error("cannot compress a log segment: {0}")]
    Compress(String),
}
