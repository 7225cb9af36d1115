//! Reading a segment, from any offset.

use bytes::{Buf as _, Bytes};

use super::{
    BLOCK_BYTES_MAX, BLOCK_ENTRY_BYTES, END, FOOTER_BYTES, HEADER_BYTES, MAGIC, Record,
    SegmentError, VERSION,
};

/// A segment whose index was checked; its blocks are checked as they are read.
#[derive(Debug, Clone)]
pub struct Segment {
    bytes: Bytes,
    blocks: Vec<Block>,
    end: u64,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    first: u64,
    at_ms: u64,
    pos: usize,
    stored: usize,
    raw: usize,
    lines: u32,
    crc: u32,
}

impl Segment {
    /// Reads the index.
    pub fn open(bytes: Bytes) -> Result<Self, SegmentError> {
        use SegmentError::Malformed;
        if bytes.len() < HEADER_BYTES + FOOTER_BYTES || !bytes.starts_with(MAGIC) {
            return Err(Malformed("it does not begin like one"));
        }
        check_version(&bytes[6..8])?;
        let footer_at = bytes.len() - FOOTER_BYTES;
        let mut footer = bytes.slice(footer_at..);
        let end = footer.get_u64_le();
        let (index_pos, count) = (footer.get_u32_le() as usize, footer.get_u32_le() as usize);
        let crc = footer.get_u32_le();
        check_version(&footer.split_to(2))?;
        if footer != END.as_slice() {
            return Err(Malformed("its end is missing"));
        }
        let index_end = count.checked_mul(BLOCK_ENTRY_BYTES).and_then(|n| n.checked_add(index_pos));
        if index_pos < HEADER_BYTES || index_end != Some(footer_at) {
            return Err(Malformed("its index lies outside it"));
        }
        let index = bytes.slice(index_pos..footer_at);
        // The checksum covers the index; the end is checked against the last block when that is read.
        if crc32c::crc32c(&index) != crc {
            return Err(Malformed("its index is damaged"));
        }
        let blocks = parse_blocks(index, index_pos)?;
        if blocks.last().is_some_and(|last| last.first > end) {
            return Err(Malformed("its offsets go back"));
        }
        Ok(Self { bytes, blocks, end })
    }

    /// The first offset, or the end of an empty segment.
    pub fn from(&self) -> u64 {
        self.blocks.first().map_or(self.end, |block| block.first)
    }
    /// The offset behind the last record.
    pub fn end(&self) -> u64 {
        self.end
    }
    /// Line ends in the segment.
    pub fn lines(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.lines)).sum()
    }

    /// The records from `offset` on. A record that `offset` cuts is answered from there.
    pub fn records_from(&self, offset: u64) -> Records<'_> {
        let block = self.blocks.partition_point(|block| block.first <= offset).saturating_sub(1);
        self.records(block, offset)
    }

    /// The records from the block on in which the first record at or after `at_ms` can lie; some may be
    /// older.
    pub fn records_since(&self, at_ms: u64) -> Records<'_> {
        let block = self.blocks.partition_point(|block| block.at_ms < at_ms).saturating_sub(1);
        self.records(block, 0)
    }

    /// The offset of the block from which at least `lines` line ends remain: where a tail begins to look.
    pub fn tail_offset(&self, lines: u64) -> u64 {
        let mut seen = 0;
        for block in self.blocks.iter().rev() {
            seen += u64::from(block.lines);
            if seen > lines {
                return block.first;
            }
        }
        self.from()
    }

    fn records(&self, block: usize, from: u64) -> Records<'_> {
        let at = self.blocks.get(block).map_or(self.end, |block| block.first);
        Records { segment: self, block, open: Bytes::new(), base_ms: 0, at, from }
    }

    fn open_block(&self, block: &Block) -> Result<Bytes, SegmentError> {
        let stored = &self.bytes[block.pos..block.pos + block.stored];
        if crc32c::crc32c(stored) != block.crc {
            return Err(SegmentError::Malformed("a block is damaged"));
        }
        let raw = zstd::bulk::decompress(stored, block.raw)
            .map_err(|_| SegmentError::Malformed("a block does not decompress"))?;
        if raw.len() != block.raw {
            return Err(SegmentError::Malformed("a block has another length"));
        }
        Ok(raw.into())
    }
}

fn check_version(bytes: &[u8]) -> Result<(), SegmentError> {
    match *bytes {
        [low, high] if u16::from_le_bytes([low, high]) == VERSION => Ok(()),
        [low, high] => Err(SegmentError::Version(u16::from_le_bytes([low, high]))),
        _ => Err(SegmentError::Malformed("it has no version")),
    }
}

fn parse_blocks(mut index: Bytes, data_end: usize) -> Result<Vec<Block>, SegmentError> {
    let mut blocks: Vec<Block> = Vec::new();
    while !index.is_empty() {
        let (first, at_ms) = (index.get_u64_le(), index.get_u64_le());
        let (pos, stored) = (index.get_u32_le() as usize, index.get_u32_le() as usize);
        let (raw, lines) = (index.get_u32_le() as usize, index.get_u32_le());
        let crc = index.get_u32_le();
        if pos < HEADER_BYTES || pos + stored > data_end || raw > BLOCK_BYTES_MAX {
            return Err(SegmentError::Malformed("a block lies outside it"));
        }
        if blocks.last().is_some_and(|last| last.first > first) {
            return Err(SegmentError::Malformed("its offsets go back"));
        }
        blocks.push(Block { first, at_ms, pos, stored, raw, lines, crc });
    }
    Ok(blocks)
}

/// The records of a segment, in order; ends after an error.
#[derive(Debug)]
pub struct Records<'a> {
    segment: &'a Segment,
    /// The block to open next.
    block: usize,
    open: Bytes,
    base_ms: u64,
    at: u64,
    from: u64,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Some(record)) if record.end() <= self.from => {}
                Ok(record) => return record.map(|record| Ok(trim(record, self.from))),
                Err(error) => {
                    (self.open, self.block) = (Bytes::new(), usize::MAX);
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Records<'_> {
    fn step(&mut self) -> Result<Option<Record>, SegmentError> {
        while self.open.is_empty() {
            let Some(block) = self.segment.blocks.get(self.block) else {
                let whole = self.block == usize::MAX || self.at == self.segment.end;
                return if whole { Ok(None) } else { Err(SegmentError::Malformed(ENDS)) };
            };
            if self.at != block.first {
                return Err(SegmentError::Malformed("a block does not follow the one before it"));
            }
            self.open = self.segment.open_block(block)?;
            (self.base_ms, self.block) = (block.at_ms, self.block + 1);
        }
        let at_ms = unzigzag(get_varint(&mut self.open)?, self.base_ms);
        let flags = self.open.try_get_u8().map_err(|_| SHORT)?;
        let cut_bytes = if flags & 2 == 0 { 0 } else { get_varint(&mut self.open)? };
        let len = usize::try_from(get_varint(&mut self.open)?).map_err(|_| SHORT)?;
        if len > self.open.len() {
            return Err(SHORT);
        }
        let data = self.open.split_to(len);
        let record = Record { offset: self.at, at_ms, stderr: flags & 1 == 1, data, cut_bytes };
        self.at = record.end();
        Ok(Some(record))
    }
}

const SHORT: SegmentError = SegmentError::Malformed("a record is cut short");
const ENDS: &str = "its records do not reach its end";

/// Drops what of a record lies before `from`.
fn trim(mut record: Record, from: u64) -> Record {
    if record.offset >= from {
        return record;
    }
    let before = from - record.offset;
    let data = usize::try_from(before).unwrap_or(usize::MAX).min(record.data.len());
    record.data.advance(data);
    record.cut_bytes -= before - data as u64;
    record.offset = from;
    record
}

fn unzigzag(number: u64, base: u64) -> u64 {
    let delta = (number >> 1).cast_signed() ^ -((number & 1).cast_signed());
    base.wrapping_add(delta.cast_unsigned())
}

fn get_varint(bytes: &mut Bytes) -> Result<u64, SegmentError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().map_err(|_| SHORT)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(SHORT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::SegmentWriter;

    fn segment(from: u64, records: &[Record]) -> Bytes {
        let mut writer = SegmentWriter::new(from).expect("zstd has memory");
        records.iter().for_each(|record| writer.push(record).expect("in order"));
        writer.finish().expect("compresses")
    }

    fn records(from: u64, parts: &[(Vec<u8>, u64, bool, u64)]) -> Vec<Record> {
        let mut offset = from;
        parts
            .iter()
            .map(|(data, at_ms, stderr, cut_bytes)| {
                let data = Bytes::copy_from_slice(data);
                let (at_ms, stderr, cut_bytes) = (*at_ms, *stderr, *cut_bytes);
                let record = Record { offset, at_ms, stderr, data, cut_bytes };
                offset = record.end();
                record
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn records_come_back_from_any_offset(
            from in 0u64..1 << 40,
            parts in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..9_000), any::<u64>(), any::<bool>(), prop_oneof![3 => Just(0u64), 1 => 1u64..99_999]),
                0..120),
            cut in 0.0f64..1.1,
        ) {
            let all = records(from, &parts);
            let sealed = Segment::open(segment(from, &all)).expect("opens");
            let read: Result<Vec<Record>, _> = sealed.records_from(0).collect();
            prop_assert_eq!(read.expect("reads"), all.iter().filter(|r| r.end() > r.offset).cloned().collect::<Vec<_>>());
            let at = from + ((sealed.end() - from) as f64 * cut) as u64;
            let mut next = at.min(sealed.end());
            for record in sealed.records_from(at) {
                let record = record.expect("reads");
                prop_assert_eq!(record.offset, next);
                let whole = all.iter().find(|r| r.offset <= record.offset && record.offset < r.end()).expect("is one of them");
                prop_assert_eq!(record.end(), whole.end());
                prop_assert!(whole.data.ends_with(&record.data));
                next = record.end();
            }
            prop_assert_eq!(next, sealed.end());
        }

        #[test]
        fn a37_no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            if bytes.len() > 20 { bytes[..6].copy_from_slice(MAGIC); bytes[6..8].copy_from_slice(&[1, 0]); }
            if let Ok(segment) = Segment::open(bytes.into()) { segment.records_from(0).for_each(drop); }
        }
    }

    #[test]
    fn f41_flipped_bits_give_no_other_records() {
        let all = records(5, &[(b"one\n".to_vec(), 10, false, 0), (b"two\n".to_vec(), 9, true, 7)]);
        let good = segment(5, &all);
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = Segment::open(bad.into())
                .and_then(|segment| segment.records_from(0).collect::<Result<Vec<_>, _>>());
            assert!(read.is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn a_gap_is_refused_and_a_tail_is_found() {
        let mut writer = SegmentWriter::new(3).expect("zstd has memory");
        let record = |offset, data: &'static [u8]| Record {
            offset,
            at_ms: 1,
            stderr: false,
            data: Bytes::from_static(data),
            cut_bytes: 0,
        };
        assert_eq!(writer.push(&record(4, b"x")), Err(SegmentError::Gap { expected: 3, got: 4 }));
        for n in 0..20_000 {
            writer
                .push(&record(3 + n * 40, b"a line of forty bytes, with its newline\n"))
                .expect("ok");
        }
        assert_eq!(writer.lines(), 20_000);
        let segment = Segment::open(writer.finish().expect("ok")).expect("opens");
        assert_eq!((segment.from(), segment.lines()), (3, 20_000));
        let tail = segment.tail_offset(10);
        assert!(tail > segment.end() - (600 << 10) && tail < segment.end() - 400);
        assert_eq!(segment.tail_offset(1 << 40), 3);
    }
}
