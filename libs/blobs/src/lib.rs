//! Content-addressed store: chunks, packs, trees, segments, upload and download.
//!
//! Invariant: bytes are named by their digest and verified whenever they are read; nothing half-written
//! is ever visible; a tree holds content only.

mod blocks;
pub mod cache;
pub mod chunk;
pub mod client;
pub mod files;
pub mod pack;
pub mod segment;
pub mod service;
pub mod store;
pub mod tree;

#[cfg(test)]
mod testing;

pub use cache::Cache;
pub use chunk::{Chunk, ChunkRef};
pub use client::{
    Downloader, Fetched, Measured, MeasuredFile, Progress, Published, Remote, TransferError,
    Uploader,
};
pub use service::{Access, Authorise, BlobService};
pub use store::{LocalStore, StoreError};
pub use tree::{RelPath, Tree, TreeFile};
