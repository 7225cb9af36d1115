//! What waits for a place.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::{ByteSize, NodeName, Resources, TaskKey};

/// A ready task in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    pub key: TaskKey,
    /// Higher goes first.
    pub priority: i32,
    /// When it became ready; among equals of priority the older goes first.
    pub since_ms: u64,
    /// Wanted on each of the nodes.
    pub resources: Resources,
    /// Size of the gang, counted in nodes; zero is read as one.
    pub nodes: u32,
    /// The network that the nodes must be on. A gang without a wish goes on any one network.
    pub network: Option<String>,
    /// Nodes (`None`) and devices (`Some(uuid)`) on which it has just failed.
    pub avoid: BTreeSet<(NodeName, Option<String>)>,
    /// Bytes of its inputs that lie in a node's cache already.
    pub preferred: BTreeMap<NodeName, ByteSize>,
}

impl Demand {
    /// The size of the gang, at least one.
    pub fn gang(&self) -> usize {
        self.nodes.max(1) as usize
    }
}

/// What bounds a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The instant of the pass, on the clock of [`Demand::since_ms`].
    pub now_ms: u64,
    /// A demand that has waited this long, and that its nodes' hardware suits, has nodes kept free
    /// for it; one demand at a time, the first in order.
    pub reserve_after_ms: u64,
    /// Whether the plan says why the rest waits: that costs a look at each node for each shape.
    pub reasons: bool,
}

impl Default for Limits {
    /// Reservations after ten minutes; reasons are told.
    fn default() -> Self {
        Self { now_ms: 0, reserve_after_ms: 600_000, reasons: true }
    }
}
