//! Trees: directories as Merkle nodes of content only, so that equal content has an equal digest.
//!
//! A tree holds names, the executable bit, sizes and bytes; no times, owners or links. Every part of a
//! tree is a chunk: directory nodes, the lists of a large file's chunks, and the bytes themselves.

mod build;
mod content;
mod name;
mod node;
mod read;
mod walk;
mod whole;

pub use build::{BuiltTree, TreeBuilder};
pub use content::{Content, FAN_OUT};
pub(crate) use content::{decode_refs, encode_refs};
pub use name::{NameError, RelPath, check_name};
pub use node::{DirEntry, Kind, decode_dir, encode_dir};
pub use read::{ChunkSource, read_file, read_tree};
pub use walk::{Tree, TreeFile, TreeLimits, TreeWalk};
pub use whole::is_whole;

use runyard_types::Digest;

/// Why bytes are not a tree, or a tree is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A node's bytes are not a canonical node.
    #[error("node {node} is not a tree: {why}")]
    Malformed { node: Digest, why: &'static str },
    /// A name inside the tree could escape or confuse.
    #[error("the tree has an evil name")]
    Name(#[from] NameError),
    /// The tree is larger than allowed.
    #[error("the tree has more than {limit} {what}")]
    TooLarge { what: &'static str, limit: u64 },
    /// Two entries want the same path.
    #[error("`{0}` is named twice, or is a file as well as a directory")]
    Duplicate(String),
}
