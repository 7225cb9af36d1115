//! Owns the state machine.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    helper::{Helper, Panicked},
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

/// How often a full disk is asked for room for a snapshot: writing one takes time and bandwidth.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

pub(super) struct ApplyThread<S: StateMachine> {
    pub(super) applier: Applier<S>,
    pub(super) inbox: Inbox<ToApply<S::Reply>>,
    pub(super) raft: Inbox<ToRaft<S::Reply>>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) config: Config,
    pub(super) reads: BTreeMap<u64, PendingRead>,
    pub(super) saving: Option<Helper>,
    /// When a snapshot that found no room is tried again.
    pub(super) save_again_at: Option<Instant>,
}

type Waiting<R> = VecDeque<(Applicable, Option<PendingProposal<R>>)>;

impl<S: StateMachine> ApplyThread<S> {
    /// Until the inbox is closed and all in it is applied.
    pub(super) fn run(mut self) -> Result<(), Fatal> {
        let mut waiting: Waiting<S::Reply> = VecDeque::new();
        loop {
            // With work at hand, only look what else came; reads must not wait for a long batch.
            if waiting.is_empty() || self.inbox.has_items() {
                let until = self.save_again_at.filter(|_| waiting.is_empty());
                let Some(work) = self.inbox.take(until) else { break };
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
                match saved? {
                    Some(mark) => self.raft.push(ToRaft::Input(Input::SnapshotSaved(mark))),
                    None => {
                        self.applier.not_saved();
                        self.save_again_at = Some(Instant::now() + SAVE_AGAIN);
                    }
                }
            }
        }
        Ok(())
    }

    fn slice(&mut self, waiting: &mut Waiting<S::Reply>) -> Result<(), Fatal> {
        let until = Instant::now() + SLICE;
        let before = self.applier.applied();
        let mut replies = Vec::new();
        let mut stopped = None;
        while let Some((what, pending)) = waiting.pop_front() {
            let reply = match self.applier.apply(what, self.disk.as_ref(), &self.config.dir) {
                Ok(reply) => reply,
                Err(fatal) => {
                    stopped = Some(fatal);
                    break;
                }
            };
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
        // What came before it is done, and its callers know.
        if let Some(fatal) = stopped {
            return Err(fatal);
        }
        if applied > before {
            self.raft.push(ToRaft::Input(Input::Applied { index: applied }));
        }
        let again = self.save_again_at.is_none_or(|at| Instant::now() >= at);
        if again {
            self.save_again_at = None;
        }
        if again && self.applier.snapshot_due(&self.config) {
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
        let save = move || capture.save(disk.as_ref(), &dir);
        let done = move |saved: Result<Result<_, Fatal>, Panicked>| {
            let saved = saved.unwrap_or_else(|panicked| Err(Fatal::Broken(panicked.to_string())));
            inbox.push(ToApply::SnapshotSaved(saved));
        };
        match Helper::spawn("snapshot", save, done) {
            Ok(helper) => self.saving = Some(helper),
            Err(error) => {
                tracing::warn!(%error, "no thread to save a snapshot; trying again");
                self.applier.not_saved();
                self.save_again_at = Some(Instant::now() + SAVE_AGAIN);
            }
        }
    }
}
