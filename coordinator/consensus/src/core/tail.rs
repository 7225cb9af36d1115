//! The end of the log in memory, as raft reads it: durable or not.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{
    Error, GetEntriesContext, RaftState, Result, Storage, StorageError,
    eraftpb::{Entry, HardState, Snapshot},
};

use super::io::Boot;
use crate::{log::codec::Reader, members::Members, snapshot::SnapshotMark};

/// The entries behind a certain one. Bounded by what lies between two snapshots; a peer that is
/// further behind gets a snapshot.
#[derive(Debug)]
pub(super) struct Tail {
    start: HardState,
    start_members: Members,
    /// The entry before the first.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    snapshot: Option<SnapshotMark>,
}

impl Tail {
    pub(super) fn new(boot: Boot) -> Self {
        let start = HardState {
            term: boot.term,
            vote: boot.vote,
            commit: boot.commit,
            ..HardState::default()
        };
        Self {
            start,
            start_members: boot.members,
            before: (boot.applied, boot.applied_term),
            entries: boot.entries.into(),
            snapshot: boot.snapshot,
        }
    }

    fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    /// Where `index` is in `entries`; the caller knows that it is behind `before`.
    fn at(&self, index: u64) -> usize {
        usize::try_from(index - self.before.0 - 1).unwrap_or(usize::MAX)
    }

    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        // Raft never replaces what it has applied, so `first` is never before ours.
        self.entries.truncate(self.at(first.index.max(self.before.0 + 1)));
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets the entries up to `index`, but not that one's term.
    pub(super) fn forget_until(&mut self, index: u64) {
        while self.entries.front().is_some_and(|first| first.index <= index) {
            if let Some(first) = self.entries.pop_front() {
                self.before = (first.index, first.term);
            }
        }
    }

    /// Entries up to the snapshot before this one go: whoever needs them gets this one.
    pub(super) fn snapshot_saved(&mut self, mark: &SnapshotMark) {
        // One that was received meanwhile may be newer.
        if self.snapshot.as_ref().is_some_and(|known| known.index >= mark.index) {
            return;
        }
        if let Some(older) = self.snapshot.replace(mark.clone()) {
            self.forget_until(older.index);
        }
    }

    /// The log begins anew behind a received snapshot.
    pub(super) fn restore(&mut self, mark: &SnapshotMark) {
        self.entries.clear();
        self.before = (mark.index, mark.term);
        self.snapshot = Some(mark.clone());
    }
}

impl Storage for Tail {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.start.clone(), self.start_members.to_raft()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        if low <= self.before.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let mut room = max_size.into().unwrap_or(u64::MAX);
        let mut found = Vec::new();
        for entry in self.entries.range(self.at(low)..self.at(high)) {
            let size = (entry.data.len() + entry.context.len() + crate::log::record::ENTRY_OVERHEAD)
                as u64;
            if size > room && !found.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        if index < self.before.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get(self.at(index));
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.before.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        match &self.snapshot {
            Some(mark) if mark.index >= request_index => Ok(name(mark)),
            _ => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
        }
    }
}

/// Raft's message about a snapshot: the mark, not the bytes.
pub(super) fn name(mark: &SnapshotMark) -> Snapshot {
    let mut bytes = Vec::new();
    mark.encode(&mut bytes);
    let mut snapshot = Snapshot { data: Bytes::from(bytes), ..Snapshot::default() };
    let metadata = snapshot.mut_metadata();
    metadata.index = mark.index;
    metadata.term = mark.term;
    metadata.set_conf_state(mark.members.to_raft());
    snapshot
}

/// The mark in such a message; `None` if it is garbled or contradicts itself.
pub(super) fn mark_of(snapshot: &Snapshot) -> Option<SnapshotMark> {
    let mut mark = SnapshotMark::decode(&mut Reader::new(&snapshot.data)).ok()?;
    let metadata = snapshot.get_metadata();
    let members = Members::from_raft(metadata.get_conf_state());
    let same =
        (mark.index, mark.term) == (metadata.index, metadata.term) && mark.members == members;
    mark.received = true;
    same.then_some(mark)
}
