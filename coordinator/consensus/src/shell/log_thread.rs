//! Writes the log: all that waits becomes one record and one sync.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use super::{
    helper::{Helper, Panicked},
    inbox::Inbox,
    raft_thread::ToRaft,
};
use crate::{
    core::{Input, Write},
    error::Fatal,
    log::{self, AppendError, Item, Reserve, Writer},
    snapshot,
};

pub(super) enum ToLog {
    Write(Write),
    ReserveMade(io::Result<()>),
}

/// How often a full disk is asked for room again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct LogThread<R> {
    pub(super) log: Writer,
    pub(super) inbox: Inbox<ToLog>,
    pub(super) raft: Inbox<ToRaft<R>>,
    pub(super) held: VecDeque<Item>,
    /// The last write whose items are in `held`.
    pub(super) held_to: u64,
    pub(super) making_reserve: Option<Helper>,
    /// Whether the last attempt at a reserve found no room.
    pub(super) refused: bool,
    pub(super) retry_at: Option<Instant>,
}

impl<R: Send + 'static> LogThread<R> {
    pub(super) fn new(log: Writer, inbox: Inbox<ToLog>, raft: Inbox<ToRaft<R>>) -> Self {
        let (held, held_to) = (VecDeque::new(), 0);
        Self {
            log,
            inbox,
            raft,
            held,
            held_to,
            making_reserve: None,
            refused: false,
            retry_at: None,
        }
    }

    /// Until the inbox is closed and all that fits is written.
    pub(super) fn run(mut self) -> Result<(), Fatal> {
        self.make_reserve();
        while let Some(work) = self.inbox.take(self.retry_at) {
            if self.retry_at.is_some_and(|at| Instant::now() >= at) {
                self.retry_at = None;
                self.make_reserve();
            }
            for item in work {
                match item {
                    ToLog::Write(write) => {
                        self.held_to = write.number;
                        self.held.extend(write.items);
                    }
                    ToLog::ReserveMade(made) => self.reserve_made(made)?,
                }
            }
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Fatal> {
        if !self.held.is_empty() {
            let named = self.held.iter().any(|item| matches!(item, Item::Snapshot(_)));
            match self.log.append(self.held.make_contiguous()) {
                Ok(()) => {
                    self.held.clear();
                    self.say_room();
                    self.raft.push(ToRaft::Input(Input::Synced { write: self.held_to }));
                }
                Err(AppendError::Fatal(fatal)) => return Err(fatal),
                Err(AppendError::NoRoom { written }) => {
                    self.held.drain(..written);
                    self.say_room();
                }
            }
            if named {
                self.tidy()?;
            }
        }
        self.make_reserve();
        Ok(())
    }

    /// A snapshot is named: what is behind the one before it goes.
    fn tidy(&mut self) -> Result<(), Fatal> {
        if self.log.cut()? {
            self.retry_at = None;
        }
        let snapshots = &self.log.head.snapshots;
        snapshot::prune(self.log.disk.as_ref(), &self.log.dir, snapshots, snapshot::Prune::Older)
            .map_err(|e| Fatal::new("tidying", &self.log.dir, e))?;
        if let Some(newest) = snapshots.last() {
            self.raft.push(ToRaft::Named { index: newest.index });
        }
        Ok(())
    }

    /// Filling a segment with zeros takes long enough to be somebody else's work.
    fn make_reserve(&mut self) {
        if self.log.reserve || self.making_reserve.is_some() || self.retry_at.is_some() {
            return;
        }
        let (disk, dir) = (self.log.disk.clone(), self.log.dir.clone());
        let (bytes, inbox) = (self.log.segment_bytes, self.inbox.clone());
        let make = move || log::make_reserve(disk.as_ref(), &dir, bytes);
        let done = move |made: Result<io::Result<()>, Panicked>| {
            let made = made.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
            inbox.push(ToLog::ReserveMade(made));
        };
        match Helper::spawn("log-reserve", make, done) {
            Ok(helper) => self.making_reserve = Some(helper),
            Err(error) => {
                tracing::warn!(%error, "no thread to make the next log segment; trying again");
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
    }

    fn reserve_made(&mut self, made: io::Result<()>) -> Result<(), Fatal> {
        self.making_reserve = None;
        match made {
            Ok(()) => (self.log.reserve, self.refused) = (true, false),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::error!(dir = %self.log.dir.display(), "no room for the next log segment");
                self.refused = true;
                self.retry_at = Some(Instant::now() + RETRY);
            }
            Err(error) => return Err(Fatal::new("making a segment in", &self.log.dir, error)),
        }
        self.say_room();
        Ok(())
    }

    fn say_room(&self) {
        let mut room = self.log.room();
        if room.reserve == Reserve::Refused && !self.refused {
            room.reserve = Reserve::Making;
        }
        // What is held and cannot be written now leaves no room for anything else.
        let stuck = self.refused && !self.held.is_empty();
        self.raft.push(ToRaft::Room { room, stuck });
    }
}
