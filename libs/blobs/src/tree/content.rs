//! The bytes of one file or large node: a chunk, or a list of chunks, or a list of lists.

use bytes::Bytes;
use runyard_types::Digest;

use super::TreeError;
use crate::chunk::{Chunk, ChunkRef};

/// Chunks that one list names.
pub const FAN_OUT: usize = 4_096;
const REF_BYTES: usize = 36;
/// A list of lists reaches a tebibyte of average chunks; nothing deeper is accepted.
pub(super) const DEPTH_MAX: u8 = 2;

/// Where bytes are: at `depth` 0 `id` names their one chunk, at 1 a list of chunks, at 2 a list of lists.
/// Empty content is depth 0 with the digest of nothing; no chunk is stored for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    /// Bytes in all.
    pub size: u64,
    pub depth: u8,
    pub id: Digest,
}

impl Content {
    /// The content made of `parts` in order; list chunks that it needs are appended to `lists`.
    pub fn of(parts: &[ChunkRef], lists: &mut Vec<Chunk>) -> Result<Self, TreeError> {
        let size = parts.iter().map(|part| u64::from(part.len)).sum();
        match parts {
            [] => Ok(Self { size: 0, depth: 0, id: Digest::of(&[]) }),
            [one] => Ok(Self { size, depth: 0, id: one.id }),
            _ if parts.len() <= FAN_OUT => {
                let list = encode_list(parts);
                let id = list.id;
                lists.push(list);
                Ok(Self { size, depth: 1, id })
            }
            _ if parts.len() <= FAN_OUT * FAN_OUT => {
                let inner: Vec<Chunk> = parts.chunks(FAN_OUT).map(encode_list).collect();
                let refs: Vec<ChunkRef> = inner.iter().map(Chunk::reference).collect();
                lists.extend(inner);
                let outer = encode_list(&refs);
                let id = outer.id;
                lists.push(outer);
                Ok(Self { size, depth: 2, id })
            }
            _ => {
                let limit = (FAN_OUT * FAN_OUT) as u64;
                Err(TreeError::TooLarge { what: "chunks in one file", limit })
            }
        }
    }
}

/// The canonical bytes of a list of chunks: digest and length of each.
pub(crate) fn encode_list(parts: &[ChunkRef]) -> Chunk {
    let mut out = Vec::with_capacity(parts.len() * REF_BYTES);
    for part in parts {
        out.extend_from_slice(part.id.as_bytes());
        out.extend_from_slice(&part.len.to_le_bytes());
    }
    Chunk::new(out.into())
}

/// Reads a list; no length in it is zero.
pub(crate) fn decode_list(bytes: &Bytes) -> Result<Vec<ChunkRef>, &'static str> {
    let (entries, []) = bytes.as_chunks::<REF_BYTES>() else {
        return Err("a chunk list has an odd length");
    };
    entries
        .iter()
        .map(|entry| {
            let (id, len) = entry.split_at(32);
            let id = Digest::from_slice(id).expect("32 bytes were split off");
            let len = u32::from_le_bytes(len.try_into().expect("four bytes are left"));
            if len == 0 {
                Err("a chunk list names an empty chunk")
            } else {
                Ok(ChunkRef { id, len })
            }
        })
        .collect()
}

/// The bytes of a list, for caches.
pub(crate) fn encode_refs(parts: &[ChunkRef]) -> Bytes {
    encode_list(parts).data
}

/// Reads what [`encode_refs`] wrote.
pub(crate) fn decode_refs(bytes: &Bytes) -> Option<Vec<ChunkRef>> {
    decode_list(bytes).ok()
}
