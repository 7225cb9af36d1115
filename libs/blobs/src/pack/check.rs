//! Checking a pack while it arrives, by an index that came before it.

use bytes::Bytes;
use runyard_types::Digest;

use super::builder::{encode_footer, header};
use super::index::parse_entries;
use super::{Encoding, Entry, FOOTER_BYTES, HEADER_BYTES, PACK_BYTES_MAX, PackError, open_stored};

/// What is checked so far. Every byte of a pack is covered: header, each chunk by its digest, index, footer.
#[derive(Debug)]
pub struct PackCheck {
    entries: Vec<Entry>,
    /// Index and footer, as they must come.
    tail: Vec<u8>,
    /// Bytes seen.
    at: usize,
    /// The entry that `at` lies in, if it lies in any.
    next: usize,
    /// Of an uncompressed chunk of which a part was seen.
    hasher: blake3::Hasher,
    /// Of a compressed chunk, what was seen.
    held: Vec<u8>,
}

impl PackCheck {
    /// Expects a pack of `size` bytes with this index.
    pub fn new(index: &[u8], size: u64) -> Result<Self, PackError> {
        let size = usize::try_from(size).ok().filter(|&size| size as u64 <= PACK_BYTES_MAX);
        let index_at = size
            .and_then(|size| size.checked_sub(index.len() + FOOTER_BYTES))
            .ok_or(PackError::Malformed("its size does not fit its index"))?;
        let entries = parse_entries(index, index_at)?;
        let mut end = HEADER_BYTES;
        for entry in &entries {
            if entry.offset as usize != end {
                return Err(PackError::Malformed("its chunks do not lie side by side"));
            }
            end += entry.stored as usize;
        }
        if end != index_at {
            return Err(PackError::Malformed("its size does not fit its index"));
        }
        let tail = [index, &encode_footer(index_at, index)].concat();
        let (hasher, held) = (blake3::Hasher::new(), Vec::new());
        Ok(Self { entries, tail, at: 0, next: 0, hasher, held })
    }

    /// The same, with nothing seen.
    #[must_use]
    pub fn anew(self) -> Self {
        let (hasher, held) = (blake3::Hasher::new(), Vec::new());
        Self { at: 0, next: 0, hasher, held, ..self }
    }

    /// Takes the bytes that follow. After an error nothing more is to be pushed.
    pub fn push(&mut self, mut data: &[u8]) -> Result<(), PackError> {
        while !data.is_empty() {
            let taken = match self.entries.get(self.next) {
                _ if self.at < HEADER_BYTES => expect(&header()[self.at..], data)?,
                Some(entry) => {
                    let entry = *entry;
                    self.chunk(&entry, data)?
                }
                None => {
                    let from = self.at - (self.index_at());
                    expect(&self.tail[from..], data)?
                }
            };
            self.at += taken;
            data = &data[taken..];
        }
        Ok(())
    }

    /// The entries, once all bytes were seen.
    pub fn finish(&self) -> Result<&[Entry], PackError> {
        if self.at != self.index_at() + self.tail.len() {
            return Err(PackError::Malformed("its end is missing"));
        }
        Ok(&self.entries)
    }

    fn index_at(&self) -> usize {
        self.entries.last().map_or(HEADER_BYTES, |entry| (entry.offset + entry.stored) as usize)
    }

    /// Takes what of `data` belongs to the chunk.
    fn chunk(&mut self, entry: &Entry, data: &[u8]) -> Result<usize, PackError> {
        let before = self.at - entry.offset as usize;
        let taken = data.len().min(entry.stored as usize - before);
        let (data, whole) = (&data[..taken], before + taken == entry.stored as usize);
        match entry.encoding {
            Encoding::Raw => {
                let id = if whole && before == 0 {
                    Some(Digest::of(data))
                } else {
                    self.hasher.update(data);
                    whole.then(|| Digest::from_bytes(*self.hasher.finalize().as_bytes()))
                };
                if id.is_some_and(|id| id != entry.id) {
                    let why = "its bytes do not have its digest";
                    return Err(PackError::Corrupt { chunk: entry.id, why });
                }
            }
            Encoding::Zstd => {
                self.held.extend_from_slice(data);
                if whole {
                    open_stored(entry, Bytes::from(std::mem::take(&mut self.held)))?;
                }
            }
        }
        if whole {
            self.hasher.reset();
            self.next += 1;
        }
        Ok(taken)
    }
}

/// How many bytes of `data` are as expected; all that can be compared must be.
fn expect(expected: &[u8], data: &[u8]) -> Result<usize, PackError> {
    let len = expected.len().min(data.len());
    if len == 0 {
        return Err(PackError::Malformed("something follows its end"));
    }
    if expected[..len] != data[..len] {
        return Err(PackError::Malformed("its header, index or footer is not as announced"));
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;
    use crate::pack::{Bundle, BundleBuilder, PackBuilder};
    use crate::testing::noise;

    fn chunks() -> Vec<Chunk> {
        vec![
            Chunk::new(noise(1, 300).into()),
            Chunk::new(vec![b'a'; 4_000].into()),
            Chunk::new(noise(2, 70_000).into()),
        ]
    }

    fn bundle(chunks: &[Chunk]) -> (Bundle, Vec<u8>) {
        let mut builder = BundleBuilder::new().expect("zstd has memory");
        assert!(chunks.iter().all(|chunk| builder.push(chunk)));
        let bundle = builder.finish();
        assert!(builder.is_empty());
        let bytes = bundle.parts.concat();
        assert_eq!(bytes.len() as u64, bundle.size);
        (bundle, bytes)
    }

    fn check(index: &[u8], bytes: &[u8], piece: usize) -> Result<usize, PackError> {
        let mut check = PackCheck::new(index, bytes.len() as u64)?;
        for data in bytes.chunks(piece) {
            check.push(data)?;
        }
        check.finish().map(<[Entry]>::len)
    }

    #[test]
    fn a_bundle_has_the_bytes_of_a_pack_and_passes_in_pieces_of_any_size() {
        let (bundle, bytes) = bundle(&chunks());
        let mut builder = PackBuilder::new().expect("zstd has memory");
        assert!(chunks().iter().all(|chunk| builder.push(chunk)));
        let pack = builder.finish();
        assert_eq!(pack.bytes, bytes);
        assert_eq!(pack.entries, bundle.entries);
        assert_eq!(bundle.entries[1].encoding, Encoding::Zstd);
        for piece in [1, 7, 300, 4_096, 1 << 20] {
            assert_eq!(check(&bundle.index, &bytes, piece).expect("passes"), 3, "{piece}");
        }
    }

    #[test]
    fn f41_no_flipped_byte_and_no_cut_passes() {
        let (bundle, bytes) = bundle(&chunks()[..2]);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            // A bit of a zstd frame that no decoder looks at gives the same chunk.
            let stored = bundle.entries[1];
            let inside = (stored.offset..stored.offset + stored.stored).contains(&(at as u32));
            assert!(inside || check(&bundle.index, &bad, 64).is_err(), "byte {at}");
            let mut cut = PackCheck::new(&bundle.index, bundle.size).expect("a good index");
            cut.push(&bytes[..at]).expect("good so far");
            assert!(cut.finish().is_err(), "cut at {at}");
        }
        let mut long = PackCheck::new(&bundle.index, bundle.size).expect("a good index");
        long.push(&bytes).expect("good");
        assert!(long.push(b"x").is_err());
    }

    #[test]
    fn a37_an_index_that_does_not_fit_is_refused_at_once() {
        let (bundle, bytes) = bundle(&chunks());
        assert!(PackCheck::new(&bundle.index[1..], bundle.size).is_err());
        assert!(PackCheck::new(&bundle.index, bundle.size + 1).is_err());
        assert!(PackCheck::new(&bundle.index, 3).is_err());
        assert!(PackCheck::new(&bundle.index, u64::MAX).is_err());
        // Chunks in another order than they lie.
        let (first, rest) = bundle.index.split_at(super::super::ENTRY_BYTES);
        assert!(PackCheck::new(&[rest, first].concat(), bytes.len() as u64).is_err());
    }
}
