//! The sync core around raft-rs: inputs in, outputs out; no thread, clock, disk or random source.

mod elections;
mod inbound;
mod io;
mod logger;
mod proposals;
mod reads;
mod ready;
mod tail;

use std::collections::VecDeque;

use raft::{RawNode, StateRole, eraftpb::Message};

pub use io::{Answer, Applicable, Body, CoreConfig, CoreStatus, Envelope, Input, Outputs, Role};
pub(crate) use io::{Boot, Write};

use self::{elections::Elections, proposals::Proposals, reads::Reads, tail::Tail};
use crate::{error::Fatal, ids::PeerId, log::Item, members::Members, snapshot::SnapshotMark};

/// One peer's consensus. See [`Input`] and [`Outputs`] for its contract.
pub struct Core {
    raw: RawNode<Tail>,
    config: CoreConfig,
    elections: Elections,
    proposals: Proposals,
    reads: Reads,
    members: Members,
    /// The number of the last write handed out.
    written: u64,
    /// The number of the last write that is durable.
    synced: u64,
    /// Readies whose writes are not durable yet, with what may be said only then.
    unsynced: VecDeque<Unsynced>,
    /// A commit index that is not in any write yet. It goes with the next one.
    commit_unwritten: bool,
    /// Raft's vote as it was last handed out to be written.
    vote_written: (u64, u64),
    /// A snapshot that a leader offers and whose file is being fetched.
    offered: Option<(SnapshotMark, Message)>,
    /// The index of a received snapshot that is not applied yet. Raft knows no entry before it, and would
    /// look for those that it takes for unapplied if it stood for election meanwhile.
    restoring: Option<u64>,
    applied: u64,
    handed_to_apply: u64,
    backlog_bytes: u64,
    /// Sizes of what was handed to apply: (index, bytes).
    backlog: VecDeque<(u64, u64)>,
}

struct Unsynced {
    write: u64,
    ready: u64,
    messages: Vec<Message>,
    restore: Option<SnapshotMark>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Core {
    /// A peer that begins where `boot` says. A group of one is led at once.
    pub(crate) fn new(config: CoreConfig, boot: Boot) -> Result<Self, Fatal> {
        let raft = raft::Config {
            id: config.peer.0,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied: boot.applied,
            max_size_per_msg: config.max_append_bytes,
            max_inflight_msgs: config.max_inflight_messages,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            max_uncommitted_size: config.max_uncommitted_bytes.max(config.max_append_bytes),
            max_committed_size_per_ready: config.max_apply_bytes,
            ..raft::Config::default()
        };
        let (applied, term, vote) = (boot.applied, boot.term, boot.vote);
        let members = boot.members.clone();
        let tail = Tail::new(boot);
        let raw = RawNode::new(&raft, tail, &logger::to_tracing())
            .map_err(|error| Fatal::Broken(format!("raft does not start: {error}")))?;
        let mut core = Self {
            raw,
            elections: Elections::new(config.seed, config.peer.0, config.election_ticks),
            proposals: Proposals::default(),
            reads: Reads::new(config.peer.0, config.incarnation, config.election_ticks),
            config,
            members,
            written: 0,
            synced: 0,
            unsynced: VecDeque::new(),
            commit_unwritten: false,
            vote_written: (term, vote),
            offered: None,
            restoring: None,
            applied,
            handed_to_apply: applied,
            backlog_bytes: 0,
            backlog: VecDeque::new(),
        };
        core.elections.settle(&mut core.raw.raft);
        if core.alone() {
            core.raw
                .campaign()
                .map_err(|error| Fatal::Broken(format!("a group of one has no leader: {error}")))?;
            core.elections.settle(&mut core.raw.raft);
        }
        Ok(core)
    }

    /// Takes the inputs in order, then says what is to be done. Many inputs in one call become
    /// one write and one message per peer: group commit.
    pub fn step(&mut self, inputs: impl IntoIterator<Item = Input>) -> Outputs {
        let mut out = Outputs::default();
        for input in inputs {
            self.take(input, &mut out);
            // Raft draws election timeouts from a random source of its own; ours replay.
            self.elections.settle(&mut self.raw.raft);
            let (term, leads) = (self.raw.raft.term, self.leads());
            self.proposals.fail_if_deposed(term, leads, &mut out.answers);
        }
        self.reads.ask(&mut self.raw);
        while self.raw.has_ready() {
            self.ready(&mut out);
        }
        if leads_new_term(&self.raw) {
            self.reads.ask(&mut self.raw);
            while self.raw.has_ready() {
                self.ready(&mut out);
            }
        }
        self.elections.settle(&mut self.raw.raft);
        out
    }

    /// Whether this peer must be told of passing time. A group of one needs no ticks.
    pub fn needs_ticks(&self) -> bool {
        !self.alone()
    }

    /// Where this peer stands.
    pub fn status(&self) -> CoreStatus {
        let raft = &self.raw.raft;
        CoreStatus {
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            term: raft.term,
            leader: Some(raft.leader_id).filter(|id| *id != 0).map(PeerId),
            commit: raft.raft_log.committed,
            applied: self.applied,
            last_index: raft.raft_log.last_index(),
            last_durable: raft.raft_log.persisted,
            proposals: self.proposals.count(),
        }
    }

    fn alone(&self) -> bool {
        let members = &self.members;
        members.voters == [self.config.peer.0]
            && members.learners.is_empty()
            && members.voters_outgoing.is_empty()
    }

    fn leads(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn take(&mut self, input: Input, out: &mut Outputs) {
        match input {
            Input::Tick => {
                if self.restoring.is_none() {
                    self.raw.tick();
                }
                self.reads.tick(&mut out.answers);
            }
            Input::Message(bytes) => self.message(&bytes, out),
            Input::Propose { id, data } => {
                let limit = self.config.max_entry_bytes;
                if let Err(error) = self.proposals.propose(&mut self.raw, id, data, limit) {
                    out.answers.push(Answer::Refused { id, error });
                }
            }
            Input::Read { id } => self.reads.add(id, &mut out.answers),
            Input::Synced { write } => self.synced(write, out),
            Input::Applied { index } => self.applied(index),
            Input::SnapshotSaved(mark) => {
                self.raw.mut_store().snapshot_saved(&mark);
                // What is committed and not yet in a write must not be named before it is.
                let log = &self.raw.raft.raft_log;
                let commit = Item::Commit(log.committed.min(log.persisted));
                self.write(vec![commit, Item::Snapshot(mark)], out);
            }
            Input::SnapshotReceived { index } => {
                if let Some((_, message)) = self.offered.take_if(|(mark, _)| mark.index == index) {
                    self.step_raft(message);
                }
            }
            Input::SnapshotLost { index } => {
                self.offered.take_if(|(mark, _)| mark.index == index);
            }
            Input::SnapshotSent { to, arrived } => {
                let status = if arrived {
                    raft::SnapshotStatus::Finish
                } else {
                    raft::SnapshotStatus::Failure
                };
                self.raw.report_snapshot(to.0, status);
            }
            Input::Unreachable(peer) => self.raw.report_unreachable(peer.0),
            Input::HandOver => self.hand_over(),
        }
    }
}

/// Reads are confirmed only by a leader that has committed an entry of its own term.
fn leads_new_term(raw: &RawNode<Tail>) -> bool {
    raw.raft.state == StateRole::Leader && raw.raft.commit_to_current_term()
}
