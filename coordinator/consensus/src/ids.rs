//! The names of a group and of its peers.

use std::fmt;

/// Names one group of peers for ever. Random, chosen when the group is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u128);

/// Names one peer of a group. Random and never reused: a peer that lost its directory comes back
/// under a new id. Zero is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Who a data directory belongs to, written by [`init`](crate::init).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The group.
    pub group: GroupId,
    /// The peer whose directory this is.
    pub peer: PeerId,
    /// Raised by each restore and recover of the group; agents obey no lower one.
    pub generation: u64,
    /// How often this peer was started, this start included (0 before the first).
    pub incarnation: u64,
}
