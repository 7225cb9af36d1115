//! What is kept of a run.

use runyard_state::entity::Run;
use serde::{Deserialize, Serialize};

/// What lists of runs are filtered by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunRow {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) pipeline: String,
    pub(crate) state: String,
    pub(crate) created_ms: u64,
}

impl RunRow {
    pub(super) fn of(run: &Run) -> Self {
        Self {
            name: run.name.to_string(),
            uid: run.uid.to_string(),
            pipeline: run.name.pipeline.to_string(),
            state: run.state.as_str().to_owned(),
            created_ms: run.created_at.0,
        }
    }
}
