//! Makes a log, and opens one that is there.

use std::{collections::VecDeque, path::Path, sync::Arc};

use super::{
    Item, Recovered, Writer,
    scan::{self, End, Scanned},
    sector::SECTOR,
    segment::{self, BadHeader, SegmentHeader},
    writer::SegmentInUse,
};
use crate::{
    disk::{self, Disk, DiskFile},
    error::StartError,
    ids::{GroupId, PeerId},
};

const FIRST_TEMP: &str = "first.tmp";

/// A log that was read and can be written.
#[derive(Debug)]
pub(crate) struct OpenedLog {
    pub(crate) writer: Writer,
    pub(crate) recovered: Recovered,
    /// What was found odd and put right.
    pub(crate) notes: Vec<String>,
}

/// Makes a log whose first record is `items`. It is there when this returns, or not at all: its
/// one segment gets its name last.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &Path,
    group: GroupId,
    peer: PeerId,
    segment_bytes: u64,
    items: &[Item],
) -> Result<(), StartError> {
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Io { what, path, source }
    };
    segment::make_reserve(disk, dir, segment_bytes).map_err(io("making", dir))?;
    let temp = dir.join(FIRST_TEMP);
    let path = dir.join(segment::file_name(1));
    let header = SegmentHeader {
        group,
        peer,
        sequence: 1,
        bytes: segment_bytes,
        previous_crc: 0,
        first_record: 1,
    };
    let (record, _) = super::record::pack(items, header.first_record, header.previous_crc);
    let file = disk.create(&temp).map_err(io("making", &temp))?;
    file.preallocate(segment_bytes).map_err(io("making", &temp))?;
    file.write_at(0, &header.encode()).map_err(io("writing", &temp))?;
    file.write_at(SECTOR as u64, &record).map_err(io("writing", &temp))?;
    file.sync().map_err(io("syncing", &temp))?;
    disk.rename(&temp, &path).map_err(io("naming", &path))?;
    disk.sync_dir(dir).map_err(io("syncing", dir))
}

/// The sequences of the segments in `dir`, ascending. Empty: there is no log.
pub(crate) fn sequences(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, StartError> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(StartError::Io { what: "listing", path: dir.to_owned(), source });
        }
    };
    let mut found: Vec<u64> = names.iter().filter_map(|name| segment::sequence_of(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Reads the whole log, puts a torn end right, and makes durable all that it found.
pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    segment_bytes: u64,
) -> Result<OpenedLog, StartError> {
    let sequences = sequences(disk.as_ref(), dir)?;
    let Some((&last, _)) = sequences.split_last() else {
        return Err(StartError::Empty { dir: dir.to_owned() });
    };
    let mut recovered = Recovered::default();
    let mut notes = Vec::new();
    let mut segments = VecDeque::new();
    let mut before: Option<(SegmentHeader, Scanned)> = None;
    let mut end = None;
    for sequence in sequences {
        let path = dir.join(segment::file_name(sequence));
        let read = read(disk.as_ref(), &path)?;
        check_header(&read, &path, sequence, before.as_ref())?;
        let rot = |offset, what| StartError::corrupt(&path, offset, what);
        let scanned = scan::scan(&read.bytes, read.header.previous_crc, read.header.first_record)
            .map_err(|found| rot(found.offset, found.what))?;
        if sequence != last && scanned.tail != End::Clean {
            return Err(rot(scanned.end, "a record is torn although the log goes on after it"));
        }
        let mut last_index = 0;
        let mut scanned = scanned;
        for (offset, item) in std::mem::take(&mut scanned.items) {
            if let Item::Entry(entry) = &item {
                last_index = last_index.max(entry.index);
            }
            recovered.add(item).map_err(|what| rot(offset, what))?;
        }
        segments.push_back(SegmentInUse { sequence, last_index });
        if sequence == last {
            if let End::Torn { until } = scanned.tail {
                notes.push(format!(
                    "{}: a write that was never acknowledged was cut off at byte {}",
                    path.display(),
                    scanned.end,
                ));
                zero(read.file.as_ref(), scanned.end, until).map_err(|source| StartError::Io {
                    what: "mending",
                    path: path.clone(),
                    source,
                })?;
            }
            settle(disk.as_ref(), dir, &read, &scanned).map_err(|source| StartError::Io {
                what: "syncing",
                path,
                source,
            })?;
            end = Some((read, scanned.end, scanned.crc, scanned.next_record));
        } else {
            before = Some((read.header, scanned));
        }
    }
    let (read, at, crc, next_record) = end.expect("the last segment was read");
    let writer = Writer {
        disk: disk.clone(),
        dir: dir.to_owned(),
        group: read.header.group,
        peer: read.header.peer,
        segment_bytes,
        head: recovered.head.clone(),
        segments,
        file: read.file,
        file_bytes: read.header.bytes,
        at: at as u64,
        crc,
        next_record,
        reserve: segment::has_reserve(disk.as_ref(), dir, segment_bytes),
    };
    Ok(OpenedLog { writer, recovered, notes })
}

/// A segment in memory.
struct Read {
    file: Box<dyn DiskFile>,
    bytes: Vec<u8>,
    header: SegmentHeader,
}

/// Reads a segment and its header.
fn read(disk: &dyn Disk, path: &Path) -> Result<Read, StartError> {
    let io = |source| StartError::Io { what: "reading", path: path.to_owned(), source };
    let file = disk.open(path).map_err(io)?;
    let bytes = disk::read_all(file.as_ref()).map_err(io)?;
    let first = &bytes[..bytes.len().min(SECTOR)];
    let header = SegmentHeader::decode(first).map_err(|bad| match bad {
        BadHeader::Damaged(what) => StartError::corrupt(path, 0, what),
        BadHeader::Newer(found) => {
            StartError::NewerFormat { file: path.to_owned(), found, known: segment::FORMAT }
        }
    })?;
    if header.bytes != bytes.len() as u64 {
        return Err(StartError::corrupt(
            path,
            bytes.len(),
            "its size is not the one it was made with",
        ));
    }
    Ok(Read { file, bytes, header })
}

fn check_header(
    read: &Read,
    path: &Path,
    sequence: u64,
    before: Option<&(SegmentHeader, Scanned)>,
) -> Result<(), StartError> {
    let header = &read.header;
    let wrong = |what| Err(StartError::corrupt(path, 0, what));
    if header.sequence != sequence {
        return wrong("it is another segment than its name says");
    }
    let Some((earlier, scanned)) = before else { return Ok(()) };
    if (header.group, header.peer) != (earlier.group, earlier.peer) {
        return wrong("it belongs to another group or peer");
    }
    if header.sequence != earlier.sequence + 1 {
        return wrong("the segment before it is missing");
    }
    if header.previous_crc != scanned.crc || header.first_record != scanned.next_record {
        return wrong("it does not continue the segment before it");
    }
    Ok(())
}

fn zero(file: &dyn DiskFile, from: usize, until: usize) -> std::io::Result<()> {
    file.write_at(from as u64, &vec![0; until - from])?;
    file.sync()
}

/// What was read may still be in memory only: after a kill it was never synced, after a failed
/// sync it even counts as clean. So the last record, the only one that can be so, is written once
/// more before anything is built on it.
fn settle(disk: &dyn Disk, dir: &Path, read: &Read, scanned: &Scanned) -> std::io::Result<()> {
    if let Some(last) = scanned.last {
        read.file.write_at(last as u64, &read.bytes[last..scanned.end])?;
    }
    read.file.sync()?;
    disk.sync_dir(dir)
}

/// A segment's header and items, without mending anything.
pub(crate) fn peek(disk: &dyn Disk, path: &Path) -> Result<(SegmentHeader, Vec<Item>), StartError> {
    let read = read(disk, path)?;
    let scanned = scan::scan(&read.bytes, read.header.previous_crc, read.header.first_record)
        .map_err(|found| StartError::corrupt(path, found.offset, found.what))?;
    let items = scanned.items.into_iter().map(|(_, item)| item).collect();
    Ok((read.header, items))
}
