//! Drives the core. Never blocks: what takes time is another thread's.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    apply_thread::ToApply,
    inbox::Inbox,
    log_thread::ToLog,
    pending::{PendingProposal, PendingRead},
    status::Board,
};
use crate::{
    config::Transport,
    core::{Answer, Core, Input, Outputs},
    error::ProposeError,
    log::{Item, Room, writer::entry_cost},
    room::{self, Admission, DiskState},
};

pub(super) enum ToRaft<R> {
    Input(Input),
    Propose {
        data: Vec<u8>,
        pending: PendingProposal<R>,
    },
    Read {
        pending: PendingRead,
    },
    /// Said by the log before each `Synced`.
    Room {
        room: Room,
        stuck: bool,
    },
    /// The log names a snapshot of this index.
    Named {
        index: u64,
    },
}

/// A leader whose oldest write is this old lets another lead (RELIABILITY F9).
const SLOW_DISK: Duration = Duration::from_secs(1);

pub(super) struct RaftThread<R> {
    pub(super) core: Core,
    pub(super) inbox: Inbox<ToRaft<R>>,
    pub(super) log: Inbox<ToLog>,
    pub(super) apply: Inbox<ToApply<R>>,
    pub(super) board: Board,
    pub(super) transport: Option<Arc<dyn Transport>>,
    pub(super) tick: Duration,
    pub(super) segment_bytes: u64,
    pub(super) room: Room,
    /// The applied index from which on the peer is ready.
    pub(super) ready_at: u64,
    pub(super) state: Running<R>,
}

/// What is under way.
pub(super) struct Running<R> {
    next_id: u64,
    proposals: BTreeMap<u64, PendingProposal<R>>,
    reads: BTreeMap<u64, PendingRead>,
    /// Writes that are not durable: number, bytes of log at most, when handed over.
    unsynced: VecDeque<(u64, u64, Instant)>,
    queued: u64,
    /// Proposals to be made, in order; they wait only while the next segment is being made.
    /// Bounded like all proposals.
    deferred: VecDeque<(Vec<u8>, PendingProposal<R>)>,
    /// Bytes of log of the proposals taken in this round.
    admitted: u64,
    stuck: bool,
    next_tick: Option<Instant>,
}

impl<R> Running<R> {
    pub(super) fn new() -> Self {
        Self {
            next_id: 0,
            proposals: BTreeMap::new(),
            reads: BTreeMap::new(),
            unsynced: VecDeque::new(),
            queued: 0,
            deferred: VecDeque::new(),
            admitted: 0,
            stuck: false,
            next_tick: None,
        }
    }
}

impl<R: Send + 'static> RaftThread<R> {
    /// Until the inbox is closed.
    pub(super) fn run(mut self) {
        // What the core wants before anything happened: its election, in a group of one.
        let outputs = self.core.step([]);
        self.carry_out(outputs);
        self.report();
        loop {
            let deadline = self.next_tick();
            let Some(work) = self.inbox.take(deadline) else { return };
            let mut inputs = Vec::with_capacity(work.len() + 1);
            for item in work {
                self.take(item, &mut inputs);
            }
            self.tick(&mut inputs);
            let outputs = self.core.step(inputs);
            self.carry_out(outputs);
            self.report();
        }
    }

    /// A group of one sleeps until somebody wants something.
    fn next_tick(&mut self) -> Option<Instant> {
        if !self.core.needs_ticks() {
            self.state.next_tick = None;
        } else if self.state.next_tick.is_none() {
            self.state.next_tick = Some(Instant::now() + self.tick);
        }
        self.state.next_tick
    }

    fn tick(&mut self, inputs: &mut Vec<Input>) {
        let now = Instant::now();
        if self.state.next_tick.is_some_and(|at| now >= at) {
            // After a pause only one: the group did not tick either, as far as we heard.
            self.state.next_tick = Some(now + self.tick);
            inputs.push(Input::Tick);
            let oldest = self.state.unsynced.front();
            if oldest.is_some_and(|(_, _, since)| now.duration_since(*since) > SLOW_DISK) {
                inputs.push(Input::HandOver);
            }
        }
    }

    fn take(&mut self, item: ToRaft<R>, inputs: &mut Vec<Input>) {
        match item {
            ToRaft::Input(input) => {
                if let Input::Synced { write } = &input {
                    self.synced(*write);
                }
                inputs.push(input);
            }
            ToRaft::Propose { data, pending } => {
                self.state.deferred.push_back((data, pending));
                self.propose(inputs);
            }
            ToRaft::Read { pending } => {
                let id = self.id();
                self.state.reads.insert(id, pending);
                inputs.push(Input::Read { id });
            }
            ToRaft::Room { room, stuck } => {
                (self.room, self.state.stuck) = (room, stuck);
                self.propose(inputs);
            }
            ToRaft::Named { index } => self.board.update(|status| status.snapshot_index = index),
        }
    }

    /// Proposes what waits, in order: a small one never overtakes a large one that has to wait.
    fn propose(&mut self, inputs: &mut Vec<Input>) {
        while let Some((data, pending)) = self.state.deferred.pop_front() {
            // Those admitted in the same round are in no write yet, and count as well.
            let queued = self.state.queued + self.state.admitted;
            match room::admits(self.room, queued, self.segment_bytes, data.len()) {
                _ if self.state.stuck => pending.answer(Err(ProposeError::DiskFull)),
                Admission::No => pending.answer(Err(ProposeError::DiskFull)),
                Admission::Yes => {
                    self.state.admitted += entry_cost(data.len());
                    let id = self.id();
                    self.state.proposals.insert(id, pending);
                    inputs.push(Input::Propose { id, data });
                }
                Admission::Wait => {
                    self.state.deferred.push_front((data, pending));
                    return;
                }
            }
        }
    }

    fn id(&mut self) -> u64 {
        self.state.next_id += 1;
        self.state.next_id
    }

    fn synced(&mut self, write: u64) {
        while self.state.unsynced.front().is_some_and(|(number, _, _)| *number <= write) {
            if let Some((_, bytes, _)) = self.state.unsynced.pop_front() {
                self.state.queued -= bytes;
            }
        }
    }

    fn carry_out(&mut self, outputs: Outputs) {
        self.state.admitted = 0;
        for write in outputs.writes {
            let bytes = write.items.iter().map(cost).sum();
            self.state.unsynced.push_back((write.number, bytes, Instant::now()));
            self.state.queued += bytes;
            self.log.push(ToLog::Write(write));
        }
        if let Some(transport) = &self.transport {
            for envelope in outputs.messages {
                transport.send(envelope);
            }
        }
        for answer in outputs.answers {
            match answer {
                Answer::Refused { id, error } => {
                    if let Some(pending) = self.state.proposals.remove(&id) {
                        pending.answer(Err(error));
                    }
                }
                Answer::ReadAt { id, index } => {
                    if let Some(pending) = self.state.reads.remove(&id) {
                        self.apply.push(ToApply::Read { id, index, pending });
                    }
                }
                Answer::ReadRefused { id, error } => {
                    if let Some(pending) = self.state.reads.remove(&id) {
                        pending.answer(Err(error));
                    }
                }
            }
        }
        if let Some((from, mark)) = outputs.fetch_snapshot {
            tracing::warn!(%from, index = mark.index, "a snapshot is offered, and nothing fetches it");
            self.inbox.push(ToRaft::Input(Input::SnapshotLost { index: mark.index }));
        }
        if !outputs.apply.is_empty() {
            let proposals = &mut self.state.proposals;
            let batch = outputs.apply.into_iter().map(|what| {
                let pending = match &what {
                    crate::core::Applicable::Entry { proposal: Some(id), .. } => {
                        proposals.remove(id)
                    }
                    _ => None,
                };
                (what, pending)
            });
            self.apply.push(ToApply::Batch(batch.collect()));
        }
    }

    fn report(&self) {
        let core = self.core.status();
        let disk = if self.state.stuck {
            DiskState::ReadOnly
        } else {
            room::state(self.room, self.state.queued, self.segment_bytes)
        };
        self.board.update(|status| {
            status.ready |= core.applied >= self.ready_at;
            status.disk = disk;
            status.set_core(core);
        });
    }
}

/// Bytes of log that an item takes at most.
fn cost(item: &Item) -> u64 {
    match item {
        Item::Entry(entry) => entry_cost(entry.data.len() + entry.context.len()),
        other => other.size_max() as u64,
    }
}
