//! Packs: many chunks in one file of at most [`PACK_BYTES_MAX`], named by the SHA-256 of the whole file.
//!
//! Layout, version 1, little endian:
//!
//! ```text
//! "RYPACK" version:u16 | stored chunks … | index: count × entry | footer
//! entry  = digest:32 offset:u32 stored:u32 raw:u32 encoding:u8
//! footer = index_offset:u32 count:u32 index_crc32c:u32 version:u16 "RYPEND"
//! ```

mod builder;
mod bundle;
mod check;
mod entry;
mod id;
mod index;

pub use builder::{Pack, PackBuilder};
pub use bundle::{BUNDLE_CHUNKS_MAX, Bundle, BundleBuilder};
pub use check::PackCheck;
pub use entry::{Encoding, Entry, open_stored};
pub use id::PackId;
pub use index::{parse_pack, read_index, verify_pack};

pub(crate) use entry::Squeezer;

/// The largest pack that is accepted, in bytes.
pub const PACK_BYTES_MAX: u64 = 64 << 20;
/// The size at which an uploader closes a pack: a quarter of the largest, to bound its memory (nine of them may
/// be under way) and the time at the end in which only the last one moves.
pub const PACK_BYTES_TARGET: usize = 16 << 20;

const MAGIC: &[u8; 6] = b"RYPACK";
const END: &[u8; 6] = b"RYPEND";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 8;
const ENTRY_BYTES: usize = 32 + 4 + 4 + 4 + 1;
const FOOTER_BYTES: usize = 4 + 4 + 4 + 2 + 6;

/// Why bytes are not a usable pack or chunk.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file could not be read.
    #[error("cannot read the pack")]
    Io(#[from] std::io::Error),
    /// The file is not a pack, or torn.
    #[error("not a pack: {0}")]
    Malformed(&'static str),
    /// The format is newer than this program.
    #[error("pack format {0} is not known to this version of runyard; upgrade it")]
    Version(u16),
    /// The bytes of a chunk do not have its digest.
    #[error("chunk {chunk} is corrupt: {why}")]
    Corrupt { chunk: runyard_types::Digest, why: &'static str },
}
