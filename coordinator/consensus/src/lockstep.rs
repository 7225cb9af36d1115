//! A whole peer on one thread: for simulations, and for tests that crash at every operation.

use std::sync::Arc;

use crate::{
    applier::Applier,
    boot::{self, Found},
    config::Config,
    core::{Answer, Core, CoreStatus, Envelope, Input, Outputs, Write},
    disk::{DirLock, Disk},
    error::{Fatal, ProposeError, ReadError, StartError},
    ids::{Identity, PeerId},
    log::{AppendError, Item, Writer},
    machine::StateMachine,
    room::{self, Admission, DiskState},
    snapshot::{self, SnapshotMark},
};

/// The product's core, log, snapshots and state machine, carried out in order by whoever calls.
#[derive(Debug)]
pub struct Lockstep<S> {
    config: Config,
    disk: Arc<dyn Disk>,
    identity: Identity,
    core: Core,
    log: Writer,
    applier: Applier<S>,
    /// What the log had no room for.
    held: Vec<Write>,
    notes: Vec<String>,
    _lock: Box<dyn DirLock>,
}

/// What a step had for the world outside.
#[derive(Debug)]
pub struct Effects<R> {
    /// To send.
    pub messages: Vec<Envelope>,
    /// Proposals' replies: the entry is durable, committed and applied.
    pub replies: Vec<(u64, Result<R, ProposeError>)>,
    /// Reads, with the index applied when they may be served.
    pub reads: Vec<(u64, Result<u64, ReadError>)>,
    /// A snapshot to fetch from a peer; then [`Lockstep::receive_snapshot`].
    pub fetch_snapshot: Option<(PeerId, SnapshotMark)>,
}

impl<R> Default for Effects<R> {
    fn default() -> Self {
        let (messages, replies, reads) = (Vec::new(), Vec::new(), Vec::new());
        Self { messages, replies, reads, fetch_snapshot: None }
    }
}

impl<S: StateMachine> Lockstep<S> {
    /// Opens the peer's directory and goes on from there; `machine` is in its initial state.
    ///
    /// # Errors
    ///
    /// As for [`start`](crate::start).
    pub fn start(config: Config, disk: Arc<dyn Disk>, mut machine: S) -> Result<Self, StartError> {
        let Found { identity, log, boot, snapshot, notes, lock } = boot::find(&config, &disk)?;
        if let Some((mark, bytes)) = snapshot {
            machine.restore(&bytes).map_err(|source| StartError::Restore {
                file: config.dir.join(mark.file_name()),
                source,
            })?;
        }
        let applier = Applier::new(machine, boot.applied, boot.applied_term, boot.members.clone());
        let core = Core::new(config.core(identity.incarnation), boot)?;
        let held = Vec::new();
        Ok(Self { config, disk, identity, core, log, applier, held, notes, _lock: lock })
    }

    /// Takes the inputs and carries out all that follows from them here: what is written is
    /// durable, what is committed is applied when this returns.
    ///
    /// # Errors
    ///
    /// After an error this peer is dead; start it anew.
    pub fn step(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
    ) -> Result<Effects<S::Reply>, Fatal> {
        let mut effects = Effects::default();
        let mut inputs = self.admit(inputs, &mut effects);
        loop {
            let outputs = self.core.step(inputs);
            inputs = self.carry_out(outputs, &mut effects)?;
            if inputs.is_empty() {
                return Ok(effects);
            }
        }
    }

    /// A snapshot that was fetched: saved and, if it is what was named, taken over.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn receive_snapshot(
        &mut self,
        mark: &SnapshotMark,
        bytes: &[u8],
    ) -> Result<Effects<S::Reply>, Fatal> {
        let index = mark.index;
        let expected = SnapshotMark::of(index, mark.term, mark.members.clone(), bytes);
        if !mark.received || expected.digest != mark.digest || expected.bytes != mark.bytes {
            return self.step([Input::SnapshotLost { index }]);
        }
        snapshot::save(self.disk.as_ref(), &self.config.dir, mark, bytes)
            .map_err(|e| Fatal::new("saving", &self.config.dir.join(mark.file_name()), e))?;
        self.step([Input::SnapshotReceived { index }])
    }

    /// The bytes of a snapshot of this peer, for another one that was told of it.
    pub fn snapshot_bytes(&self, mark: &SnapshotMark) -> Option<Vec<u8>> {
        let known = self.log.head.snapshots.iter().find(|m| m.index == mark.index)?;
        snapshot::load(self.disk.as_ref(), &self.config.dir, known).ok()
    }

    /// Takes a snapshot now.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn snapshot_now(&mut self) -> Result<Effects<S::Reply>, Fatal> {
        let saved = self.save_snapshot()?;
        self.step(saved)
    }

    /// The state machine.
    pub fn machine(&self) -> &S {
        self.applier.machine()
    }

    /// Where the core stands.
    pub fn status(&self) -> CoreStatus {
        self.core.status()
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What was found odd at the start, and put right.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the disk allows.
    pub fn disk_state(&self) -> DiskState {
        if !self.held.is_empty() {
            return DiskState::ReadOnly;
        }
        room::state(self.log.room(), 0, self.config.segment_bytes)
    }

    fn admit(
        &self,
        inputs: impl IntoIterator<Item = Input>,
        effects: &mut Effects<S::Reply>,
    ) -> Vec<Input> {
        let (room, mut queued) = (self.log.room(), 0);
        let mut admitted = Vec::new();
        for input in inputs {
            if let Input::Propose { id, data } = &input {
                let admission = room::admits(room, queued, self.config.segment_bytes, data.len());
                // Here the next segment is made in line, so nothing is ever waited for.
                if admission != Admission::Yes {
                    effects.replies.push((*id, Err(ProposeError::DiskFull)));
                    continue;
                }
                queued += crate::log::writer::entry_cost(data.len());
            }
            admitted.push(input);
        }
        admitted
    }

    fn carry_out(
        &mut self,
        outputs: Outputs,
        effects: &mut Effects<S::Reply>,
    ) -> Result<Vec<Input>, Fatal> {
        let mut next = Vec::new();
        effects.messages.extend(outputs.messages);
        effects.fetch_snapshot = outputs.fetch_snapshot.or(effects.fetch_snapshot.take());
        for answer in outputs.answers {
            match answer {
                Answer::Refused { id, error } => effects.replies.push((id, Err(error))),
                Answer::ReadAt { id, index } => self.applier.wait(index, id),
                Answer::ReadRefused { id, error } => effects.reads.push((id, Err(error))),
            }
        }
        self.held.extend(outputs.writes);
        if let Some(write) = self.write_held()? {
            next.push(Input::Synced { write });
        }
        let before = self.applier.applied();
        for what in outputs.apply {
            let reply = self.applier.apply(what, self.disk.as_ref(), &self.config.dir)?;
            effects.replies.extend(reply.map(|(id, reply)| (id, Ok(reply))));
        }
        let applied = self.applier.applied();
        effects.reads.extend(self.applier.publish().into_iter().map(|id| (id, Ok(applied))));
        if applied > before {
            next.push(Input::Applied { index: applied });
        }
        if self.applier.snapshot_due(&self.config) {
            next.extend(self.save_snapshot()?);
        }
        Ok(next)
    }

    /// Writes as much of what is held as there is room for; the last write that is durable.
    fn write_held(&mut self) -> Result<Option<u64>, Fatal> {
        self.log.ensure_reserve()?;
        let mut durable = None;
        let mut named = false;
        while let Some(mut write) = (!self.held.is_empty()).then(|| self.held.remove(0)) {
            match self.log.append(&write.items) {
                Ok(()) => {
                    named |= write.items.iter().any(|item| matches!(item, Item::Snapshot(_)));
                    durable = Some(write.number);
                }
                Err(AppendError::Fatal(fatal)) => return Err(fatal),
                Err(AppendError::NoRoom { written }) => {
                    write.items.drain(..written);
                    self.held.insert(0, write);
                    break;
                }
            }
            self.log.ensure_reserve()?;
        }
        if named {
            self.log.cut()?;
            let (dir, snapshots) = (&self.config.dir, &self.log.head.snapshots);
            snapshot::prune(self.disk.as_ref(), dir, snapshots, snapshot::Prune::Older)
                .map_err(|e| Fatal::new("tidying", dir, e))?;
            self.log.ensure_reserve()?;
        }
        Ok(durable)
    }

    fn save_snapshot(&mut self) -> Result<Vec<Input>, Fatal> {
        let Some(capture) = self.applier.capture() else { return Ok(Vec::new()) };
        let mark = capture.save(self.disk.as_ref(), &self.config.dir)?;
        if mark.is_none() {
            self.applier.not_saved();
        }
        Ok(mark.into_iter().map(Input::SnapshotSaved).collect())
    }
}
