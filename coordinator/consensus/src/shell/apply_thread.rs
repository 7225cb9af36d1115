//! Owns the state machine.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    helper::Helper,
    inbox::Inbox,
    pending::{PendingProposal, PendingRead},
    raft_thread::ToRaft,
};
use crate::{
    applier::Applier,
    config::Config,
    core::{Applicable, Input},
    disk::Disk,
    error::Fatal,
    machine::StateMachine,
    snapshot::SnapshotMark,
};

pub(super) enum ToApply<R> {
    Batch(VecDeque<(Applicable, Option<PendingProposal<R>>)>),
    Read { id: u64, index: u64, pending: PendingRead },
    SnapshotNow,
    SnapshotSaved(Result<Option<SnapshotMark>, Fatal>),
}

/// Entries are applied for this long before others see them and replies go out.
const SLICE: Duration = Duration::from_millis(5);

pub(super) struct ApplyThread<S: StateMachine> {
    pub(super) applier: Applier<S>,
    pub(super) inbox: Inbox<ToApply<S::Reply>>,
    pub(super) raft: Inbox<ToRaft<S::Reply>>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) config: Config,
    pub(super) reads: BTreeMap<u64, PendingRead>,
    pub(super) saving: Option<Helper>,
}

type Waiting<R> = VecDeque<(Applicable, Option<PendingProposal<R>>)>;

impl<S: StateMachine> ApplyThread<S> {
    /// Until the inbox is closed and all in it is applied.
    pub(super) fn run(mut self) -> Result<(), Fatal> {
        let mut waiting: Waiting<S::Reply> = VecDeque::new();
        loop {
            // With work at hand, only look what else came; reads must not wait for a long batch.
            if waiting.is_empty() || self.inbox.has_items() {
                let Some(work) = self.inbox.take(None) else { break };
                for item in work {
                    self.take(item, &mut waiting)?;
                }
            }
            self.slice(&mut waiting)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        item: ToApply<S::Reply>,
        waiting: &mut Waiting<S::Reply>,
    ) -> Result<(), Fatal> {
        match item {
            ToApply::Batch(batch) => waiting.extend(batch),
            ToApply::Read { id, index, pending } => {
                self.applier.wait(index, id);
                self.reads.insert(id, pending);
            }
            ToApply::SnapshotNow => self.save_snapshot(),
            ToApply::SnapshotSaved(saved) => {
                self.saving = None;
                if let Some(mark) = saved? {
                    self.raft.push(ToRaft::Input(Input::SnapshotSaved(mark)));
                }
            }
        }
        Ok(())
    }

    fn slice(&mut self, waiting: &mut Waiting<S::Reply>) -> Result<(), Fatal> {
        let until = Instant::now() + SLICE;
        let before = self.applier.applied();
        let mut replies = Vec::new();
        while let Some((what, pending)) = waiting.pop_front() {
            let reply = self.applier.apply(what, self.disk.as_ref(), &self.config.dir)?;
            if let (Some(pending), Some((_, reply))) = (pending, reply) {
                replies.push((pending, reply));
            }
            if Instant::now() >= until {
                break;
            }
        }
        let applied = self.applier.applied();
        for id in self.applier.publish() {
            if let Some(pending) = self.reads.remove(&id) {
                pending.answer(Ok(applied));
            }
        }
        for (pending, reply) in replies {
            pending.answer(Ok(reply));
        }
        if applied > before {
            self.raft.push(ToRaft::Input(Input::Applied { index: applied }));
        }
        if self.applier.snapshot_due(&self.config) {
            self.save_snapshot();
        }
        Ok(())
    }

    /// Captures the state here and saves it elsewhere; one at a time.
    fn save_snapshot(&mut self) {
        if self.saving.is_some() {
            return;
        }
        let Some(capture) = self.applier.capture() else { return };
        let (disk, dir, inbox) = (self.disk.clone(), self.config.dir.clone(), self.inbox.clone());
        let save = move || inbox.push(ToApply::SnapshotSaved(capture.save(disk.as_ref(), &dir)));
        match Helper::spawn("snapshot", save) {
            Ok(helper) => self.saving = Some(helper),
            Err(error) => tracing::warn!(%error, "no thread to save a snapshot; the next may have"),
        }
    }
}
