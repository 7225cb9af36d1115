//! Building a pack in memory.

use std::io;

use bytes::Bytes;

use super::{
    END, ENTRY_BYTES, Entry, FOOTER_BYTES, HEADER_BYTES, MAGIC, PACK_BYTES_MAX, PackId, Squeezer,
    VERSION,
};
use crate::chunk::Chunk;

/// A finished pack.
#[derive(Debug, Clone)]
pub struct Pack {
    pub id: PackId,
    pub bytes: Bytes,
    pub entries: Vec<Entry>,
}

/// Collects chunks into a pack.
#[derive(Debug)]
pub struct PackBuilder {
    squeezer: Squeezer,
    out: Vec<u8>,
    entries: Vec<Entry>,
}

impl PackBuilder {
    /// An empty pack; fails only where zstd has no memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self { squeezer: Squeezer::new()?, out: header(), entries: Vec::new() })
    }

    /// Adds a chunk unless the pack would grow beyond [`PACK_BYTES_MAX`]; says whether it was added.
    ///
    /// The same chunk added twice lies in the pack twice: the caller knows what it has sent.
    pub fn push(&mut self, chunk: &Chunk) -> bool {
        let (encoding, stored) = self.squeezer.squeeze(&chunk.data);
        let tail = (self.entries.len() + 1) * ENTRY_BYTES + FOOTER_BYTES;
        if (self.out.len() + stored.len() + tail) as u64 > PACK_BYTES_MAX {
            return false;
        }
        self.entries.push(Entry {
            id: chunk.id,
            offset: small(self.out.len()),
            stored: small(stored.len()),
            raw: small(chunk.data.len()),
            encoding,
        });
        self.out.extend_from_slice(&stored);
        true
    }

    /// Bytes of stored chunks so far.
    pub fn stored_bytes(&self) -> usize {
        self.out.len() - HEADER_BYTES
    }

    /// Whether no chunk was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Closes the pack; the builder is empty again.
    pub fn finish(&mut self) -> Pack {
        let mut out = std::mem::replace(&mut self.out, header());
        let entries = std::mem::take(&mut self.entries);
        let index = encode_index(&entries);
        let footer = encode_footer(out.len(), &index);
        out.reserve_exact(index.len() + FOOTER_BYTES);
        out.extend_from_slice(&index);
        out.extend_from_slice(&footer);
        Pack { id: PackId::of(&out), bytes: out.into(), entries }
    }
}

pub(super) fn encode_index(entries: &[Entry]) -> Vec<u8> {
    let mut index = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        entry.write(&mut index);
    }
    index
}

/// The footer behind `index`, which begins at `index_at`.
pub(super) fn encode_footer(index_at: usize, index: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FOOTER_BYTES);
    let count = index.len() / ENTRY_BYTES;
    for number in [small(index_at), small(count), crc32c::crc32c(index)] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(END);
    out
}

pub(super) fn header() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out
}

pub(super) fn small(number: usize) -> u32 {
    u32::try_from(number).expect("packs and chunks are far below 4 GiB")
}
