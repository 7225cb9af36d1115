//! The agent's side: read records in order, follow a living shim, name every gap.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{Body, CutReason, Parsed, Record, Stream, parse, resync};
use super::{CUT_FILE, segment_path, segment_start};

/// How much is read from a segment at a time.
const CHUNK: usize = 1 << 20;
/// With less room than this behind it, what is unread moves to the front.
const ROOM: usize = 64 << 10;

/// A spool that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the spool at {path}")]
pub struct SpoolError {
    path: PathBuf,
    source: io::Error,
}

/// Reads a worker's spool from an offset on, also while it is written.
///
/// It never returns a byte twice and never skips one silently: what is missing is a record with
/// [`Body::Cut`]. A torn end is waited for while nothing stands behind it.
#[derive(Debug)]
pub struct SpoolReader {
    dir: PathBuf,
    /// The offset of the next byte to return.
    next: u64,
    current: Option<Open>,
    ended: bool,
    /// Time of the last record, for the cuts that we find ourselves.
    last_ms: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    start: u64,
    /// Bytes of the file before `buffer`.
    at: u64,
    /// Read from the file: `used..filled` is not yet returned as records, the rest is room.
    buffer: Vec<u8>,
    used: usize,
    filled: usize,
}

impl SpoolReader {
    /// A reader at offset 0 of the spool in this folder (`WORKER/spool`).
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), next: 0, current: None, ended: false, last_ms: 0 }
    }

    /// Goes to an offset: the next record returned begins there (its start is cut off if need be).
    pub fn read_from(mut self, offset: u64) -> Self {
        self.next = offset;
        self.current = None;
        self.ended = false;
        self
    }

    /// The offset of the next byte to be returned.
    pub fn offset(&self) -> u64 {
        self.next
    }

    /// True once the end record was returned.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The records that are there now, up to about `limit` bytes of output (at least one record
    /// when there is any). Empty: nothing new yet.
    pub fn poll_new(&mut self, limit: usize) -> Result<Vec<Record>, SpoolError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < limit && !self.ended {
            match self.next_record(false)? {
                Some(r) => bytes += self.take(r, &mut records),
                None => break,
            }
        }
        Ok(records)
    }

    /// As [`Self::poll_new`], for a worker whose shim is gone: nothing more will be written, so a
    /// torn or missing end becomes a cut up to `log_end` (from the status; `None` when there is no
    /// status, so the true end is not known).
    pub fn poll_final(
        &mut self,
        limit: usize,
        log_end: Option<u64>,
    ) -> Result<Vec<Record>, SpoolError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while bytes < limit && !self.ended {
            match self.next_record(true)? {
                Some(r) => bytes += self.take(r, &mut records),
                None => {
                    if let Some(end) = log_end.filter(|end| *end > self.next) {
                        records.push(self.cut_to(end));
                    }
                    let (offset, at_ms) = (self.next, self.last_ms);
                    records.push(Record { offset, at_ms, stream: Stream::Shim, body: Body::End });
                    self.ended = true;
                }
            }
        }
        Ok(records)
    }

    /// Removes the segments whose bytes all lie before `upto` (sealed elsewhere). The newest
    /// segment stays: its shim may be writing to it. Returns the bytes freed on disk.
    pub fn prune(&self, upto: u64) -> Result<u64, SpoolError> {
        let starts = self.segments()?;
        let mut freed = 0;
        for pair in starts.windows(2) {
            if pair[1] > upto {
                break;
            }
            let path = segment_path(&self.dir, pair[0]);
            freed += path.metadata().map_or(0, |m| m.len());
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(SpoolError { path, source: e });
                }
                _ => {}
            }
        }
        Ok(freed)
    }

    /// Cuts off what was returned before and moves on.
    fn take(&mut self, mut record: Record, into: &mut Vec<Record>) -> usize {
        self.last_ms = record.at_ms.max(self.last_ms);
        let (end, next) = (record.end(), self.next);
        if let Body::End = record.body {
            self.ended = true;
            into.push(record);
            return 0;
        }
        if end <= next {
            return 0;
        }
        if record.offset > next {
            // Records inside a segment are contiguous unless something was lost there.
            into.push(self.cut_to(record.offset));
        } else if record.offset < next {
            let skip = next - record.offset;
            match &mut record.body {
                Body::Data(bytes) => drop(bytes.drain(..skip as usize)),
                Body::Cut { len, .. } => *len -= skip,
                Body::End => {}
            }
            record.offset = next;
        }
        self.next = end;
        let size = match &record.body {
            Body::Data(bytes) => bytes.len(),
            _ => 1,
        };
        into.push(record);
        size
    }

    fn cut_to(&mut self, end: u64) -> Record {
        let (offset, len) = (self.next, end - self.next);
        let quota = self.quota_cut().is_some_and(|(a, b)| a <= offset && end <= b);
        let reason = if quota { CutReason::Quota } else { CutReason::Lost };
        self.next = end;
        let body = Body::Cut { len, reason };
        Record { offset, at_ms: self.last_ms, stream: Stream::Shim, body }
    }

    fn quota_cut(&self) -> Option<(u64, u64)> {
        let bytes = std::fs::read(self.dir.join(CUT_FILE)).ok()?;
        match parse(&bytes) {
            Parsed::Record(r, _) => Some((r.offset, r.end())),
            _ => None,
        }
    }

    /// The next record of the current segment, or of the one behind it.
    fn next_record(&mut self, last: bool) -> Result<Option<Record>, SpoolError> {
        loop {
            if self.current.is_none() && !self.open_at()? {
                return Ok(None);
            }
            let Some(open) = &mut self.current else { return Ok(None) };
            if let Some(record) = open.next().map_err(|e| failed(&self.dir, e))? {
                return Ok(Some(record));
            }
            let start = open.start;
            let newer = self.segments()?.into_iter().find(|s| *s > start);
            if newer.is_none() && !last {
                return Ok(None);
            }
            // Closed for good: what was written between our read and the listing is read now, and
            // what still doesn't parse never will.
            let Some(open) = &mut self.current else { return Ok(None) };
            if let Some(record) = open.next_closed().map_err(|e| failed(&self.dir, e))? {
                return Ok(Some(record));
            }
            match newer {
                Some(start) => self.current = Some(self.open_segment(start)?),
                None => return Ok(None),
            }
        }
    }

    /// Opens the segment that holds `next`, else the first one behind it.
    fn open_at(&mut self) -> Result<bool, SpoolError> {
        let starts = self.segments()?;
        let holds = starts.iter().rev().find(|s| **s <= self.next).or(starts.first());
        let Some(start) = holds.copied() else { return Ok(false) };
        self.current = Some(self.open_segment(start)?);
        Ok(true)
    }

    fn open_segment(&self, start: u64) -> Result<Open, SpoolError> {
        let path = segment_path(&self.dir, start);
        match File::open(&path) {
            Ok(file) => Ok(Open { file, start, at: 0, buffer: Vec::new(), used: 0, filled: 0 }),
            Err(source) => Err(SpoolError { path, source }),
        }
    }

    /// Starts of all segments, in order.
    fn segments(&self) -> Result<Vec<u64>, SpoolError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(e) => e,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(&self.dir, e)),
        };
        let mut starts = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed(&self.dir, e))?;
            starts.extend(entry.file_name().to_str().and_then(segment_start));
        }
        starts.sort_unstable();
        Ok(starts)
    }
}

impl Open {
    /// The next whole record, or `None` at the end or before something that does not parse.
    fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            match parse(self.unread()) {
                Parsed::Record(record, size) => {
                    self.used += size;
                    return Ok(Some(record));
                }
                Parsed::Short if self.fill()? => {}
                Parsed::Short => return Ok(None),
                // A reader may see bytes that are still arriving, or being cut off again on a full
                // disk: forget them and look again at the next call.
                Parsed::Damaged => {
                    self.filled = self.used;
                    self.fill()?;
                    if !matches!(parse(self.unread()), Parsed::Record(..)) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The next whole record of a segment that nobody writes any more, skipping damage.
    fn next_closed(&mut self) -> io::Result<Option<Record>> {
        if let Some(record) = self.next()? {
            return Ok(Some(record));
        }
        while self.fill()? {}
        match resync(&self.buffer[..self.filled], self.used) {
            Some(at) => {
                self.used = at;
                self.next()
            }
            None => Ok(None),
        }
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.used..self.filled]
    }

    /// Reads on behind what is unread. False at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        if self.used == self.filled {
            self.at += self.used as u64;
            (self.used, self.filled) = (0, 0);
        }
        // The room is made once and written over: to clear it for each of the small reads of a log
        // that is followed would cost more than they do.
        if self.buffer.len() - self.filled < ROOM {
            self.buffer.copy_within(self.used..self.filled, 0);
            self.at += self.used as u64;
            (self.used, self.filled) = (0, self.filled - self.used);
            if self.buffer.len() - self.filled < ROOM {
                self.buffer.resize(self.filled + CHUNK, 0);
            }
        }
        let room = &mut self.buffer[self.filled..];
        let got = self.file.read_at(room, self.at + self.filled as u64)?;
        self.filled += got;
        Ok(got > 0)
    }
}

fn failed(path: &Path, source: io::Error) -> SpoolError {
    SpoolError { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::super::SpoolWriter;
    use super::*;
    use crate::spec::SpoolLimits;

    #[test]
    fn a_reader_that_follows_sees_records_of_all_sizes_once_and_its_buffer_stays_small() {
        let dir = tempfile::tempdir().expect("a folder");
        let limits = SpoolLimits { segment_bytes: 6 << 20, ..SpoolLimits::default() };
        let mut writer = SpoolWriter::new(dir.path(), limits);
        let mut reader = SpoolReader::open(dir.path());
        let (mut written, mut seen) = (Vec::new(), Vec::new());
        let mut largest = 0;
        for n in 0..600_usize {
            // From one byte to a quarter of a mebibyte; looked at now and then, in the middle of it.
            let size = [1, 100, 4_096, 60_000, 262_144][n % 5] - n % 2;
            let data: Vec<u8> = (0..size).map(|i| (i * 31 + n) as u8).collect();
            writer.write(Stream::Stdout, n as u64, &data);
            written.extend(data);
            if n % 7 == 0 {
                for record in reader.poll_new(300_000).expect("readable") {
                    assert_eq!(record.offset, seen.len() as u64);
                    match record.body {
                        Body::Data(data) => seen.extend(data),
                        other => panic!("{other:?}"),
                    }
                }
                largest = largest.max(reader.current.as_ref().map_or(0, |open| open.buffer.len()));
            }
        }
        assert!(writer.finish(1));
        while !reader.ended() {
            for record in reader.poll_new(1 << 20).expect("readable") {
                if let Body::Data(data) = record.body {
                    seen.extend(data);
                }
            }
        }
        assert!(seen == written, "{} bytes of {}", seen.len(), written.len());
        assert!(largest <= CHUNK + ROOM + 262_144, "{largest}");
    }
}
