//! The state machine that consensus replicates, and what it publishes after each step.

use std::sync::Arc;

use arc_swap::ArcSwap;
use runyard_consensus::{RestoreError, Serialise, StateMachine};
use runyard_state::{Applied, Entry, Refusal, STATE_VERSION, State};
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
    published: Arc<Published>,
}

impl Machine {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        Self { state: State::default(), published }
    }
}

impl StateMachine for Machine {
    type Reply = Vec<Applied>;

    fn apply(&mut self, index: u64, data: &[u8]) -> Vec<Applied> {
        let entry: Entry = match decode("a log entry", data) {
            Ok(entry) => entry,
            Err(error) => {
                // Every peer sees the same bytes and comes to the same end: nothing changes.
                tracing::error!(index, %error, "an entry of the log cannot be read and was skipped");
                return Vec::new();
            }
        };
        let supported = self.state.version.max(STATE_VERSION);
        if entry.min_version > supported {
            let what = format!(
                "entry {index} needs state version {}, this is {supported}",
                entry.min_version
            );
            tracing::error!(index, %what, "an entry is newer than this program");
            return vec![Applied {
                outcome: Err(Refusal::Precondition { what }),
                events: Vec::new(),
            }];
        }
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
