//! Segment files: their names, their header, and the reserve.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    codec::{Reader, put_u32, put_u64},
    sector::{self, Marker, SECTOR},
};
use crate::{
    disk::Disk,
    ids::{GroupId, PeerId},
};

/// Raised when older binaries could not read what this one writes.
pub(crate) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"RUNYDLOG";
const RESERVE: &str = "reserve.log";
const RESERVE_TEMP: &str = "reserve.tmp";

/// The first sector of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) group: GroupId,
    pub(crate) peer: PeerId,
    /// 1 for the first segment of the log, then one more each time.
    pub(crate) sequence: u64,
    /// The file's size.
    pub(crate) bytes: u64,
    /// The checksum of the last record before this segment.
    pub(crate) previous_crc: u32,
    /// The sequence of the first record in it.
    pub(crate) first_record: u64,
}

/// Why a segment's first sector is not a header to go by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Damaged(&'static str),
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_u32(&mut out, FORMAT);
        out.extend_from_slice(&self.group.0.to_le_bytes());
        put_u64(&mut out, self.peer.0);
        put_u64(&mut out, self.sequence);
        put_u64(&mut out, self.bytes);
        put_u32(&mut out, self.previous_crc);
        put_u64(&mut out, self.first_record);
        let crc = crc32c::crc32c(&out);
        put_u32(&mut out, crc);
        sector::pack_header(&out)
    }

    pub(crate) fn decode(first: &[u8]) -> Result<Self, BadHeader> {
        let damaged = BadHeader::Damaged;
        if first.len() != SECTOR || Marker::of(first) != Marker::Header {
            return Err(damaged("its first sector is not a segment's header"));
        }
        let mut from = Reader::new(first);
        if from.take(MAGIC.len()) != Ok(MAGIC) {
            return Err(damaged("it does not begin as a segment does"));
        }
        let format = from.u32().map_err(|e| damaged(e.0))?;
        // The checksum comes first: a rotten format number must not pass for a newer format.
        // Newer formats keep the header's layout up to here and its checksum's place.
        let parse = |from: &mut Reader<'_>| {
            let header = Self {
                group: GroupId(from.u128()?),
                peer: PeerId(from.u64()?),
                sequence: from.u64()?,
                bytes: from.u64()?,
                previous_crc: from.u32()?,
                first_record: from.u64()?,
            };
            Ok((header, from.u32()?))
        };
        let (header, crc) = parse(&mut from).map_err(|e: super::codec::Malformed| damaged(e.0))?;
        if crc != crc32c::crc32c(&first[..HEADER_BYTES]) {
            return Err(damaged("its header's checksum is wrong"));
        }
        if format != FORMAT {
            return Err(BadHeader::Newer(format));
        }
        Ok(header)
    }
}

const HEADER_BYTES: usize = 8 + 4 + 16 + 8 + 8 + 8 + 4 + 8;

/// The name of a segment.
pub(crate) fn file_name(sequence: u64) -> String {
    format!("{sequence:016}.log")
}

/// The sequence in a segment's name, if it is one.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

pub(crate) fn reserve_path(dir: &Path) -> PathBuf {
    dir.join(RESERVE)
}

/// Makes the zero-filled segment that the log will go on in. On an error nothing is left behind,
/// and a `StorageFull` may be asked again when there is room.
pub(crate) fn make_reserve(disk: &dyn Disk, dir: &Path, bytes: u64) -> io::Result<()> {
    let temp = dir.join(RESERVE_TEMP);
    let file = disk.create(&temp)?;
    if let Err(error) = file.preallocate(bytes) {
        drop(file);
        // The room it took is needed more than its error.
        let _ = disk.remove(&temp);
        return Err(error);
    }
    file.sync()?;
    disk.rename(&temp, &reserve_path(dir))?;
    disk.sync_dir(dir)
}

/// Whether there is a reserve of `bytes` zeros. Anything else of that name is no reserve.
pub(crate) fn has_reserve(disk: &dyn Disk, dir: &Path, bytes: u64) -> bool {
    disk.open(&reserve_path(dir))
        .and_then(|file| crate::disk::read_all(file.as_ref()))
        .is_ok_and(|found| found.len() as u64 == bytes && found.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_comes_back_and_every_flipped_bit_is_seen() {
        let header = SegmentHeader {
            group: GroupId(77),
            peer: PeerId(5),
            sequence: 3,
            bytes: 1 << 20,
            previous_crc: 99,
            first_record: 12,
        };
        let sector = header.encode();
        assert_eq!(SegmentHeader::decode(&sector), Ok(header));
        for bit in 0..(HEADER_BYTES + 4) * 8 {
            let mut rotten = sector.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(SegmentHeader::decode(&rotten), Err(BadHeader::Damaged(_))),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn only_segments_have_segments_names() {
        assert_eq!(sequence_of(&file_name(42)), Some(42));
        for name in ["reserve.log", "42.log", "0000000000000042.tmp", "000000000000004x.log"] {
            assert_eq!(sequence_of(name), None, "{name}");
        }
    }
}
