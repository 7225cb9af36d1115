//! Writing a segment.

use bytes::Bytes;

use super::{
    BLOCK_BYTES, BLOCK_BYTES_MAX, BLOCK_ENTRY_BYTES, END, FOOTER_BYTES, MAGIC, Record,
    SegmentError, VERSION,
};

/// The compression level: logs shrink several-fold, at far more than their production rate.
const LEVEL: i32 = 3;

/// Collects records into a segment, in the order of their offsets.
pub struct SegmentWriter {
    zstd: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
    index: Vec<u8>,
    blocks: u32,
    block: Vec<u8>,
    block_first: u64,
    block_at_ms: u64,
    block_lines: u32,
    from: u64,
    end: u64,
    lines: u64,
    last_at_ms: u64,
}

impl std::fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentWriter")
            .field("from", &self.from)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl SegmentWriter {
    /// A segment that begins at `from` of the worker's log.
    pub fn new(from: u64) -> Result<Self, SegmentError> {
        let zstd = zstd::bulk::Compressor::new(LEVEL).map_err(compress)?;
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        Ok(Self {
            zstd,
            out,
            index: Vec::new(),
            blocks: 0,
            block: Vec::new(),
            block_first: from,
            block_at_ms: 0,
            block_lines: 0,
            from,
            end: from,
            lines: 0,
            last_at_ms: 0,
        })
    }

    /// Appends the record that follows; one that covers nothing is passed over.
    pub fn push(&mut self, record: &Record) -> Result<(), SegmentError> {
        if record.offset != self.end {
            return Err(SegmentError::Gap { expected: self.end, got: record.offset });
        }
        if record.end() == record.offset {
            return Ok(());
        }
        // A worst-case head is 31 bytes; blocks stay below their limit with it.
        if record.data.len() > BLOCK_BYTES_MAX - 64 {
            return Err(SegmentError::TooLarge(record.data.len()));
        }
        if self.block.len() + record.data.len() + 64 > BLOCK_BYTES && !self.block.is_empty() {
            self.close_block()?;
        }
        if self.block.is_empty() {
            (self.block_first, self.block_at_ms) = (self.end, record.at_ms);
        }
        // Clocks go back at times: the difference to the block's beginning is signed.
        put_varint(&mut self.block, zigzag(record.at_ms, self.block_at_ms));
        self.block.push(u8::from(record.stderr) | (u8::from(record.cut_bytes > 0) << 1));
        if record.cut_bytes > 0 {
            put_varint(&mut self.block, record.cut_bytes);
        }
        put_varint(&mut self.block, record.data.len() as u64);
        self.block.extend_from_slice(&record.data);
        let lines = record.data.iter().filter(|&&byte| byte == b'\n').count();
        self.block_lines += u32::try_from(lines).expect("a record is far below 4 GiB");
        self.lines += lines as u64;
        self.last_at_ms = record.at_ms;
        self.end = record.end();
        Ok(())
    }

    /// The offset behind the last record.
    pub fn end(&self) -> u64 {
        self.end
    }
    /// Line ends so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }
    /// The last record's time.
    pub fn last_at_ms(&self) -> u64 {
        self.last_at_ms
    }

    /// The segment's bytes.
    pub fn finish(mut self) -> Result<Bytes, SegmentError> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        let index_pos = small(self.out.len());
        self.out.reserve_exact(self.index.len() + FOOTER_BYTES);
        self.out.extend_from_slice(&self.index);
        self.out.extend_from_slice(&self.end.to_le_bytes());
        for number in [index_pos, self.blocks, crc32c::crc32c(&self.index)] {
            self.out.extend_from_slice(&number.to_le_bytes());
        }
        self.out.extend_from_slice(&VERSION.to_le_bytes());
        self.out.extend_from_slice(END);
        Ok(self.out.into())
    }

    fn close_block(&mut self) -> Result<(), SegmentError> {
        let stored = self.zstd.compress(&self.block).map_err(compress)?;
        self.index.reserve(BLOCK_ENTRY_BYTES);
        for number in [self.block_first, self.block_at_ms] {
            self.index.extend_from_slice(&number.to_le_bytes());
        }
        let (pos, len, raw) = (small(self.out.len()), small(stored.len()), small(self.block.len()));
        for number in [pos, len, raw, self.block_lines, crc32c::crc32c(&stored)] {
            self.index.extend_from_slice(&number.to_le_bytes());
        }
        self.out.extend_from_slice(&stored);
        self.blocks += 1;
        self.block.clear();
        self.block_lines = 0;
        Ok(())
    }
}

fn compress(error: std::io::Error) -> SegmentError {
    SegmentError::Compress(error.to_string())
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("a segment is sealed at a few MiB")
}

fn zigzag(at: u64, base: u64) -> u64 {
    let delta = at.wrapping_sub(base).cast_signed();
    ((delta << 1) ^ (delta >> 63)).cast_unsigned()
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
