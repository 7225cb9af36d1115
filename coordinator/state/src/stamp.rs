//! Time as the log carries it.

use runyard_types::{DurationMs, TimestampMs};
use serde::{Deserialize, Serialize};

/// When the leader proposed an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The leader's wall clock.
    pub wall: TimestampMs,
    /// Monotonic time since the leader's previous entry; zero for its first.
    pub delta: DurationMs,
}

/// The clock of the state: it moves only by stamps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// For display, cron and expiry. Never goes back, whatever the leader's clock does.
    pub wall: TimestampMs,
    /// The wall time of the newest stamp as it is: a clock that was wrong and is put right goes back.
    #[serde(default)]
    pub newest: TimestampMs,
    /// Sum of all deltas: timeouts, leases and backoff run on it. It stands still without a leader.
    pub elapsed: DurationMs,
}

impl Clock {
    /// Takes in an entry's stamp.
    pub(crate) fn advance(&mut self, at: Stamp) {
        self.wall = self.wall.max(at.wall);
        self.newest = at.wall;
        self.elapsed = DurationMs(self.elapsed.0.saturating_add(at.delta.0));
    }
}
