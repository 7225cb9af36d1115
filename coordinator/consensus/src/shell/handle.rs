//! A running peer, as others hold it.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    apply_thread::{ApplyThread, ToApply},
    inbox::Inbox,
    log_thread::{LogThread, ToLog},
    pending::{Inflight, PendingProposal, PendingRead, ProposeDone, ReadDone},
    raft_thread::{RaftThread, Running, ToRaft},
    status::{Board, Status},
};
use crate::{
    applier::Applier,
    boot::{self, Found},
    config::{Config, FatalHook},
    core::{Core, Input},
    disk::{DirLock, Disk},
    error::{Fatal, ProposeError, StartError},
    machine::StateMachine,
    room,
};

/// A running peer. Dropping it is a [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Handle<R: Send + 'static> {
    raft: Inbox<ToRaft<R>>,
    log: Inbox<ToLog>,
    apply: Inbox<ToApply<R>>,
    board: Board,
    inflight: Arc<Inflight>,
    limits: (usize, usize),
    max_entry_bytes: usize,
    threads: Vec<JoinHandle<()>>,
    dir: PathBuf,
    /// Held until the threads are gone.
    lock: Option<Box<dyn DirLock>>,
}

/// Starts the peer whose data is in the configured directory; `machine` is in its initial state.
///
/// When this returns, the newest snapshot is restored and the peer runs. The entries behind the
/// snapshot are applied at once; [`Handle::wait_ready`] tells when.
///
/// # Errors
///
/// If the directory is empty, in use, somebody else's or damaged, or the disk refuses. Each error
/// names the file and the remedy. No damaged file is changed.
pub fn start<S: StateMachine>(
    config: Config,
    disk: Arc<dyn Disk>,
    mut machine: S,
) -> Result<Handle<S::Reply>, StartError> {
    let Found { identity, log, boot, snapshot, notes, lock } = boot::find(&config, &disk)?;
    let mut snapshot_index = 0;
    if let Some((mark, bytes)) = snapshot {
        snapshot_index = mark.index;
        machine.restore(&bytes).map_err(|source| StartError::Restore {
            file: config.dir.join(mark.file_name()),
            source,
        })?;
    }
    let commit = boot.commit;
    let applier = Applier::new(machine, boot.applied, boot.applied_term, boot.members.clone());
    let core = Core::new(config.core(identity.incarnation), boot)?;
    let status = core.status();
    // Alone, all that is in the log is committed with the first entry of the new term.
    let ready_at = if core.needs_ticks() { commit } else { status.last_index };
    let board = Board::new(Status {
        identity,
        role: status.role,
        term: status.term,
        leader: status.leader,
        commit: status.commit,
        applied: status.applied,
        last_index: status.last_index,
        last_durable: status.last_durable,
        snapshot_index,
        disk: room::state(log.room(), 0, config.segment_bytes),
        ready: false,
        stopped: false,
        notes,
    });

    let (raft_inbox, log_inbox, apply_inbox) = (Inbox::new(), Inbox::new(), Inbox::new());
    let raft = RaftThread {
        core,
        inbox: raft_inbox.clone(),
        log: log_inbox.clone(),
        apply: apply_inbox.clone(),
        board: board.clone(),
        transport: config.transport.clone(),
        tick: config.tick,
        segment_bytes: config.segment_bytes,
        room: log.room(),
        ready_at,
        state: Running::new(),
    };
    let log = LogThread::new(log, log_inbox.clone(), raft_inbox.clone());
    let apply = ApplyThread {
        applier,
        inbox: apply_inbox.clone(),
        raft: raft_inbox.clone(),
        disk,
        config: config.clone(),
        reads: BTreeMap::new(),
        saving: None,
        save_again_at: None,
    };
    let mut handle = Handle {
        raft: raft_inbox,
        log: log_inbox,
        apply: apply_inbox,
        board,
        inflight: Arc::default(),
        limits: (config.max_proposals, config.max_proposals_bytes),
        max_entry_bytes: config.max_entry_bytes,
        threads: Vec::new(),
        dir: config.dir.clone(),
        lock: Some(lock),
    };
    let end = handle.end(&config.on_fatal);
    let spawned = [
        spawn("raft", end.clone(), move || {
            raft.run();
            Ok(())
        }),
        spawn("raft-log", end.clone(), move || log.run()),
        spawn("raft-apply", end, move || apply.run()),
    ];
    for thread in spawned {
        let thread = thread.map_err(|source| StartError::Io {
            what: "starting threads for",
            path: config.dir.clone(),
            source,
        })?;
        handle.threads.push(thread);
    }
    Ok(handle)
}

impl<R: Send + 'static> Handle<R> {
    /// Puts `data` into the group's log. `done` gets the state machine's reply once the entry is
    /// durable, committed and applied, or why there is none. Never blocks.
    pub fn propose(&self, data: Vec<u8>, done: ProposeDone<R>) {
        if data.is_empty() || data.len() > self.max_entry_bytes {
            let (bytes, limit) = (data.len(), self.max_entry_bytes);
            return done(Err(ProposeError::TooLarge { bytes, limit }));
        }
        match PendingProposal::admit(&self.inflight, data.len(), self.limits, done) {
            Ok(pending) => self.raft.push(ToRaft::Propose { data, pending }),
            Err(done) => done(Err(ProposeError::Busy)),
        }
    }

    /// Calls `done` with the applied index once a read of the state machine sees every write that
    /// was acknowledged before this call.
    pub fn read_index(&self, done: ReadDone) {
        self.raft.push(ToRaft::Read { pending: PendingRead::new(done) });
    }

    /// Takes in another peer's message. Garbled ones are dropped.
    pub fn receive(&self, message: Vec<u8>) {
        self.raft.push(ToRaft::Input(Input::Message(message)));
    }

    /// Where this peer stands.
    pub fn status(&self) -> Status {
        self.board.get()
    }

    /// Where its log and snapshots are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until all that was in the log at the start is applied; `false` after the timeout or
    /// if the peer stopped.
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        self.board.wait_ready(timeout)
    }

    /// Takes a snapshot soon, unless nothing happened since the last.
    pub fn snapshot_now(&self) {
        self.apply.push(ToApply::SnapshotNow);
    }

    /// Stops in order: what was handed to the log is written. Whoever still waits is answered
    /// `Stopped`. The directory is free when this returns.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.raft.close();
        self.log.close();
        self.apply.close();
        for thread in self.threads.drain(..) {
            // A panic was reported by the thread's own end.
            let _ = thread.join();
        }
        self.board.update(|status| status.stopped = true);
        self.lock = None;
    }

    /// What a thread does with its error: stop all of this peer, then call the hook, once.
    fn end(&self, hook: &FatalHook) -> End {
        let (raft, log, apply) = (self.raft.clone(), self.log.clone(), self.apply.clone());
        let (board, hook) = (self.board.clone(), hook.clone());
        let first = Mutex::new(true);
        Arc::new(move |fatal: &Fatal| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::take(&mut *first) {
                hook(fatal);
            }
            raft.close();
            log.close();
            apply.close();
            board.update(|status| status.stopped = true);
        })
    }
}

impl<R: Send + 'static> Drop for Handle<R> {
    fn drop(&mut self) {
        self.stop();
    }
}

type End = Arc<dyn Fn(&Fatal) + Send + Sync>;

fn spawn(
    name: &'static str,
    end: End,
    body: impl FnOnce() -> Result<(), Fatal> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        // A panic on one thread must not leave the others waiting for ever.
        let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
            Err(Fatal::Broken(format!("the thread {name} panicked; see the message above")))
        });
        if let Err(fatal) = result {
            end(&fatal);
        }
    })
}
