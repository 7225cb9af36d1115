//! One chunk inside a pack: where it lies, how it is stored, and how it is opened again.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;
use runyard_types::Digest;

use super::{ENTRY_BYTES, PackError};
use crate::chunk::CHUNK_BYTES_MAX;

/// How a chunk's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Raw,
    Zstd,
}

/// The index entry of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub id: Digest,
    /// Where the stored bytes begin in the file.
    pub offset: u32,
    /// Bytes as stored.
    pub stored: u32,
    /// Bytes of the chunk itself.
    pub raw: u32,
    pub encoding: Encoding,
}

impl Entry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        for number in [self.offset, self.stored, self.raw] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(match self.encoding {
            Encoding::Raw => 0,
            Encoding::Zstd => 1,
        });
    }

    pub(super) fn read(bytes: &[u8; ENTRY_BYTES]) -> Result<Self, PackError> {
        let number = |at: usize| {
            u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were taken"))
        };
        let id = Digest::from_slice(&bytes[..32]).expect("32 bytes were taken");
        let (offset, stored, raw) = (number(32), number(36), number(40));
        let encoding = match bytes[44] {
            0 if stored == raw => Encoding::Raw,
            1 => Encoding::Zstd,
            _ => return Err(PackError::Malformed("an entry has an unknown encoding")),
        };
        if raw == 0 || stored == 0 || raw as usize > CHUNK_BYTES_MAX {
            return Err(PackError::Malformed("an entry has an impossible length"));
        }
        Ok(Self { id, offset, stored, raw, encoding })
    }
}

/// Turns stored bytes into the chunk and checks its digest.
pub fn open_stored(entry: &Entry, stored: Bytes) -> Result<Bytes, PackError> {
    let corrupt = |why| PackError::Corrupt { chunk: entry.id, why };
    if stored.len() != entry.stored as usize {
        return Err(corrupt("its stored bytes are cut short"));
    }
    let data = match entry.encoding {
        Encoding::Raw => stored,
        Encoding::Zstd => zstd::bulk::decompress(&stored, entry.raw as usize)
            .map_err(|_| corrupt("it does not decompress"))?
            .into(),
    };
    if data.len() != entry.raw as usize || Digest::of(&data) != entry.id {
        return Err(corrupt("its bytes do not have its digest"));
    }
    Ok(data)
}

/// Compresses where that pays.
pub(crate) struct Squeezer(zstd::bulk::Compressor<'static>);

impl std::fmt::Debug for Squeezer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Squeezer")
    }
}

impl Squeezer {
    const LEVEL: i32 = 1;
    /// A chunk from this size on is judged by a sample of its middle first.
    const PROBED_BYTES: usize = 32 << 10;
    const SAMPLE_BYTES: usize = 4 << 10;

    pub(crate) fn new() -> io::Result<Self> {
        zstd::bulk::Compressor::new(Self::LEVEL).map(Self)
    }

    /// The bytes to store: compressed if that saves at least a sixteenth.
    pub(crate) fn squeeze<'a>(&mut self, data: &'a [u8]) -> (Encoding, Cow<'a, [u8]>) {
        let raw = (Encoding::Raw, Cow::Borrowed(data));
        if data.len() < 128 {
            return raw;
        }
        if data.len() >= Self::PROBED_BYTES {
            let at = data.len() / 2;
            if self.gain(&data[at..at + Self::SAMPLE_BYTES]).is_none() {
                return raw;
            }
        }
        match self.gain(data) {
            Some(smaller) => (Encoding::Zstd, Cow::Owned(smaller)),
            None => raw,
        }
    }

    fn gain(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let out = self.0.compress(data).ok()?;
        (out.len() <= data.len() - data.len() / 16).then_some(out)
    }
}
