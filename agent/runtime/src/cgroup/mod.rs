//! cgroups, v1, v2 and hybrid: limits, accounting, and a way to kill what hides.
//!
//! The agent finds out once what can be written ([`Layout`]) and plans each worker's directories;
//! the shim makes, fills, reads and removes them (`WorkerGroup`).

mod group;
mod layout;

pub(crate) use group::{WorkerGroup, holds_pids, short};
pub use layout::{Layout, Version};

/// The directory of a worker below the agent's own cgroup.
pub(crate) fn directory_name(uid: &str) -> String {
    format!("runyard-{uid}")
}
