//! What raft has ready: writes in order, messages before or after them, entries to apply.

use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeV2, Entry, EntryType};

use super::{Applicable, Body, Core, Outputs, Unsynced, Write, tail};
use crate::{log::Item, members::Members};

impl Core {
    pub(super) fn ready(&mut self, out: &mut Outputs) {
        let mut ready = self.raw.ready();
        for message in ready.take_messages() {
            out.send(&message);
        }
        let mut items = Vec::new();
        let mut restore = None;
        if let Some(state) = ready.hs() {
            if self.vote_written != (state.term, state.vote) {
                // The term goes first: no entry may be of a later term than the one on disk.
                items.push(Item::Vote { term: state.term, vote: state.vote });
                self.vote_written = (state.term, state.vote);
            }
            self.commit_unwritten = true;
        }
        if !ready.snapshot().is_empty() {
            // Checked when it was offered, and made by `mark_of`'s counterpart.
            if let Some(mut mark) = tail::mark_of(ready.snapshot()) {
                mark.received = true;
                self.raw.mut_store().restore(&mark);
                self.members = mark.members.clone();
                self.handed_to_apply = mark.index;
                self.restoring = Some(mark.index);
                items.push(Item::Snapshot(mark.clone()));
                restore = Some(mark);
            }
        }
        let entries = ready.take_entries();
        self.raw.mut_store().append(&entries);
        items.extend(entries.into_iter().map(Item::Entry));
        // A commit index alone is not worth a write: a restart finds it again.
        if !items.is_empty() && std::mem::take(&mut self.commit_unwritten) {
            items.push(Item::Commit(self.raw.raft.raft_log.committed));
        }
        if !items.is_empty() {
            self.write(items, out);
        }
        self.apply(ready.take_committed_entries(), out);
        self.reads.confirmed(ready.take_read_states(), &mut out.answers);

        let number = ready.number();
        let messages = ready.take_persisted_messages();
        self.raw.advance_append_async(ready);
        let write = self.written;
        self.unsynced.push_back(Unsynced { write, ready: number, messages, restore });
        self.release(out);
    }

    pub(super) fn write(&mut self, items: Vec<Item>, out: &mut Outputs) {
        self.written += 1;
        out.writes.push(Write { number: self.written, items });
    }

    pub(super) fn synced(&mut self, write: u64, out: &mut Outputs) {
        self.synced = self.synced.max(write);
        self.release(out);
    }

    /// Tells raft, and others, what is durable by now.
    fn release(&mut self, out: &mut Outputs) {
        while self.unsynced.front().is_some_and(|first| first.write <= self.synced) {
            if let Some(first) = self.unsynced.pop_front() {
                self.raw.on_persist_ready(first.ready);
                // The memory is swapped only once the log says so. What is committed behind the snapshot
                // comes after it: that is persisted later.
                out.apply.extend(first.restore.map(Applicable::Restore));
                for message in &first.messages {
                    out.send(message);
                }
            }
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, out: &mut Outputs) {
        for entry in entries {
            let proposal = self.proposals.committed(entry.index, entry.term);
            let bytes = entry.data.len() as u64;
            self.handed_to_apply = entry.index;
            self.backlog_bytes += bytes;
            self.backlog.push_back((entry.index, bytes));
            let body = match entry.entry_type {
                EntryType::EntryNormal if entry.data.is_empty() => Body::Nothing,
                EntryType::EntryNormal => Body::Command(entry.data),
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    self.change_members(&entry);
                    Body::Members(self.members.clone())
                }
            };
            let (index, term) = (entry.index, entry.term);
            out.apply.push(Applicable::Entry { index, term, proposal, body });
        }
    }

    fn change_members(&mut self, entry: &Entry) {
        let changed = match entry.entry_type {
            EntryType::EntryConfChange => {
                let mut change = ConfChange::default();
                let parsed = change.merge_from_bytes(&entry.data);
                parsed.map_err(raft::Error::from).and_then(|()| self.raw.apply_conf_change(&change))
            }
            EntryType::EntryNormal | EntryType::EntryConfChangeV2 => {
                let mut change = ConfChangeV2::default();
                let parsed = change.merge_from_bytes(&entry.data);
                parsed.map_err(raft::Error::from).and_then(|()| self.raw.apply_conf_change(&change))
            }
        };
        match changed {
            Ok(state) => self.members = Members::from_raft(&state),
            // Every peer refuses it alike, so the group stays of one mind.
            Err(error) => tracing::error!(index = entry.index, %error, "membership change refused"),
        }
    }

    pub(super) fn applied(&mut self, index: u64) {
        if index <= self.applied || index > self.handed_to_apply {
            return;
        }
        self.applied = index;
        while self.backlog.front().is_some_and(|(first, _)| *first <= index) {
            if let Some((_, bytes)) = self.backlog.pop_front() {
                self.backlog_bytes -= bytes;
            }
        }
        self.raw.advance_apply_to(index);
        self.restoring = self.restoring.filter(|restoring| *restoring > index);
        if self.alone() {
            // Nobody will ask for these; a peer that joins later begins with a snapshot.
            self.raw.mut_store().forget_until(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{Message, MessageType};

    use super::*;
    use crate::{
        core::{Boot, CoreConfig, Input, Role},
        ids::PeerId,
        snapshot::SnapshotMark,
    };

    const BEHIND: u64 = 500;

    /// A follower to which a leader has sent a snapshot that is far ahead, with the file here.
    fn receiving() -> (Core, Outputs) {
        let boot = Boot {
            term: 1,
            vote: 0,
            commit: 1,
            applied: 1,
            applied_term: 1,
            members: Members::of_voters(vec![1, 2, 3]),
            entries: Vec::new(),
            snapshot: None,
        };
        let mut core = Core::new(CoreConfig::new(PeerId(1), 1), boot).expect("it starts");
        let mark = SnapshotMark::of(BEHIND, 2, Members::of_voters(vec![1, 2, 3]), b"state");
        let mut message = Message { from: 2, to: 1, term: 2, ..Message::default() };
        message.set_msg_type(MessageType::MsgSnapshot);
        message.set_snapshot(tail::name(&mark));
        let bytes = message.write_to_bytes().expect("it has all fields");
        let out = core.step([Input::Message(bytes)]);
        assert!(out.fetch_snapshot.is_some() && out.apply.is_empty());
        let out = core.step([Input::SnapshotReceived { index: BEHIND }]);
        (core, out)
    }

    fn long(core: &mut Core) {
        for _ in 0..100 {
            core.step([Input::Tick]);
        }
    }

    #[test]
    fn a_received_snapshot_is_restored_only_when_the_log_names_it() {
        let (mut core, out) = receiving();
        let write = out.writes.last().expect("it is written");
        assert!(
            write.items.iter().any(|item| matches!(item, Item::Snapshot(mark) if mark.received))
        );
        assert!(out.apply.is_empty(), "its name is not durable yet");
        assert_eq!(core.status().applied, 1);
        let out = core.step([Input::Synced { write: write.number }]);
        assert!(matches!(&out.apply[..], [Applicable::Restore(mark)] if mark.index == BEHIND));
    }

    #[test]
    fn a_follower_outlives_its_leader_at_every_step_of_a_snapshot() {
        let (mut core, out) = receiving();
        // The leader is silent from here on. While the state is swapped nobody stands for election…
        long(&mut core);
        let out = core.step([Input::Synced { write: out.writes.last().expect("written").number }]);
        assert_eq!(out.apply.len(), 1);
        long(&mut core);
        assert_eq!((core.status().role, core.status().applied), (Role::Follower, 1));
        // …and then it does, though no entry has come since.
        core.step([Input::Applied { index: BEHIND }]);
        assert_eq!(core.status().applied, BEHIND);
        long(&mut core);
        assert_eq!(core.status().role, Role::Candidate);
    }
}
