//! Buffers that are read into again once nobody holds a slice of them.
//!
//! Fresh memory costs more than reading into it does: the kernel finds and clears each page.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// A pool of blocks of one size, shared by its clones.
#[derive(Debug, Clone)]
pub(crate) struct BlockPool {
    size: usize,
    /// Blocks kept for the next reading at most.
    keep: usize,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A block that goes back to its pool.
struct Block {
    bytes: Vec<u8>,
    pool: BlockPool,
}

impl BlockPool {
    /// An empty pool of blocks of `size` bytes, which keeps `keep` of them.
    pub(crate) fn new(size: usize, keep: usize) -> Self {
        Self { size, keep, free: Arc::default() }
    }

    /// An empty buffer with room for `room` bytes: a block, unless a block were far too much or too little.
    pub(crate) fn take(&self, room: usize) -> Vec<u8> {
        if room > self.size || room <= self.size / 2 {
            return Vec::with_capacity(room);
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| Vec::with_capacity(self.size))
    }

    /// The bytes of a filled buffer; a block comes back when the last slice of it is dropped.
    pub(crate) fn share(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.capacity() != self.size {
            return bytes.into();
        }
        Bytes::from_owner(Block { bytes, pool: self.clone() })
    }

    /// Blocks that nobody holds.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.free.lock().expect("nobody panicked").len()
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.pool.keep {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_with_its_last_slice_and_small_ones_are_none_of_ours() {
        let pool = BlockPool::new(4_096, 16);
        let mut block = pool.take(4_000);
        block.extend_from_slice(b"hello world");
        let bytes = pool.share(block);
        let slice = bytes.slice(6..);
        drop(bytes);
        assert_eq!((&slice[..], pool.free()), (&b"world"[..], 0));
        drop(slice);
        assert_eq!(pool.free(), 1);
        let again = pool.take(4_096);
        assert!(again.is_empty() && again.capacity() == 4_096 && pool.free() == 0);
        drop(pool.share(pool.take(10)));
        drop(pool.share(pool.take(9_000)));
        assert_eq!(pool.free(), 0);
        let many: Vec<Bytes> = (0..40).map(|_| pool.share(pool.take(4_096))).collect();
        drop(many);
        assert_eq!(pool.free(), 16);
    }
}
