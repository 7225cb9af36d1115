//! The state machine that consensus replicates, and what it publishes after each step.

use std::sync::Arc;

use arc_swap::ArcSwap;
use runyard_consensus::{CannotApply, RestoreError, Serialise, StateMachine};
use runyard_state::{Applied, Entry, STATE_VERSION, State};
use runyard_types::{decode, encode};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The state at an index. Cheap to clone, never changes.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) index: u64,
    pub(crate) state: Arc<State>,
}

/// Where the machine puts each new view.
#[derive(Debug)]
pub(crate) struct Published {
    view: ArcSwap<View>,
    index: watch::Sender<u64>,
}

impl Published {
    pub(crate) fn new() -> Arc<Self> {
        let view = View { index: 0, state: Arc::new(State::default()) };
        Arc::new(Self { view: ArcSwap::from_pointee(view), index: watch::Sender::new(0) })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Changes with each published view; it may skip indexes, never the last one.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }
}

/// The form of the state in snapshot files.
#[derive(Serialize, Deserialize)]
struct SnapshotForm {
    /// Raised when older code could not read the rest.
    format: u32,
    written_by: String,
    state: State,
}

#[derive(Deserialize)]
struct SnapshotHead {
    format: u32,
}

const SNAPSHOT_FORMAT: u32 = 1;

/// Applies entries to the state.
#[derive(Debug)]
pub(crate) struct Machine {
    state: State,
    /// The entry that was admitted and comes next.
    next: Option<Entry>,
    published: Arc<Published>,
}

/// What tells of an entry whether the rest can be read.
#[derive(Deserialize)]
struct EntryHead {
    min_version: u32,
}

impl Machine {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        Self { state: State::default(), next: None, published }
    }
}

impl StateMachine for Machine {
    type Reply = Vec<Applied>;

    fn admit(&mut self, _index: u64, data: &[u8]) -> Result<(), CannotApply> {
        // The head alone first: of an entry that is too new, the rest may be unknown.
        let unreadable = |error: &dyn std::error::Error| {
            CannotApply(format!(
                "{}; start the version that wrote it, or a newer one",
                chain(error)
            ))
        };
        let head: EntryHead = decode("a log entry", data).map_err(|e| unreadable(&e))?;
        if head.min_version > STATE_VERSION {
            return Err(CannotApply(format!(
                "it needs state version {}, and this is version {} of runyard, which knows up to {STATE_VERSION}; start the version that wrote it, or a newer one",
                head.min_version,
                env!("CARGO_PKG_VERSION")
            )));
        }
        self.next = Some(decode("a log entry", data).map_err(|e| unreadable(&e))?);
        Ok(())
    }

    fn apply(&mut self, index: u64, _data: &[u8]) -> Vec<Applied> {
        // Read when it was admitted.
        let Some(entry) = self.next.take() else { return Vec::new() };
        let mut at = entry.at;
        entry
            .commands
            .into_iter()
            .map(|command| {
                let applied = self.state.apply(index, at, command);
                // The entry's time passes once, with its first command.
                at.delta = Default::default();
                applied
            })
            .collect()
    }

    fn publish(&mut self, index: u64) {
        let view = View { index, state: Arc::new(self.state.clone()) };
        self.published.view.store(Arc::new(view));
        self.published.index.send_replace(index);
    }

    fn snapshot(&self) -> Serialise {
        let state = self.state.clone();
        Box::new(move || {
            encode(&SnapshotForm {
                format: SNAPSHOT_FORMAT,
                written_by: env!("CARGO_PKG_VERSION").to_owned(),
                state,
            })
        })
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let refuse = |what: String| RestoreError(what);
        let head: SnapshotHead = decode("a snapshot", bytes).map_err(|e| refuse(chain(&e)))?;
        if head.format > SNAPSHOT_FORMAT {
            return Err(refuse(format!(
                "the snapshot has format {}, this program reads up to {SNAPSHOT_FORMAT}; start the newer version",
                head.format
            )));
        }
        let form: SnapshotForm = decode("a snapshot", bytes).map_err(|e| refuse(chain(&e)))?;
        if form.state.version > STATE_VERSION {
            return Err(refuse(format!(
                "the state has version {}, this program knows up to {STATE_VERSION}; start version {} or newer",
                form.state.version, form.written_by
            )));
        }
        self.state = form.state;
        Ok(())
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use runyard_state::{Command, Stamp};
    use runyard_types::TimestampMs;

    use super::*;

    fn entry(min_version: u32) -> Entry {
        let at = Stamp { wall: TimestampMs(7), delta: Default::default() };
        Entry { min_version, at, commands: vec![Command::Place(Vec::new())] }
    }

    #[test]
    fn an_entry_that_is_newer_or_garbled_is_not_admitted_and_changes_nothing() {
        let published = Published::new();
        let mut machine = Machine::new(Arc::clone(&published));
        machine.admit(1, &encode(&entry(STATE_VERSION))).expect("understood");
        assert_eq!(machine.apply(1, &[]).len(), 1);
        let before = machine.state.clone();

        let newer = machine.admit(2, &encode(&entry(STATE_VERSION + 1))).expect_err("too new");
        assert!(newer.to_string().starts_with("it needs state version"), "{newer}");
        #[derive(Serialize)]
        struct Unknown {
            min_version: u32,
            commands: &'static str,
        }
        // Too new, and of a form that is unknown here: what is wrong with it is its version.
        let form = Unknown { min_version: STATE_VERSION + 1, commands: "none" };
        let newer = machine.admit(2, &encode(&form)).expect_err("too new");
        assert!(newer.to_string().starts_with("it needs state version"), "{newer}");
        let odd = Unknown { min_version: STATE_VERSION, commands: "none" };
        for bytes in [encode(&odd), b"garbled".to_vec(), Vec::new()] {
            let garbled = machine.admit(2, &bytes).expect_err("garbled");
            assert!(garbled.to_string().contains("cannot decode a log entry"), "{garbled}");
            assert!(machine.apply(2, &bytes).is_empty());
        }
        assert_eq!(machine.state, before);
    }
}
