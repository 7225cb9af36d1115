//! What goes into the core and what comes out.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Entry, Message};

use crate::{
    error::{ProposeError, ReadError},
    ids::PeerId,
    log::Item,
    members::Members,
    snapshot::SnapshotMark,
};

/// The core's settings. All sizes are bounds on memory.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// This peer.
    pub peer: PeerId,
    /// How often it was started.
    pub incarnation: u64,
    /// Where election timeouts are drawn from; the same seed and inputs give the same outputs.
    pub seed: u64,
    /// Ticks without a leader before an election; timeouts lie between this and its double.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// The largest entry in bytes.
    pub max_entry_bytes: usize,
    /// The largest message taken from another peer, in bytes.
    pub max_message_bytes: usize,
    /// How many bytes of entries one message carries (one entry goes in any case).
    pub max_append_bytes: u64,
    /// How many messages with entries are under way to one peer.
    pub max_inflight_messages: usize,
    /// How many bytes of entries may wait to be committed.
    pub max_uncommitted_bytes: u64,
    /// How many bytes of entries are handed to apply at once.
    pub max_apply_bytes: u64,
    /// How many bytes of entries may wait to be applied before a follower takes no more.
    pub max_backlog_bytes: u64,
}

impl CoreConfig {
    /// The defaults of DESIGN's limits for this peer.
    pub fn new(peer: PeerId, incarnation: u64) -> Self {
        Self {
            peer,
            incarnation,
            seed: peer.0 ^ incarnation.rotate_left(32),
            election_ticks: 10,
            heartbeat_ticks: 1,
            max_entry_bytes: 1 << 20,
            max_message_bytes: 4 << 20,
            max_append_bytes: 1 << 20,
            max_inflight_messages: 64,
            max_uncommitted_bytes: 64 << 20,
            max_apply_bytes: 4 << 20,
            max_backlog_bytes: 64 << 20,
        }
    }
}

/// Where a peer begins: the newest snapshot, or the founding, and the entries behind it.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    pub(crate) applied_term: u64,
    pub(crate) members: Members,
    /// Those behind `applied`.
    pub(crate) entries: Vec<Entry>,
    pub(crate) snapshot: Option<SnapshotMark>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A tick of the clock passed.
    Tick,
    /// Another peer's [`Envelope`] arrived.
    Message(Vec<u8>),
    /// Somebody wants `data` in the log; `id` names the proposal until its answer.
    Propose {
        /// Unique among this start's proposals.
        id: u64,
        /// Not empty.
        data: Vec<u8>,
    },
    /// Somebody wants to read what is true now.
    Read {
        /// Unique among this start's reads.
        id: u64,
    },
    /// All writes up to this number are durable.
    Synced {
        /// A `Write`'s number.
        write: u64,
    },
    /// All entries up to this one are applied.
    Applied {
        /// Its index.
        index: u64,
    },
    /// A snapshot's file is durable.
    SnapshotSaved(SnapshotMark),
    /// The file asked for by `fetch_snapshot` is durable here.
    SnapshotReceived {
        /// The snapshot's index.
        index: u64,
    },
    /// It cannot be had; the leader will offer one again.
    SnapshotLost {
        /// The snapshot's index.
        index: u64,
    },
    /// What became of a snapshot's way to a peer. Must follow each message that names one, or
    /// that peer gets no entries any more.
    SnapshotSent {
        /// The peer.
        to: PeerId,
        /// Whether it has the file.
        arrived: bool,
    },
    /// The last message to this peer could not be delivered.
    Unreachable(PeerId),
    /// This peer should not lead any longer (its disk is slow).
    HandOver,
}

/// A message for another peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The addressee.
    pub to: PeerId,
    /// Opaque; becomes the addressee's [`Input::Message`].
    pub bytes: Vec<u8>,
    /// The snapshot that it names, if it does: the sender's shell answers with
    /// [`Input::SnapshotSent`].
    pub names_snapshot: bool,
}

/// Something for the log, in the order of its number.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) number: u64,
    pub(crate) items: Vec<Item>,
}

/// Something for the state machine, in order. It is committed, and durable here.
#[derive(Debug, Clone)]
pub enum Applicable {
    /// An entry.
    Entry {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// The proposal of this start that it is, if it is one.
        proposal: Option<u64>,
        /// What it says.
        body: Body,
    },
    /// The state machine's state is replaced by this snapshot.
    Restore(SnapshotMark),
}

/// What an entry says.
#[derive(Debug, Clone)]
pub enum Body {
    /// A new leader's first entry.
    Nothing,
    /// Bytes for the state machine.
    Command(Bytes),
    /// The members from here on.
    Members(Members),
}

/// An answer that does not wait for the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The proposal has no reply.
    Refused {
        /// The proposal.
        id: u64,
        /// Why.
        error: ProposeError,
    },
    /// The read may be served once all up to `index` is applied.
    ReadAt {
        /// The read.
        id: u64,
        /// The index.
        index: u64,
    },
    /// The read cannot be served.
    ReadRefused {
        /// The read.
        id: u64,
        /// Why.
        error: ReadError,
    },
}

/// What is to be done. Writes, applications and answers are in order; messages may be lost.
#[derive(Debug, Default)]
pub struct Outputs {
    /// To send, now.
    pub messages: Vec<Envelope>,
    /// To make durable, in order, each before the next; then [`Input::Synced`].
    pub(crate) writes: Vec<Write>,
    /// To apply, in order; then [`Input::Applied`].
    pub apply: Vec<Applicable>,
    /// To hand to whoever asked.
    pub answers: Vec<Answer>,
    /// To fetch from that peer; then [`Input::SnapshotReceived`] or [`Input::SnapshotLost`].
    pub fetch_snapshot: Option<(PeerId, SnapshotMark)>,
    /// How many messages were not even looked at: too large, garbled, not for us.
    pub refused_messages: u64,
}

impl Outputs {
    pub(super) fn send(&mut self, message: &Message) {
        // Encoding fails only for a message without required fields; raft's have none.
        if let Ok(bytes) = message.write_to_bytes() {
            let names_snapshot = message.has_snapshot();
            self.messages.push(Envelope { to: PeerId(message.to), bytes, names_snapshot });
        }
    }
}

/// A peer's part in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It proposes.
    Leader,
    /// It follows, or waits for a leader.
    Follower,
    /// It stands for election.
    Candidate,
}

/// Where a core stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreStatus {
    /// Its part.
    pub role: Role,
    /// Raft's term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<PeerId>,
    /// The highest index known to be committed.
    pub commit: u64,
    /// The highest index known to be applied here.
    pub applied: u64,
    /// The end of the log.
    pub last_index: u64,
    /// The end of what is durable here.
    pub last_durable: u64,
    /// Proposals without an answer.
    pub proposals: usize,
}
