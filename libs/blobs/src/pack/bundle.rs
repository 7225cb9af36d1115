//! A pack as a client sends it: the slices that were read, in order, without being copied together.

use std::io;

use bytes::Bytes;
use runyard_types::Digest;

use super::builder::{encode_footer, encode_index, header, small};
use super::{ENTRY_BYTES, Encoding, Entry, FOOTER_BYTES, HEADER_BYTES, PACK_BYTES_MAX, Squeezer};
use crate::chunk::Chunk;

/// Chunks of one pack, so that its index fits in a message: 45 bytes each.
pub const BUNDLE_CHUNKS_MAX: usize = 32_768;

/// A pack that is named by the BLAKE3 of its index, which names each of its chunks.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub id: Digest,
    pub index: Bytes,
    /// The pack's bytes, header and footer included.
    pub parts: Vec<Bytes>,
    /// Bytes of all parts.
    pub size: u64,
    pub entries: Vec<Entry>,
}

/// Collects chunks into a bundle; it holds on to the buffers that they lie in.
#[derive(Debug)]
pub struct BundleBuilder {
    squeezer: Squeezer,
    parts: Vec<Bytes>,
    end: usize,
    entries: Vec<Entry>,
}

impl BundleBuilder {
    /// An empty one; fails only where zstd has no memory.
    pub fn new() -> io::Result<Self> {
        let squeezer = Squeezer::new()?;
        Ok(Self { squeezer, parts: vec![header().into()], end: HEADER_BYTES, entries: Vec::new() })
    }

    /// Adds a chunk unless the pack would grow too large; says whether it was added.
    pub fn push(&mut self, chunk: &Chunk) -> bool {
        let (encoding, stored) = self.squeezer.squeeze(&chunk.data);
        let tail = (self.entries.len() + 1) * ENTRY_BYTES + FOOTER_BYTES;
        let fits = (self.end + stored.len() + tail) as u64 <= PACK_BYTES_MAX;
        if !fits || self.entries.len() == BUNDLE_CHUNKS_MAX {
            return false;
        }
        let stored = match encoding {
            Encoding::Raw => chunk.data.clone(),
            Encoding::Zstd => Bytes::from(stored.into_owned()),
        };
        self.entries.push(Entry {
            id: chunk.id,
            offset: small(self.end),
            stored: small(stored.len()),
            raw: small(chunk.data.len()),
            encoding,
        });
        self.end += stored.len();
        self.parts.push(stored);
        true
    }

    /// Bytes of stored chunks so far.
    pub fn stored_bytes(&self) -> usize {
        self.end - HEADER_BYTES
    }

    /// Whether no chunk was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Closes it; the builder is empty again.
    pub fn finish(&mut self) -> Bundle {
        let entries = std::mem::take(&mut self.entries);
        let mut parts = std::mem::replace(&mut self.parts, vec![header().into()]);
        let index_at = std::mem::replace(&mut self.end, HEADER_BYTES);
        let index = Bytes::from(encode_index(&entries));
        parts.push(index.clone());
        parts.push(encode_footer(index_at, &index).into());
        let size = (index_at + index.len() + FOOTER_BYTES) as u64;
        Bundle { id: Digest::of(&index), index, parts, size, entries }
    }
}
