//! Feeds the state machine, and knows when a snapshot is due.

use std::{collections::BTreeSet, path::Path};

use crate::{
    config::Config,
    core::{Applicable, Body},
    disk::Disk,
    error::Fatal,
    machine::{Serialise, StateMachine},
    members::Members,
    snapshot::{self, SnapshotMark},
};

/// The state machine and how far it is.
#[derive(Debug)]
pub(crate) struct Applier<S> {
    machine: S,
    applied: u64,
    published: u64,
    term: u64,
    members: Members,
    entries_since: u64,
    bytes_since: u64,
    /// What the last capture counted, in case it is not saved.
    captured: (u64, u64),
    /// Reads that wait for an index: (index, read).
    reads: BTreeSet<(u64, u64)>,
}

/// A state, captured to be saved.
pub(crate) struct Capture {
    index: u64,
    term: u64,
    members: Members,
    serialise: Serialise,
}

impl Capture {
    /// Serialises and saves it; slow. The mark is what the log is to name.
    pub(crate) fn save(self, disk: &dyn Disk, dir: &Path) -> Result<Option<SnapshotMark>, Fatal> {
        let bytes = (self.serialise)();
        let mark = SnapshotMark::of(self.index, self.term, self.members, &bytes);
        match snapshot::save(disk, dir, &mark, &bytes) {
            Ok(()) => Ok(Some(mark)),
            // The log keeps what the snapshot would have had; the caller tries again.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                tracing::warn!(index = self.index, "no room for a snapshot");
                Ok(None)
            }
            Err(error) => Err(Fatal::new("saving", &dir.join(mark.file_name()), error)),
        }
    }
}

impl<S: StateMachine> Applier<S> {
    /// `machine` is as it was at `applied`. What is replayed from the log counts towards the next
    /// snapshot, so that a server that restarts often takes one all the same.
    pub(crate) fn new(machine: S, applied: u64, term: u64, members: Members) -> Self {
        let (entries_since, bytes_since) = (0, 0);
        let (published, reads) = (0, BTreeSet::new());
        Self {
            machine,
            applied,
            published,
            term,
            members,
            entries_since,
            bytes_since,
            captured: (0, 0),
            reads,
        }
    }

    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    pub(crate) fn machine(&self) -> &S {
        &self.machine
    }

    /// Applies one thing; the reply is that of a proposal made here.
    pub(crate) fn apply(
        &mut self,
        what: Applicable,
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<Option<(u64, S::Reply)>, Fatal> {
        match what {
            Applicable::Entry { index, term, proposal, body } => {
                if let Body::Command(data) = &body {
                    let stop = |why| Fatal::CannotApply { index, dir: dir.to_owned(), why };
                    self.machine.admit(index, data).map_err(stop)?;
                }
                (self.applied, self.term) = (index, term);
                self.entries_since += 1;
                match body {
                    Body::Nothing => Ok(None),
                    Body::Members(members) => {
                        self.members = members;
                        Ok(None)
                    }
                    Body::Command(data) => {
                        self.bytes_since += data.len() as u64;
                        let reply = self.machine.apply(index, &data);
                        Ok(proposal.map(|id| (id, reply)))
                    }
                }
            }
            Applicable::Restore(mark) => {
                let file = dir.join(mark.file_name());
                let broken = |what: String| Fatal::Broken(format!("{}: {what}", file.display()));
                let bytes = snapshot::load(disk, dir, &mark).map_err(|e| broken(e.to_string()))?;
                self.machine.restore(&bytes).map_err(|e| broken(e.to_string()))?;
                (self.applied, self.term) = (mark.index, mark.term);
                self.members = mark.members;
                (self.entries_since, self.bytes_since) = (0, 0);
                self.captured = (0, 0);
                Ok(None)
            }
        }
    }

    /// Lets the world see what was applied; the reads that may now be served.
    pub(crate) fn publish(&mut self) -> Vec<u64> {
        if self.published < self.applied {
            self.published = self.applied;
            self.machine.publish(self.applied);
        }
        let mut served = Vec::new();
        while let Some((index, id)) = self.reads.first().copied().filter(|r| r.0 <= self.applied) {
            self.reads.remove(&(index, id));
            served.push(id);
        }
        served
    }

    /// A read waits for `index`; the next [`publish`](Self::publish) may serve it.
    pub(crate) fn wait(&mut self, index: u64, id: u64) {
        self.reads.insert((index, id));
    }

    pub(crate) fn snapshot_due(&self, config: &Config) -> bool {
        self.entries_since >= config.snapshot_every_entries
            || self.bytes_since >= config.snapshot_every_bytes
    }

    /// The last capture was not saved: it is as if it had not been made.
    pub(crate) fn not_saved(&mut self) {
        let (entries, bytes) = std::mem::take(&mut self.captured);
        self.entries_since += entries;
        self.bytes_since += bytes;
    }

    /// Captures the state, unless nothing happened since the last time.
    pub(crate) fn capture(&mut self) -> Option<Capture> {
        if self.entries_since == 0 {
            return None;
        }
        self.captured = (self.entries_since, self.bytes_since);
        (self.entries_since, self.bytes_since) = (0, 0);
        Some(Capture {
            index: self.applied,
            term: self.term,
            members: self.members.clone(),
            serialise: self.machine.snapshot(),
        })
    }
}
