//! The shim's side: append records, rotate segments, hold the quota, survive a full disk.
//!
//! Nothing here returns an error: the stage must never stop because its log can't be written.
//! What can't be written is counted, and said as a cut as soon as a write succeeds again.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::record::{HEADER, Kind, header};
use super::{CUT_FILE, CutReason, Stream, segment_path};
use crate::spec::SpoolLimits;

/// Writes a worker's spool.
#[derive(Debug)]
pub struct SpoolWriter {
    dir: PathBuf,
    limits: SpoolLimits,
    /// The offset of the next byte of output.
    offset: u64,
    segment: Option<Segment>,
    /// Closed segments behind the head, oldest first: (start, end).
    tail: VecDeque<(u64, u64)>,
    /// Output that could not be written and is not yet recorded as cut: (offset, length).
    unsaid: Option<(u64, u64)>,
    /// The range that the quota has cut: (offset, length).
    quota_cut: Option<(u64, u64)>,
    dropped: u64,
}

#[derive(Debug)]
struct Segment {
    file: File,
    start: u64,
    /// Bytes of whole records in the file.
    len: u64,
}

impl SpoolWriter {
    /// A writer into an existing, empty folder.
    pub fn new(dir: &Path, limits: SpoolLimits) -> Self {
        Self {
            dir: dir.to_path_buf(),
            limits,
            offset: 0,
            segment: None,
            tail: VecDeque::new(),
            unsaid: None,
            quota_cut: None,
            dropped: 0,
        }
    }

    /// The offset of the next byte: how much the stage has written so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes dropped so far, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Appends output. One `writev` in the ordinary case.
    pub fn write(&mut self, stream: Stream, at_ms: u64, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        self.rotate_if_due();
        let len = payload.len() as u64;
        let said = self.say_unsaid(at_ms);
        let h = header(self.offset, at_ms, stream, Kind::Data, payload);
        if said.and_then(|()| self.append(&h, payload)).is_err() {
            let (from, lost) = self.unsaid.unwrap_or((self.offset, 0));
            self.unsaid = Some((from, lost + len));
            self.dropped += len;
        }
        self.offset += len;
    }

    /// Writes the last record. True when everything, cuts included, is in the spool.
    pub fn finish(&mut self, at_ms: u64) -> bool {
        let said = self.say_unsaid(at_ms);
        let h = header(self.offset, at_ms, Stream::Shim, Kind::End, &[]);
        said.and_then(|()| self.append(&h, &[])).is_ok()
    }

    fn say_unsaid(&mut self, at_ms: u64) -> io::Result<()> {
        let Some((from, len)) = self.unsaid else { return Ok(()) };
        let payload = len.to_le_bytes();
        let kind = Kind::Cut(CutReason::Disk);
        self.append(&header(from, at_ms, Stream::Shim, kind, &payload), &payload)?;
        self.unsaid = None;
        Ok(())
    }

    fn append(&mut self, head: &[u8; HEADER], payload: &[u8]) -> io::Result<()> {
        let segment = match &mut self.segment {
            Some(s) => s,
            None => {
                let start = self.unsaid.map_or(self.offset, |(from, _)| from);
                let path = segment_path(&self.dir, start);
                let mut options = OpenOptions::new();
                let file = options.append(true).create(true).mode(0o600).open(path)?;
                self.segment.insert(Segment { file, start, len: 0 })
            }
        };
        match write_all(&mut segment.file, head, payload) {
            Ok(()) => {
                segment.len += (head.len() + payload.len()) as u64;
                Ok(())
            }
            Err(error) => {
                // Half a record must not stand before the next whole one. When even that fails
                // (I/O error), this segment is given up; the next begins at a later offset.
                if segment.file.set_len(segment.len).is_err() {
                    self.segment = None;
                }
                Err(error)
            }
        }
    }

    /// Closes the segment when it is full, or when the head ends and the tail begins.
    fn rotate_if_due(&mut self) {
        let in_tail = self.offset >= self.limits.head_bytes;
        // Small segments in a small tail, so that what is dropped at a time is a part of it.
        let tail_segment = self.limits.segment_bytes.min((self.limits.tail_bytes / 4).max(4096));
        let size = if in_tail { tail_segment } else { self.limits.segment_bytes };
        let Some(s) = &self.segment else { return };
        let head_ends_here = in_tail && s.start < self.limits.head_bytes;
        if s.len < size && !head_ends_here || s.start == self.offset {
            return;
        }
        let closed = (s.start, self.offset);
        self.segment = None;
        if closed.0 >= self.limits.head_bytes {
            self.tail.push_back(closed);
            self.drop_old_tail();
        }
    }

    /// Drops the oldest tail segments while what is left still holds the quota.
    fn drop_old_tail(&mut self) {
        while let Some(&(start, end)) = self.tail.front() {
            if self.offset - end < self.limits.tail_bytes {
                return;
            }
            self.tail.pop_front();
            let path = segment_path(&self.dir, start);
            // What the agent has already taken (and pruned) is not cut.
            if path.exists() {
                self.say_quota_cut(start, end);
                let _ = std::fs::remove_file(path);
                self.dropped += end - start;
            }
        }
    }

    /// Said before the segment goes, in place: one record that grows. A reader asks it only about
    /// offsets that it can't find.
    fn say_quota_cut(&mut self, start: u64, end: u64) {
        let from = self.quota_cut.map_or(start, |(from, _)| from);
        self.quota_cut = Some((from, end - from));
        let payload = (end - from).to_le_bytes();
        let kind = Kind::Cut(CutReason::Quota);
        let mut bytes = header(from, 0, Stream::Shim, kind, &payload).to_vec();
        bytes.extend_from_slice(&payload);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600);
        if let Ok(file) = file.open(self.dir.join(CUT_FILE)) {
            let _ = file.write_all_at(&bytes, 0);
        }
    }
}

fn write_all(file: &mut File, head: &[u8], payload: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(head), IoSlice::new(payload)];
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut left, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
