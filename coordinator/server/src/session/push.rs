//! Sending a node its desired set, whenever that changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use runyard_proto::agent::{ToAgent, to_agent};
use runyard_state::State;
use runyard_state::entity::{Node, Task};
use runyard_transport::limits::MESSAGE_BYTES_MAX;
use runyard_types::{NodeName, Parent};
use tokio::sync::mpsc;
use tonic::Status;

use super::desired;
use crate::core::Core;

/// What a set may take: what an agent takes in one message, with room for what is said of its workers later.
const SET_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (1 << 20);

/// Sends the node its full desired set whenever it changes; what changes while the connection is busy is sent
/// together.
pub(super) async fn push_desired(
    core: Core,
    node: NodeName,
    send: mpsc::Sender<Result<ToAgent, Status>>,
) {
    let mut changes = core.truth.watch();
    let mut sent: Option<Vec<u8>> = None;
    let mut made_of: Option<Basis> = None;
    let mut told = BTreeSet::new();
    loop {
        let Ok(place) = send.reserve().await else { return };
        changes.mark_unchanged();
        let view = core.truth.view();
        let basis = Basis::of(&view.state, &node);
        if basis.is_none() || basis != made_of {
            let mut set =
                desired::desired_set(&view.state, view.index, core.group.generation, &node);
            let left_out = desired::bound(&mut set, &mut told, SET_BYTES_MAX);
            if left_out > 0 {
                tracing::debug!(%node, left_out, "the node's desired set is full; the rest comes later");
            }
            let form = desired::fingerprint(&set);
            if sent.as_ref() != Some(&form) {
                place.send(Ok(ToAgent { message: Some(to_agent::Message::Desired(set)) }));
                sent = Some(form);
            }
            made_of = basis;
        }
        drop(view);
        tokio::select! {
            // Cancel-safe: both only observe.
            changed = changes.changed() => if changed.is_err() { return },
            () = send.closed() => return,
        }
    }
}

/// All of the state that the set of a node is made of, beside what never changes: while it is the same, so is the
/// set, and a group of many nodes need not make the sets of all for each change of one.
#[derive(Debug)]
struct Basis {
    /// The node, and those whose address the ranks of its gangs are told.
    nodes: Vec<Arc<Node>>,
    tasks: Vec<Arc<Task>>,
}

impl Basis {
    /// `None` where deployments go into the set.
    fn of(state: &State, name: &NodeName) -> Option<Self> {
        let node = state.nodes.get(name)?;
        if !node.gateway.is_empty() && !state.deployments.is_empty() {
            return None;
        }
        let mut nodes = vec![Arc::clone(node)];
        let mut tasks = Vec::with_capacity(node.workers.len());
        for key in &node.workers {
            if matches!(key.attempt.task.parent, Parent::Revision { .. }) {
                return None;
            }
            let task = state.tasks.get(&key.attempt.task)?;
            let (_, attempt) = state.attempt(&key.attempt)?;
            if attempt.workers.len() > 1 {
                nodes.extend(state.nodes.get(&attempt.workers.first()?.node).cloned());
            }
            tasks.push(Arc::clone(task));
        }
        Some(Self { nodes, tasks })
    }
}

impl PartialEq for Basis {
    /// By identity: whatever changed is another.
    fn eq(&self, other: &Self) -> bool {
        fn same<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| Arc::ptr_eq(a, b))
        }
        same(&self.nodes, &other.nodes) && same(&self.tasks, &other.tasks)
    }
}
