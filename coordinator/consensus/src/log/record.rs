//! Records: a batch of items under one checksum.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

use super::{
    codec::{Malformed, Reader, put_bytes, put_u32, put_u64},
    sector,
};
use crate::{members::Members, snapshot::SnapshotMark};

/// One fact in the log. Later items overrule earlier ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    /// The group begins: its founding members, as if by an entry at index 1 of term 1.
    Genesis(Members),
    /// This peer was started for the so-many-th time.
    Started { incarnation: u64 },
    /// The group's generation.
    Generation(u64),
    /// Raft's term, and who was voted for in it (0: nobody).
    Vote { term: u64, vote: u64 },
    /// An entry; it replaces all entries from its index on.
    Entry(Entry),
    /// All entries up to here are committed.
    Commit(u64),
    /// A snapshot is durable in a file of its own.
    Snapshot(SnapshotMark),
}

const GENESIS: u8 = 1;
const STARTED: u8 = 2;
const GENERATION: u8 = 3;
const VOTE: u8 = 4;
const ENTRY: u8 = 5;
const COMMIT: u8 = 6;
const SNAPSHOT: u8 = 7;

/// Bytes an entry takes beyond its data and context.
pub(crate) const ENTRY_OVERHEAD: usize = 1 + 1 + 8 + 8 + 4 + 4;

impl Item {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Genesis(members) => {
                out.push(GENESIS);
                members.encode(out);
            }
            Self::Started { incarnation } => {
                out.push(STARTED);
                put_u64(out, *incarnation);
            }
            Self::Generation(generation) => {
                out.push(GENERATION);
                put_u64(out, *generation);
            }
            Self::Vote { term, vote } => {
                out.push(VOTE);
                put_u64(out, *term);
                put_u64(out, *vote);
            }
            Self::Entry(entry) => {
                out.push(ENTRY);
                out.push(match entry.entry_type {
                    EntryType::EntryNormal => 0,
                    EntryType::EntryConfChange => 1,
                    EntryType::EntryConfChangeV2 => 2,
                });
                put_u64(out, entry.index);
                put_u64(out, entry.term);
                put_bytes(out, &entry.data);
                put_bytes(out, &entry.context);
            }
            Self::Commit(index) => {
                out.push(COMMIT);
                put_u64(out, *index);
            }
            Self::Snapshot(mark) => {
                out.push(SNAPSHOT);
                mark.encode(out);
            }
        }
    }

    /// An upper bound of the bytes that [`encode`](Self::encode) adds.
    pub(crate) fn size_max(&self) -> usize {
        match self {
            Self::Entry(entry) => ENTRY_OVERHEAD + entry.data.len() + entry.context.len(),
            Self::Started { .. } | Self::Generation(_) | Self::Vote { .. } | Self::Commit(_) => 17,
            Self::Genesis(_) | Self::Snapshot(_) => {
                let mut bytes = Vec::new();
                self.encode(&mut bytes);
                bytes.len()
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.u8()? {
            GENESIS => Self::Genesis(Members::decode(from)?),
            STARTED => Self::Started { incarnation: from.u64()? },
            GENERATION => Self::Generation(from.u64()?),
            VOTE => Self::Vote { term: from.u64()?, vote: from.u64()? },
            ENTRY => {
                let entry_type = match from.u8()? {
                    0 => EntryType::EntryNormal,
                    1 => EntryType::EntryConfChange,
                    2 => EntryType::EntryConfChangeV2,
                    _ => return Err(Malformed("an entry is of an unknown type")),
                };
                Self::Entry(Entry {
                    entry_type,
                    index: from.u64()?,
                    term: from.u64()?,
                    data: Bytes::copy_from_slice(from.bytes()?),
                    context: Bytes::copy_from_slice(from.bytes()?),
                    ..Entry::default()
                })
            }
            COMMIT => Self::Commit(from.u64()?),
            SNAPSHOT => Self::Snapshot(SnapshotMark::decode(from)?),
            _ => return Err(Malformed("an item is of a kind that this version does not know")),
        })
    }
}

/// Length, sequence, checksum of all, checksum of these.
pub(crate) const RECORD_HEADER: usize = 4 + 8 + 4 + 4;

/// What the first bytes of a record say of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordHeader {
    pub(crate) length: usize,
    pub(crate) sequence: u64,
    pub(crate) crc: u32,
}

impl RecordHeader {
    /// `None` if the header's own checksum is wrong, so that a rotten length is never believed.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut from = Reader::new(payload);
        let length = from.u32().ok()? as usize;
        let sequence = from.u64().ok()?;
        let crc = from.u32().ok()?;
        let own = from.u32().ok()?;
        let expected = crc32c::crc32c(&payload[..RECORD_HEADER - 4]);
        (own == expected).then_some(Self { length, sequence, crc })
    }

    pub(crate) fn sectors(&self) -> usize {
        sector::sectors_for(RECORD_HEADER + self.length)
    }
}

/// The record's checksum, rolling on from that of the record before it.
pub(crate) fn rolling_crc(previous: u32, sequence: u64, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(previous, &sequence.to_le_bytes()), body)
}

/// Packs items into the sectors of one record; returns them with the record's checksum.
pub(crate) fn pack(items: &[Item], sequence: u64, previous_crc: u32) -> (Vec<u8>, u32) {
    let mut payload = vec![0; RECORD_HEADER];
    for item in items {
        item.encode(&mut payload);
    }
    let crc = rolling_crc(previous_crc, sequence, &payload[RECORD_HEADER..]);
    let mut header = Vec::with_capacity(RECORD_HEADER);
    let length = payload.len() - RECORD_HEADER;
    put_u32(&mut header, u32::try_from(length).expect("a record fits into a segment"));
    put_u64(&mut header, sequence);
    put_u32(&mut header, crc);
    let own = crc32c::crc32c(&header);
    put_u32(&mut header, own);
    payload[..RECORD_HEADER].copy_from_slice(&header);
    (sector::pack_record(&payload), crc)
}

/// The items of a record whose checksum is right.
pub(crate) fn items(body: &[u8]) -> Result<Vec<Item>, Malformed> {
    let mut from = Reader::new(body);
    let mut items = Vec::new();
    while !from.is_empty() {
        items.push(Item::decode(&mut from)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_comes_back() {
        let entry = Entry {
            index: 7,
            term: 3,
            data: Bytes::from_static(b"data"),
            context: Bytes::from_static(b"c"),
            ..Entry::default()
        };
        let all = vec![
            Item::Genesis(Members::of_voters(vec![1, 2])),
            Item::Started { incarnation: 4 },
            Item::Generation(9),
            Item::Vote { term: 3, vote: 2 },
            Item::Entry(entry),
            Item::Commit(6),
            Item::Snapshot(SnapshotMark {
                index: 5,
                term: 2,
                bytes: 10,
                digest: [3; 32],
                members: Members::of_voters(vec![1]),
                received: true,
            }),
        ];
        let mut bytes = Vec::new();
        for item in &all {
            let before = bytes.len();
            item.encode(&mut bytes);
            assert!(bytes.len() - before <= item.size_max(), "{item:?}");
        }
        assert_eq!(items(&bytes).expect("well formed"), all);
        assert!(items(&bytes[..bytes.len() - 1]).is_err());
        assert!(items(&[99]).is_err());
    }
}
