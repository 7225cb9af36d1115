//! How far the read model is.

use runyard_state::EventNumber;
use serde::{Deserialize, Serialize};

/// Written with every batch, so that it never says more than is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The group and generation whose events these are.
    pub(super) source: (String, u64),
    /// The first event that is not here.
    pub(super) next: EventNumber,
    /// Events up to and including this are not here: the state had let go of them.
    pub(super) floor: EventNumber,
    /// Rows of each kind, by which a loss is seen.
    pub(super) events: u64,
    pub(super) subjects: u64,
    pub(super) runs: u64,
}
