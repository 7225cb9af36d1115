//! Whether the disk can take more.

use crate::log::{Reserve, Room, writer::entry_cost};

/// What the log's disk allows (RELIABILITY F8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskState {
    /// All is well.
    Ready,
    /// The log is in its reserve and the next segment cannot be made: only what frees room or
    /// ends work should be proposed.
    Reserve,
    /// The reserve is used up: nothing is proposed until there is room.
    ReadOnly,
}

/// Kept free of proposals in the last segment, for what must be written all the same: terms,
/// votes, starts, snapshots' names, and a record's own bytes.
fn margin(segment_bytes: u64) -> u64 {
    (segment_bytes / 8).min(256 << 10)
}

/// The disk's state with `queued` bytes of log still to be written.
pub(crate) fn state(room: Room, queued: u64, segment_bytes: u64) -> DiskState {
    if room.reserve != Reserve::Refused {
        DiskState::Ready
    } else if room.segment_left >= queued + margin(segment_bytes) + entry_cost(0) {
        DiskState::Reserve
    } else {
        DiskState::ReadOnly
    }
}

/// Whether an entry may be proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Yes,
    /// That depends on whether the next segment can be made: soon known.
    Wait,
    No,
}

/// Whether an entry of `bytes` may be proposed with `queued` bytes of log still to be written.
pub(crate) fn admits(room: Room, queued: u64, segment_bytes: u64, bytes: usize) -> Admission {
    let fits = room.segment_left >= queued + margin(segment_bytes) + entry_cost(bytes);
    match room.reserve {
        Reserve::Ready => Admission::Yes,
        _ if fits => Admission::Yes,
        Reserve::Making => Admission::Wait,
        Reserve::Refused => Admission::No,
    }
}
