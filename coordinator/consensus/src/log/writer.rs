//! Appends records, goes on to the next segment, and cuts old ones off.

use std::{collections::VecDeque, io, path::PathBuf, sync::Arc};

use super::{
    Head, Item,
    record::{self, RECORD_HEADER},
    sector::{PAYLOAD, SECTOR, sectors_for},
    segment::{self, SegmentHeader},
};
use crate::{
    disk::{Disk, DiskFile},
    error::Fatal,
    ids::{GroupId, PeerId},
};

/// How much the log can still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// What is behind the segment in use.
    pub(crate) reserve: Reserve,
    /// Bytes left in the segment in use.
    pub(crate) segment_left: u64,
}

/// The segment that the log goes on in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// It is there.
    Ready,
    /// It is being made; whether there is room for it is not known yet.
    Making,
    /// There is no room for it.
    Refused,
}

/// Why items were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// The segment is full and there is no other; nothing of the items from this one on was
    /// written. May be asked again when there is a reserve.
    #[error("the log is full and has no reserve segment")]
    NoRoom {
        /// How many of the items are durable.
        written: usize,
    },
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Records aim at this many bytes; one entry may be larger.
const RECORD_TARGET: usize = 1 << 20;

/// The segments of a log that are in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentInUse {
    pub(crate) sequence: u64,
    /// The highest index of an entry in it, 0 if it has none.
    pub(crate) last_index: u64,
}

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) group: GroupId,
    pub(crate) peer: PeerId,
    /// The size of segments made from now on.
    pub(crate) segment_bytes: u64,
    pub(crate) head: Head,
    /// Oldest first, never empty; the last is the one being written.
    pub(crate) segments: VecDeque<SegmentInUse>,
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) file_bytes: u64,
    pub(crate) at: u64,
    pub(crate) crc: u32,
    pub(crate) next_record: u64,
    pub(crate) reserve: bool,
}

impl Writer {
    /// Makes the items durable, in order, in one record if they fit. `NoRoom` is the only error
    /// after which the writer may be used again.
    pub(crate) fn append(&mut self, items: &[Item]) -> Result<(), AppendError> {
        let mut written = 0;
        while written < items.len() {
            let count = batch(&items[written..], self.record_target());
            let batch = &items[written..written + count];
            self.append_record(batch).map_err(|error| match error {
                AppendError::NoRoom { .. } => AppendError::NoRoom { written },
                fatal => fatal,
            })?;
            written += count;
        }
        Ok(())
    }

    fn append_record(&mut self, items: &[Item]) -> Result<(), AppendError> {
        let size: usize = items.iter().map(Item::size_max).sum();
        let sectors = (sectors_for(RECORD_HEADER + size) * SECTOR) as u64;
        let mut with_head = Vec::new();
        let items = if self.at + sectors <= self.file_bytes {
            items
        } else {
            self.next_segment()?;
            with_head.extend(self.head.items());
            with_head.extend_from_slice(items);
            &with_head
        };
        let (bytes, crc) = record::pack(items, self.next_record, self.crc);
        if self.at + bytes.len() as u64 > self.file_bytes {
            let what =
                format!("a record of {} bytes in a segment of {}", bytes.len(), self.file_bytes);
            return Err(self.fatal("fitting", io::Error::other(what)).into());
        }
        self.file.write_at(self.at, &bytes).map_err(|e| self.fatal("writing", e))?;
        self.file.sync().map_err(|e| self.fatal("syncing", e))?;
        self.at += bytes.len() as u64;
        self.crc = crc;
        self.next_record += 1;
        let segment = self.segments.back_mut().expect("a log has a segment");
        for item in items {
            self.head.note(item);
            if let Item::Entry(entry) = item {
                segment.last_index = segment.last_index.max(entry.index);
            }
        }
        Ok(())
    }

    /// Goes on in the reserve segment: header, sync, name, sync of the name. Only then is the
    /// segment the log's end.
    fn next_segment(&mut self) -> Result<(), AppendError> {
        if !self.reserve {
            return Err(AppendError::NoRoom { written: 0 });
        }
        let sequence = self.sequence() + 1;
        let reserve = segment::reserve_path(&self.dir);
        let path = self.dir.join(segment::file_name(sequence));
        let fatal = |what, e| Fatal::new(what, &path, e);
        let file = self.disk.open(&reserve).map_err(|e| fatal("opening the reserve for", e))?;
        let bytes = file.size().map_err(|e| fatal("opening the reserve for", e))?;
        let header = SegmentHeader {
            group: self.group,
            peer: self.peer,
            sequence,
            bytes,
            previous_crc: self.crc,
            first_record: self.next_record,
        };
        file.write_at(0, &header.encode()).map_err(|e| fatal("writing the header of", e))?;
        file.sync().map_err(|e| fatal("syncing the header of", e))?;
        self.disk.rename(&reserve, &path).map_err(|e| fatal("naming", e))?;
        self.disk.sync_dir(&self.dir).map_err(|e| fatal("syncing the name of", e))?;
        self.file = file;
        self.file_bytes = bytes;
        self.at = SECTOR as u64;
        self.reserve = false;
        self.segments.push_back(SegmentInUse { sequence, last_index: 0 });
        Ok(())
    }

    fn record_target(&self) -> usize {
        // Half of a segment leaves room for the repeated head.
        RECORD_TARGET.min(usize::try_from(self.segment_bytes / 2).unwrap_or(RECORD_TARGET))
    }

    fn sequence(&self) -> u64 {
        self.segments.back().expect("a log has a segment").sequence
    }

    /// Removes segments that hold nothing but entries the kept snapshots have. Returns whether
    /// any went.
    pub(crate) fn cut(&mut self) -> Result<bool, Fatal> {
        let upto = self.head.cut();
        let mut cut = false;
        // From the oldest on and never past one that stays: what is left has no gap.
        while self.segments.len() > 1 && self.segments[0].last_index <= upto {
            let path = self.dir.join(segment::file_name(self.segments[0].sequence));
            self.disk.remove(&path).map_err(|e| Fatal::new("removing", &path, e))?;
            self.segments.pop_front();
            cut = true;
        }
        if cut {
            self.disk.sync_dir(&self.dir).map_err(|e| Fatal::new("syncing", &self.dir, e))?;
        }
        Ok(cut)
    }

    /// Makes the reserve segment now, if there is none. `false`: there is no room for it.
    pub(crate) fn ensure_reserve(&mut self) -> Result<bool, Fatal> {
        if !self.reserve {
            match segment::make_reserve(self.disk.as_ref(), &self.dir, self.segment_bytes) {
                Ok(()) => self.reserve = true,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                Err(error) => return Err(Fatal::new("making a segment in", &self.dir, error)),
            }
        }
        Ok(self.reserve)
    }

    pub(crate) fn room(&self) -> Room {
        let reserve = if self.reserve { Reserve::Ready } else { Reserve::Refused };
        Room { reserve, segment_left: self.file_bytes - self.at }
    }

    fn fatal(&self, what: &'static str, error: io::Error) -> Fatal {
        Fatal::new(what, &self.dir.join(segment::file_name(self.sequence())), error)
    }
}

/// How many of the items go into one record.
fn batch(items: &[Item], target: usize) -> usize {
    let mut size = 0;
    let fit = items.iter().take_while(|item| {
        size += item.size_max();
        size <= target
    });
    fit.count().max(1)
}

/// Bytes of log that an entry of `data` bytes can take, alone in its record.
pub(crate) fn entry_cost(data: usize) -> u64 {
    (sectors_for(RECORD_HEADER + record::ENTRY_OVERHEAD + data) * SECTOR) as u64
}

/// The largest entry that surely fits into a fresh segment of this size, behind its head.
pub(crate) fn entry_max(segment_bytes: u64) -> u64 {
    let sectors = segment_bytes / SECTOR as u64;
    (sectors.saturating_sub(1) * PAYLOAD as u64).saturating_sub(HEAD_MAX)
}

/// More than a segment's repeated head, and a record's and an entry's own fields, ever take.
const HEAD_MAX: u64 = 8 << 10;
