//! Placement: snapshot in, placements and reasons out. Pure.
//!
//! A pass is a line of named values: the [`Demand`]s in order of priority and age, the candidate
//! nodes of each class of equal demands, the [`Placement`]s, and for what waits the [`Reason`]s,
//! which come from the same predicate.
//!
//! Invariant: no clock, I/O, randomness or hash order; the same inputs give the same plan.

mod candidates;
mod change;
mod class;
mod cluster;
mod demand;
mod explain;
mod fits;
mod groups;
mod pass;
mod plan;
mod predicate;
mod reason;
mod reserve;
mod score;
mod view;
mod words;

pub use change::Change;
pub use cluster::{Availability, Cluster, DEFAULT_NETWORK, Device, Node};
pub use demand::{Demand, Limits};
pub use explain::{Explanation, NodeSummary, explain};
pub use fits::{NeverFits, ever_fits};
pub use pass::schedule;
pub use plan::{Placement, Plan, Reservation, Waiting, WorkerPlacement};
pub use reason::{Reason, ReasonCount};
