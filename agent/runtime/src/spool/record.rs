//! One record: a header of 32 bytes and a payload, checksummed together.
//!
//! | bytes | meaning (little endian) |
//! |---|---|
//! | 0..4 | `RYL1` |
//! | 4..8 | payload length |
//! | 8..16 | offset of the payload's first byte in the worker's output |
//! | 16..24 | UTC ms when the shim read it |
//! | 24 | stream: 1 stdout, 2 stderr, 0 the shim itself |
//! | 25 | kind: 0 data, 1 cut (payload: length dropped, u64), 2 end |
//! | 26 | of a cut: 1 quota, 2 disk |
//! | 27 | 0 |
//! | 28..32 | CRC32C of bytes 0..28 and the payload |

/// Bytes of a header.
pub(super) const HEADER: usize = 32;
/// No payload is longer; a larger length is damage.
pub(super) const PAYLOAD_MAX: usize = 1 << 20;
const MAGIC: &[u8; 4] = b"RYL1";

/// Where bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Written by the shim itself (a cut, the end).
    Shim,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why a part of the output is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutReason {
    /// The spool's quota: head and tail were kept.
    Quota,
    /// The disk was full or failed when the shim wrote.
    Disk,
    /// Segments or records are gone or damaged, and nothing says why.
    Lost,
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Output, byte for byte.
    Data(Vec<u8>),
    /// This many bytes are missing from the record's offset on.
    Cut {
        /// Bytes missing.
        len: u64,
        /// Why.
        reason: CutReason,
    },
    /// The output ended at this offset.
    End,
}

/// One piece of a worker's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of the first byte, in the worker's output.
    pub offset: u64,
    /// When the shim read it, UTC ms.
    pub at_ms: u64,
    /// Where it came from.
    pub stream: Stream,
    /// What it holds.
    pub body: Body,
}

impl Record {
    /// The offset behind this record.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(match &self.body {
            Body::Data(bytes) => bytes.len() as u64,
            Body::Cut { len, .. } => *len,
            Body::End => 0,
        })
    }
}

/// Kinds as they stand in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Cut(CutReason),
    End,
}

/// The header for a payload.
pub(super) fn header(
    offset: u64,
    at_ms: u64,
    stream: Stream,
    kind: Kind,
    payload: &[u8],
) -> [u8; HEADER] {
    let mut h = [0; HEADER];
    let len = u32::try_from(payload.len()).expect("the shim's buffer is far below 4 GiB");
    h[..4].copy_from_slice(MAGIC);
    h[4..8].copy_from_slice(&len.to_le_bytes());
    h[8..16].copy_from_slice(&offset.to_le_bytes());
    h[16..24].copy_from_slice(&at_ms.to_le_bytes());
    h[24] = match stream {
        Stream::Shim => 0,
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    (h[25], h[26]) = match kind {
        Kind::Data => (0, 0),
        Kind::Cut(CutReason::Quota) => (1, 1),
        Kind::Cut(_) => (1, 2),
        Kind::End => (2, 0),
    };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&h[..28]), payload);
    h[28..].copy_from_slice(&crc.to_le_bytes());
    h
}

/// What stands at the start of some bytes.
#[derive(Debug)]
pub(super) enum Parsed {
    /// A record, and the bytes it takes.
    Record(Record, usize),
    /// The bytes end inside what may become a record.
    Short,
    /// No record stands here.
    Damaged,
}

/// Reads the record at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let seen = bytes.len().min(4);
    if bytes[..seen] != MAGIC[..seen] {
        return Parsed::Damaged;
    }
    if bytes.len() < HEADER {
        return Parsed::Short;
    }
    let len = u32_at(bytes, 4) as usize;
    if len > PAYLOAD_MAX {
        return Parsed::Damaged;
    }
    let Some(payload) = bytes.get(HEADER..HEADER + len) else {
        return Parsed::Short;
    };
    if crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), payload) != u32_at(bytes, 28) {
        return Parsed::Damaged;
    }
    let stream = match bytes[24] {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => Stream::Shim,
    };
    let body = match (bytes[25], bytes[26]) {
        (0, _) => Body::Data(payload.to_vec()),
        (1, r) if len == 8 => {
            let reason = if r == 1 { CutReason::Quota } else { CutReason::Disk };
            Body::Cut { len: u64_at(payload, 0), reason }
        }
        (2, _) => Body::End,
        _ => return Parsed::Damaged,
    };
    let record = Record { offset: u64_at(bytes, 8), at_ms: u64_at(bytes, 16), stream, body };
    Parsed::Record(record, HEADER + len)
}

/// Where, from `from` on, the next intact record stands.
pub(super) fn resync(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(next) = bytes.get(at..)?.windows(4).position(|w| w == MAGIC) {
        if matches!(parse(&bytes[at + next..]), Parsed::Record(..)) {
            return Some(at + next);
        }
        at += next + 1;
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = header(7, 8, Stream::Stderr, Kind::Data, b"hello").to_vec();
        bytes.extend_from_slice(b"hello");
        bytes
    }

    #[test]
    fn a_record_survives_the_way_and_no_flipped_byte_does() {
        let bytes = sample();
        let Parsed::Record(record, used) = parse(&bytes) else { panic!("an intact record") };
        assert_eq!(used, bytes.len());
        let body = Body::Data(b"hello".to_vec());
        assert_eq!(record, Record { offset: 7, at_ms: 8, stream: Stream::Stderr, body });
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(!matches!(parse(&bad), Parsed::Record(..)), "byte {at} was flipped unnoticed");
            assert!(!matches!(parse(&bytes[..at]), Parsed::Record(..)), "cut to {at} bytes");
        }
    }

    #[test]
    fn resync_finds_the_next_intact_record() {
        let mut bytes = b"xxRYL1RYL1".to_vec();
        let at = bytes.len();
        bytes.extend(sample());
        assert_eq!(resync(&bytes, 0), Some(at));
        assert_eq!(resync(&bytes, at + 1), None);
    }
}
