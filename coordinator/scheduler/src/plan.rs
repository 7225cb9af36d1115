//! What a pass decides.

use std::sync::Arc;

use runyard_types::{NodeName, TaskKey};

use crate::ReasonCount;

/// The outcome of a pass: every demand is in exactly one of the two lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they were decided.
    pub placements: Vec<Placement>,
    /// In the order of the queue.
    pub waiting: Vec<Waiting>,
    /// Nodes kept free for the demand that has waited too long.
    pub reservation: Option<Reservation>,
}

/// A gang with all its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub task: TaskKey,
    /// By rank; at least one, each on a node of its own.
    pub workers: Vec<WorkerPlacement>,
}

/// The part of a gang on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerPlacement {
    pub node: NodeName,
    /// UUIDs, as many as were asked for.
    pub devices: Vec<String>,
}

/// A demand that got no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub task: TaskKey,
    /// 1 for the first of those that wait.
    pub position: usize,
    /// Why, as the nodes stand after the placements of this pass; each node counts once. Empty where
    /// [`crate::Limits::reasons`] does not ask for them.
    pub reasons: Arc<[ReasonCount]>,
}

/// Nodes that take nothing from behind `task` until it is placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub task: TaskKey,
    pub nodes: Vec<NodeName>,
}
