//! The state as the scheduler sees it.

use std::collections::{BTreeMap, BTreeSet};

use runyard_scheduler::{Availability, Cluster, Demand, Device, Node};
use runyard_state::State;
use runyard_state::entity::{Liveness, Task};

pub(crate) fn cluster(state: &State) -> Cluster {
    let nodes = state.nodes.values().map(|node| {
        let availability = match node.liveness {
            Liveness::Ready => Availability::Open,
            Liveness::Unreachable => Availability::Unreachable,
            Liveness::Joined | Liveness::Lost => Availability::Lost,
        };
        let device = |device: &runyard_state::entity::NodeDevice| Device {
            uuid: device.uuid.clone(),
            model: device.model.clone(),
            memory: device.memory,
            holder: node.used.devices.get(&device.uuid).map(ToString::to_string),
            withheld: device.unhealthy.clone(),
        };
        let entry = Node {
            cpu: node.cpu,
            memory: node.memory,
            cpu_used: node.used.cpu,
            memory_used: node.used.memory,
            devices: node.devices.iter().map(device).collect(),
            availability,
            networks: node.networks.clone(),
        };
        (node.name.clone(), entry)
    });
    Cluster { nodes: nodes.collect() }
}

/// The tasks that may be placed at `elapsed`.
pub(crate) fn demands(state: &State, elapsed: u64) -> Vec<Demand> {
    let tasks = state.queued.iter().filter_map(|key| state.tasks.get(key));
    let ready = tasks.filter(|task| task.not_before.0 <= elapsed && state.is_let_go(task));
    ready.map(|task| demand(task)).collect()
}

fn demand(task: &Task) -> Demand {
    Demand {
        key: task.key.clone(),
        priority: task.priority,
        since_ms: task.queued_at.map_or(0, |at| at.0),
        resources: task.resources.clone(),
        nodes: task.nodes,
        network: task.network.clone(),
        avoid: BTreeSet::new(),
        preferred: BTreeMap::new(),
    }
}
