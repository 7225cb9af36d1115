//! Sectors: 511 bytes of payload and a marker.
//!
//! The marker is the sector's last byte, so that a write cut at any byte leaves it zero. The
//! three values differ from each other and from zero in at least four bits.

/// The unit that a disk writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Payload bytes per sector.
pub(crate) const PAYLOAD: usize = SECTOR - 1;

const HEADER: u8 = 0xc3;
const FIRST: u8 = 0xa5;
const CONTINUED: u8 = 0x5a;

/// What a sector's last byte says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    /// Never written, or not to its end.
    Unwritten,
    /// A segment's header.
    Header,
    /// The first sector of a record.
    First,
    /// A later sector of a record.
    Continued,
    /// None of these: rot.
    Unknown,
}

impl Marker {
    pub(crate) fn of(sector: &[u8]) -> Self {
        match sector.last() {
            Some(0) => Self::Unwritten,
            Some(&HEADER) => Self::Header,
            Some(&FIRST) => Self::First,
            Some(&CONTINUED) => Self::Continued,
            _ => Self::Unknown,
        }
    }
}

/// How many sectors `payload` bytes take.
pub(crate) fn sectors_for(payload: usize) -> usize {
    payload.div_ceil(PAYLOAD)
}

/// The one sector of a segment's header. `payload` must fit.
pub(crate) fn pack_header(payload: &[u8]) -> Vec<u8> {
    pack(payload, HEADER)
}

/// The sectors of a record.
pub(crate) fn pack_record(payload: &[u8]) -> Vec<u8> {
    pack(payload, FIRST)
}

fn pack(payload: &[u8], first: u8) -> Vec<u8> {
    let mut sectors = Vec::with_capacity(sectors_for(payload.len()) * SECTOR);
    for (number, piece) in payload.chunks(PAYLOAD).enumerate() {
        sectors.extend_from_slice(piece);
        sectors.resize(number * SECTOR + PAYLOAD, 0);
        sectors.push(if number == 0 { first } else { CONTINUED });
    }
    sectors
}

/// The payload bytes of `sectors`, padding included.
pub(crate) fn unpack(sectors: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(sectors.len());
    for sector in sectors.chunks_exact(SECTOR) {
        payload.extend_from_slice(&sector[..PAYLOAD]);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_and_every_sector_is_marked() {
        for length in [1, 510, 511, 512, 1022, 1023, 5000] {
            let payload: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let sectors = pack_record(&payload);
            assert_eq!(sectors.len(), sectors_for(length) * SECTOR);
            let back = unpack(&sectors);
            assert_eq!(&back[..length], &payload[..]);
            assert!(back[length..].iter().all(|byte| *byte == 0), "padding is zero");
            for (number, sector) in sectors.chunks(SECTOR).enumerate() {
                let expected = if number == 0 { Marker::First } else { Marker::Continued };
                assert_eq!(Marker::of(sector), expected);
            }
        }
    }

    #[test]
    fn one_flipped_bit_never_turns_a_marker_into_another_or_into_zero() {
        for marker in [HEADER, FIRST, CONTINUED] {
            for bit in 0..8 {
                assert_eq!(Marker::of(&[marker ^ (1 << bit)]), Marker::Unknown);
            }
        }
    }
}
