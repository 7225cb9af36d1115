//! Chunks: runs of bytes named by their BLAKE3 digest, cut where the content says so.
//!
//! A file of up to [`WHOLE_BYTES_MAX`] is one chunk. A larger one is cut by FastCDC, whose borders move
//! with the content: an insertion changes the chunks around it, not all that follow.

use std::io::{self, Read};

use bytes::Bytes;
use fastcdc::v2020::FastCDC;
use runyard_types::Digest;

use crate::blocks::BlockPool;

/// Files up to this size are one chunk.
pub const WHOLE_BYTES_MAX: usize = 256 << 10;
/// The least, the average and the most bytes of a chunk of a larger file.
pub const CUT_BYTES: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];
/// The largest chunk that any part accepts: file chunks stay far below, a sealed segment may be one.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;

/// Bytes are read and cut in blocks of this size; a chunk is a slice of its block, not a copy.
pub(crate) const BLOCK_BYTES: usize = 2 << 20;

/// The name and length of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    pub id: Digest,
    /// Bytes, never zero.
    pub len: u32,
}

/// A chunk with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub id: Digest,
    pub data: Bytes,
}

impl Chunk {
    /// Names `data`.
    pub fn new(data: Bytes) -> Self {
        Self { id: Digest::of(&data), data }
    }
    /// The chunk's name and length.
    pub fn reference(&self) -> ChunkRef {
        let len = u32::try_from(self.data.len()).expect("a chunk is at most CHUNK_BYTES_MAX long");
        ChunkRef { id: self.id, len }
    }
}

/// Cuts a stream into chunks, in order; memory stays within two blocks.
pub struct Chunker<R> {
    source: R,
    pool: BlockPool,
    block: Bytes,
    at: usize,
    read_bytes: u64,
    first: bool,
    ended: bool,
}

impl<R> std::fmt::Debug for Chunker<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunker").field("read_bytes", &self.read_bytes).finish_non_exhaustive()
    }
}

impl<R: Read> Chunker<R> {
    /// A chunker of `source`; `size_hint` (bytes) only sizes the first buffer.
    pub fn new(source: R, size_hint: u64) -> io::Result<Self> {
        Self::with_pool(source, size_hint, BlockPool::new(BLOCK_BYTES, 0))
    }

    /// The same, with blocks of a pool that several chunkers share.
    pub(crate) fn with_pool(source: R, size_hint: u64, pool: BlockPool) -> io::Result<Self> {
        let block = Bytes::new();
        let mut this =
            Self { source, pool, block, at: 0, read_bytes: 0, first: true, ended: false };
        // One byte more than expected, so that the end of the stream is seen by the first read.
        let room = usize::try_from(size_hint).unwrap_or(BLOCK_BYTES).saturating_add(1);
        this.refill(room.clamp(4 << 10, BLOCK_BYTES))?;
        Ok(this)
    }

    /// Bytes taken from the source so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The next chunk, or `None` at the end.
    pub fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        if !self.ended && self.block.len() - self.at < CUT_BYTES[2] {
            self.refill(BLOCK_BYTES)?;
        }
        let rest = self.block.len() - self.at;
        if rest == 0 {
            return Ok(None);
        }
        let whole = self.first && self.ended && rest <= WHOLE_BYTES_MAX;
        let end = if whole { self.block.len() } else { self.cut(rest) };
        self.first = false;
        let data = self.block.slice(self.at..end);
        self.at = end;
        Ok(Some(Chunk::new(data)))
    }

    fn cut(&self, rest: usize) -> usize {
        let [min, average, max] = CUT_BYTES;
        FastCDC::new(&self.block, min, average, max).cut(self.at, rest).1
    }

    /// Carries what is not cut yet into a new block and fills that from the source.
    fn refill(&mut self, room: usize) -> io::Result<()> {
        let rest = &self.block[self.at..];
        let mut block = self.pool.take(room.max(rest.len() + 1));
        block.extend_from_slice(rest);
        let wanted = block.capacity() - block.len();
        let got = (&mut self.source).take(wanted as u64).read_to_end(&mut block)?;
        self.read_bytes += got as u64;
        self.ended = got < wanted;
        self.block = self.pool.share(block);
        self.at = 0;
        Ok(())
    }
}

/// Cuts bytes that are in memory already.
pub fn cut_bytes(data: Bytes) -> Vec<Chunk> {
    if data.is_empty() {
        return Vec::new();
    }
    if data.len() <= WHOLE_BYTES_MAX {
        return vec![Chunk::new(data)];
    }
    let [min, average, max] = CUT_BYTES;
    FastCDC::new(&data, min, average, max)
        .map(|cut| Chunk::new(data.slice(cut.offset..cut.offset + cut.length)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::noise;

    fn cut_stream(data: &[u8], hint: u64) -> Vec<Chunk> {
        let mut chunker = Chunker::new(data, hint).expect("memory can be read");
        let mut chunks = Vec::new();
        while let Some(chunk) = chunker.next_chunk().expect("memory can be read") {
            chunks.push(chunk);
        }
        assert_eq!(chunker.read_bytes(), data.len() as u64);
        chunks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_stream_is_cut_like_memory_whatever_the_hint(
            len in prop_oneof![0usize..2_000, 200_000usize..300_000, 1_900_000usize..5_000_000],
            hint in prop_oneof![Just(0u64), 1u64..10_000_000],
            seed: u64,
        ) {
            let data = noise(seed, len);
            let chunks = cut_stream(&data, hint);
            prop_assert_eq!(&chunks, &cut_bytes(data.clone().into()));
            let joined: Vec<u8> = chunks.iter().flat_map(|c| c.data.to_vec()).collect();
            prop_assert_eq!(joined, data);
        }
    }

    #[test]
    fn a_block_is_read_into_again_only_when_no_chunk_of_it_is_held() {
        let (first, second) = (noise(1, 3 * BLOCK_BYTES), noise(2, 3 * BLOCK_BYTES));
        let pool = BlockPool::new(BLOCK_BYTES, 9);
        let cut = |data: &[u8]| {
            let mut chunker =
                Chunker::with_pool(data, data.len() as u64, pool.clone()).expect("reads");
            std::iter::from_fn(|| chunker.next_chunk().expect("reads")).collect::<Vec<Chunk>>()
        };
        let held = cut(&first);
        assert_eq!(pool.free(), 0, "all of it is held");
        let other = cut(&second);
        assert_eq!(held, cut_bytes(first.into()));
        drop(held);
        assert!(pool.free() >= 3, "{} blocks came back", pool.free());
        assert_eq!(other, cut_bytes(second.clone().into()));
        drop(other);
        assert_eq!(cut(&second), cut_bytes(second.into()));
    }

    #[test]
    fn sizes_stay_within_their_limits() {
        let chunks = cut_stream(&noise(7, 20 << 20), 0);
        let (last, others) = chunks.split_last().expect("there are chunks");
        assert!(others.iter().all(|c| (CUT_BYTES[0]..=CUT_BYTES[2]).contains(&c.data.len())));
        assert!(last.data.len() <= CUT_BYTES[2]);
        let average = (20 << 20) / chunks.len();
        assert!((48 << 10..112 << 10).contains(&average), "average {average}");
    }

    #[test]
    fn one_percent_rewritten_costs_few_chunks() {
        // The shape of the peers' measurement: 64 KiB runs rewritten at random places, 1 % of the bytes.
        let mut data = noise(1, 64 << 20);
        let before: std::collections::BTreeSet<_> =
            cut_bytes(data.clone().into()).iter().map(|c| c.id).collect();
        for run in 0..10_u64 {
            let at = (run * 6_700_417) as usize % (data.len() - (64 << 10));
            data[at..at + (64 << 10)].copy_from_slice(&noise(100 + run, 64 << 10));
        }
        let again: usize = cut_bytes(data.into())
            .iter()
            .filter(|c| !before.contains(&c.id))
            .map(|c| c.data.len())
            .sum();
        assert!(again < 3 * 10 * (64 << 10), "{again} bytes are stored again for {}", 640 << 10);
    }

    #[test]
    fn an_insertion_at_the_front_moves_no_later_border() {
        let data = noise(3, 8 << 20);
        let before: std::collections::BTreeSet<_> =
            cut_bytes(data.clone().into()).iter().map(|c| c.id).collect();
        let shifted: Vec<u8> = [b"x".as_slice(), &data].concat();
        let fresh = cut_bytes(shifted.into()).iter().filter(|c| !before.contains(&c.id)).count();
        assert!(fresh <= 4, "{fresh} chunks changed");
    }
}
