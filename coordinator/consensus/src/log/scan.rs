//! Reads one segment's records and tells a torn end from rot.

use super::{
    record::{self, Item, RECORD_HEADER, RecordHeader},
    sector::{self, Marker, PAYLOAD, SECTOR},
};

/// Where a segment's records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Behind the last record there is nothing.
    Clean,
    /// Behind the last record lie pieces of one that was never completely written; the last of
    /// them ends before this offset.
    Torn { until: usize },
}

/// The records of one segment.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Each with the offset of its record.
    pub(crate) items: Vec<(usize, Item)>,
    /// The offset behind the last record.
    pub(crate) end: usize,
    /// The offset of the last record, if there is one.
    pub(crate) last: Option<usize>,
    pub(crate) tail: End,
    pub(crate) crc: u32,
    pub(crate) next_record: u64,
}

/// Damage that no power cut explains.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rot {
    pub(crate) offset: usize,
    pub(crate) what: &'static str,
}

/// Reads the records of `segment`, whose header says that they go on from `crc` and `next_record`.
pub(crate) fn scan(segment: &[u8], crc: u32, next_record: u64) -> Result<Scanned, Rot> {
    let mut at =
        Scanned { items: Vec::new(), end: SECTOR, last: None, tail: End::Clean, crc, next_record };
    while let Some(first) = segment.get(at.end..at.end + SECTOR) {
        let rot = |what| Err(Rot { offset: at.end, what });
        match Marker::of(first) {
            Marker::Unwritten => break,
            Marker::First => {}
            Marker::Header | Marker::Continued => return rot("a record begins in its middle"),
            Marker::Unknown => return rot("a sector's marker is damaged"),
        }
        // The first sector is there, so its header must be right: a wrong one is rot, and its
        // length must not decide which sectors belong to the record.
        let Some(header) = RecordHeader::decode(&first[..PAYLOAD]) else {
            return rot("a record's header has a wrong checksum");
        };
        let Some(sectors) = segment.get(at.end..at.end + header.sectors() * SECTOR) else {
            return rot("a record is longer than its segment");
        };
        if !complete(sectors, at.end)? {
            break;
        }
        let payload = sector::unpack(sectors);
        let body = &payload[RECORD_HEADER..RECORD_HEADER + header.length];
        if header.sequence != at.next_record {
            return rot("a record is not the one that follows");
        }
        if record::rolling_crc(at.crc, header.sequence, body) != header.crc {
            return rot("a record's checksum is wrong");
        }
        if payload[RECORD_HEADER + header.length..].iter().any(|byte| *byte != 0) {
            return rot("the padding behind a record is damaged");
        }
        let Ok(items) = record::items(body) else {
            return rot("a record holds what this version does not understand");
        };
        let offset = at.end;
        at.items.extend(items.into_iter().map(|item| (offset, item)));
        at.last = Some(at.end);
        at.end += sectors.len();
        at.crc = header.crc;
        at.next_record += 1;
    }
    at.tail = tail(segment, at.end)?;
    Ok(at)
}

/// Whether all sectors of a record were written.
fn complete(sectors: &[u8], offset: usize) -> Result<bool, Rot> {
    let mut complete = true;
    for (number, sector) in sectors.chunks_exact(SECTOR).enumerate().skip(1) {
        match Marker::of(sector) {
            Marker::Continued => {}
            Marker::Unwritten => complete = false,
            Marker::First | Marker::Header | Marker::Unknown => {
                let offset = offset + number * SECTOR;
                return Err(Rot { offset, what: "a sector inside a record is damaged" });
            }
        }
    }
    Ok(complete)
}

/// Looks at what lies from `end` on. A record begins only after the one before was synced, so
/// the beginning of another one back there means that a synced sector is gone.
fn tail(segment: &[u8], end: usize) -> Result<End, Rot> {
    let mut until = None;
    for (number, sector) in segment[end..].chunks(SECTOR).enumerate() {
        let offset = end + number * SECTOR;
        match Marker::of(sector) {
            Marker::First if offset == end => {}
            Marker::Continued | Marker::Unwritten if offset != end => {}
            Marker::Unwritten => {}
            Marker::First => {
                return Err(Rot {
                    offset: end,
                    what: "a record is gone, and a later one is there",
                });
            }
            Marker::Continued | Marker::Header | Marker::Unknown => {
                return Err(Rot { offset, what: "what lies behind the last record is damaged" });
            }
        }
        if sector.iter().any(|byte| *byte != 0) {
            until = Some(offset + sector.len());
        }
    }
    Ok(until.map_or(End::Clean, |until| End::Torn { until }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(records: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = vec![0; SECTOR];
        let (mut crc, mut starts) = (7, Vec::new());
        for (number, entries) in records.iter().enumerate() {
            let items: Vec<Item> =
                (0..*entries).map(|n| Item::Vote { term: n as u64 + 1, vote: 3 }).collect();
            let (sectors, next) = record::pack(&items, number as u64 + 5, crc);
            starts.push(bytes.len());
            bytes.extend_from_slice(&sectors);
            crc = next;
        }
        bytes.resize(bytes.len() + 8 * SECTOR, 0);
        (bytes, starts)
    }

    #[test]
    fn f2_a_record_cut_at_any_byte_is_torn_and_nothing_else_is_lost() {
        let (whole, starts) = segment(&[3, 100, 90]);
        let end = whole.len() - 8 * SECTOR;
        for cut in starts[2]..end {
            let mut torn = whole.clone();
            torn[cut..].fill(0);
            let found = scan(&torn, 7, 5).unwrap_or_else(|rot| panic!("cut at {cut}: {rot:?}"));
            // The very last marker is the last byte; padding zeros before it make no difference.
            assert_eq!(found.items.len(), 103, "cut at {cut}");
            assert_eq!(found.end, starts[2]);
        }
        assert_eq!(scan(&whole, 7, 5).expect("whole").items.len(), 193);
    }

    #[test]
    fn f2_every_subset_of_the_last_records_sectors() {
        let (whole, starts) = segment(&[3, 130]);
        let sectors = (whole.len() - 8 * SECTOR - starts[1]) / SECTOR;
        assert!((4..=8).contains(&sectors), "{sectors}");
        for kept in 0..1_u32 << sectors {
            let mut torn = whole.clone();
            for sector in (0..sectors).filter(|sector| kept >> sector & 1 == 0) {
                torn[starts[1] + sector * SECTOR..][..SECTOR].fill(0);
            }
            let found = scan(&torn, 7, 5).unwrap_or_else(|rot| panic!("kept {kept:b}: {rot:?}"));
            let all = kept + 1 == 1 << sectors;
            assert_eq!(found.items.len(), if all { 133 } else { 3 });
            let torn_end = matches!(found.tail, End::Torn { .. });
            assert_eq!(torn_end, !all && kept != 0, "kept {kept:b}");
        }
    }

    #[test]
    fn f5_a_synced_record_that_lost_a_sector_is_rot_when_another_follows() {
        let (whole, starts) = segment(&[3, 100, 90]);
        for lost in (starts[1]..starts[2]).step_by(SECTOR) {
            let mut rotten = whole.clone();
            rotten[lost..lost + SECTOR].fill(0);
            assert!(scan(&rotten, 7, 5).is_err(), "sector at {lost}");
        }
    }
}
