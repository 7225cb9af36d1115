//! Proposing commands and reading what was acknowledged.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use runyard_consensus::{DiskState, Handle, ProposeError, ReadError, Status};
use runyard_state::{Applied, Command, Entry, Refusal, Reply, STATE_VERSION, Stamp, State};
use runyard_types::{DurationMs, TimestampMs, encode};
use tokio::sync::{oneshot, watch};

use super::machine::{Published, View};
use super::reserve;

/// The largest entry, in bytes.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// What of an entry its commands may take.
const COMMANDS_BYTES_MAX: usize = ENTRY_BYTES_MAX - 1024;

/// Cuts commands into entries that the log takes.
fn entries(commands: Vec<Command>) -> Result<Vec<Vec<Command>>, Denied> {
    // Nearly always there is one, and its size is checked when it is encoded.
    if commands.len() < 2 {
        return Ok(if commands.is_empty() { Vec::new() } else { vec![commands] });
    }
    let mut entries = vec![Vec::new()];
    let mut left = COMMANDS_BYTES_MAX;
    for command in commands {
        let bytes = encode(&command).len();
        if bytes > COMMANDS_BYTES_MAX {
            return Err(Denied::TooLarge { bytes });
        }
        if bytes > left {
            entries.push(Vec::new());
            left = COMMANDS_BYTES_MAX;
        }
        left -= bytes;
        if let Some(last) = entries.last_mut() {
            last.push(command);
        }
    }
    Ok(entries)
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the change takes {bytes} bytes, over the limit of {ENTRY_BYTES_MAX}; split it up")]
    TooLarge { bytes: usize },
    /// The log is in its reserve, or has used it up.
    #[error(
        "the disk of {} is full: until there is room, {}; free some there, and it goes on without a restart",
        dir.display(),
        if *reserve { "nothing new is taken, only what ends work or gives back what it holds" } else { "nothing can be changed, only read" }
    )]
    NoRoom { dir: PathBuf, reserve: bool },
    #[error("cannot propose a change now")]
    Propose(#[source] ProposeError),
    #[error("cannot read the latest state now")]
    Read(#[source] ReadError),
    #[error("the coordinator is stopping")]
    Stopping,
}

/// The replicated state: views, proposals, watches.
#[derive(Clone)]
pub(crate) struct Truth {
    consensus: Arc<Handle<Vec<Applied>>>,
    published: Arc<Published>,
    /// When the entry before was proposed, so that each carries the monotonic time since.
    last: Arc<Mutex<Instant>>,
}

impl std::fmt::Debug for Truth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Truth").finish_non_exhaustive()
    }
}

impl Truth {
    pub(crate) fn new(consensus: Handle<Vec<Applied>>, published: Arc<Published>) -> Self {
        Self {
            consensus: Arc::new(consensus),
            published,
            last: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// The newest view of this peer; it may lag behind what others were told.
    pub(crate) fn view(&self) -> Arc<View> {
        self.published.view()
    }

    /// A view that has every write acknowledged before this call.
    pub(crate) async fn read(&self) -> Result<Arc<View>, Denied> {
        let (send, receive) = oneshot::channel();
        self.consensus.read_index(Box::new(move |result| drop(send.send(result))));
        receive.await.map_err(|_| Denied::Stopping)?.map_err(Denied::Read)?;
        Ok(self.view())
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.published.watch()
    }

    pub(crate) fn status(&self) -> Status {
        self.consensus.status()
    }

    /// Proposes commands in order, in as few entries as take them; each is answered by itself. The answers
    /// come after the entries are durable, committed and applied. With a command that is too large by itself,
    /// none is proposed.
    pub(crate) async fn propose_all(&self, commands: Vec<Command>) -> Result<Vec<Applied>, Denied> {
        let mut entries = entries(commands)?;
        if entries.len() == 1 {
            return self.propose_entry(entries.remove(0)).await;
        }
        let mut answers = Vec::new();
        for commands in entries {
            answers.extend(self.propose_entry(commands).await?);
        }
        Ok(answers)
    }

    async fn propose_entry(&self, commands: Vec<Command>) -> Result<Vec<Applied>, Denied> {
        // What is proposed at the same moment may still go in: the reserve has room for that.
        if self.consensus.status().disk != DiskState::Ready
            && !commands.iter().all(reserve::may_use)
        {
            return Err(self.no_room(true));
        }
        let data = encode(&Entry { min_version: STATE_VERSION, at: self.stamp(), commands });
        if data.len() > ENTRY_BYTES_MAX {
            return Err(Denied::TooLarge { bytes: data.len() });
        }
        let (send, receive) = oneshot::channel();
        self.consensus.propose(data, Box::new(move |result| drop(send.send(result))));
        receive.await.map_err(|_| Denied::Stopping)?.map_err(|error| match error {
            ProposeError::DiskFull => self.no_room(false),
            error => Denied::Propose(error),
        })
    }

    fn no_room(&self, reserve: bool) -> Denied {
        Denied::NoRoom { dir: self.consensus.dir().to_owned(), reserve }
    }

    /// Proposes one command.
    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, Denied> {
        let applied = self.propose_all(vec![command]).await?;
        let Some(applied) = applied.into_iter().next() else { return Err(Denied::Stopping) };
        Ok(applied.outcome?)
    }

    /// The state's elapsed clock at this moment: it moves with entries, and on this leader's own clock since
    /// the last one, so that what is due is seen though nothing happens.
    pub(crate) fn elapsed(&self, state: &State) -> DurationMs {
        let last = *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        DurationMs(state.clock.elapsed.0.saturating_add(last.elapsed().as_millis() as u64))
    }

    fn stamp(&self) -> Stamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        // Whole milliseconds only; what is cut off counts for the next entry.
        let delta = now.duration_since(*last).as_millis() as u64;
        *last += std::time::Duration::from_millis(delta);
        Stamp { wall: TimestampMs(wall as u64), delta: DurationMs(delta) }
    }
}

#[cfg(test)]
mod tests {
    use runyard_state::RevokeToken;

    use super::*;

    fn command(bytes: usize) -> Command {
        Command::RevokeToken(RevokeToken { id: "x".repeat(bytes), principal: "ann".into() })
    }

    #[test]
    fn commands_are_cut_into_entries_that_the_log_takes_and_keep_their_order() {
        assert!(entries(Vec::new()).expect("none").is_empty());
        let sizes = [10, 400_000, 500_000, 300_000, 900_000, 20];
        let cut = entries(sizes.map(command).to_vec()).expect("each fits");
        let lengths: Vec<usize> = cut.iter().map(Vec::len).collect();
        assert_eq!(lengths, [3, 1, 2]);
        assert_eq!(cut.concat(), sizes.map(command));
        for commands in cut {
            let at = Stamp { wall: TimestampMs(u64::MAX), delta: DurationMs(u64::MAX) };
            let entry = encode(&Entry { min_version: u32::MAX, at, commands });
            assert!(entry.len() <= ENTRY_BYTES_MAX, "{}", entry.len());
        }
        let all = entries(vec![command(1), command(ENTRY_BYTES_MAX)]);
        assert!(matches!(all, Err(Denied::TooLarge { .. })), "nothing is proposed");
    }
}
