//! Workers that an agent has and nobody knows, as after a group was restored from an older state. They run on;
//! the state lists them, and an operator may stop them.

use std::collections::BTreeSet;

use runyard_state::entity::WorkerPhase;
use runyard_state::{Command, SetOrphans, State};
use runyard_types::{NodeName, ProjectName, WorkerKey};
use tonic::Status;

use crate::core::Core;
use crate::errors::status;

/// Takes in the agent's own list: what it has and its desired set does not name. It names no projects; those
/// whose work the node had are tried.
pub(super) fn note(core: &Core, node: &NodeName, keys: &[String]) {
    if keys.is_empty() {
        return;
    }
    let view = core.truth.view();
    let projects = core.live.projects(node);
    let known = core.live.orphans(node);
    for text in keys {
        if known.iter().any(|key| key.to_string() == *text) {
            continue;
        }
        let parsed = |project: &ProjectName| WorkerKey::parse(project, text).ok();
        let released = projects.iter().filter_map(parsed).find(|key| {
            let worker = view.state.worker(key).map(|(_, worker)| worker);
            worker.is_some_and(|w| w.node == *node && w.phase == WorkerPhase::Released)
        });
        if let Some(key) = released {
            core.live.add_orphan(node, key);
        }
    }
}

/// Puts the list into the state where it is another than what is there.
pub(super) async fn tell(core: &Core, node: &NodeName) -> Result<(), Status> {
    let view = core.truth.view();
    let Some(listed) = view.state.nodes.get(node) else { return Ok(()) };
    let orphans = unknown(&view.state, node, core.live.orphans(node));
    if orphans.iter().eq(listed.orphans.keys()) {
        return Ok(());
    }
    tracing::warn!(%node, orphans = orphans.len(), "the workers that nobody knows are others now");
    let command = SetOrphans { node: node.clone(), orphans: orphans.into_iter().collect() };
    core.truth.propose(Command::SetOrphans(command)).await.map_err(status)?;
    Ok(())
}

/// Without those that the state knows by now.
fn unknown(state: &State, node: &NodeName, all: BTreeSet<WorkerKey>) -> BTreeSet<WorkerKey> {
    let is_known = |key: &WorkerKey| {
        let worker = state.worker(key).map(|(_, worker)| worker);
        worker.is_some_and(|w| w.node == *node && w.phase != WorkerPhase::Released)
    };
    all.into_iter().filter(|key| !is_known(key)).collect()
}
