//! Why a demand waits, in full: what `why` shows.

use std::collections::BTreeMap;
use std::fmt;

use runyard_types::{ByteSize, CpuMilli, NodeName, Resources, TaskKey};

use crate::change::{Change, cheapest};
use crate::class::Models;
use crate::pass::Pass;
use crate::reason::count_reasons;
use crate::words::{cpus, list};
use crate::{Cluster, Demand, Device, Limits, Node, Placement, ReasonCount};

/// What a pass over this queue does with one demand, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub task: TaskKey,
    /// Set if it is placed; then the rest is empty.
    pub placement: Option<Placement>,
    /// 1 for the first of those that wait.
    pub position: Option<usize>,
    pub nodes_total: usize,
    /// Each node once, under the first thing in the way; they add up to `nodes_total`.
    pub reasons: Vec<ReasonCount>,
    /// `None` also where no single change would do.
    pub change: Option<Change>,
    /// The node that comes nearest to what is asked for.
    pub largest: Option<NodeSummary>,
}

/// The hardware of a node in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSummary {
    pub name: NodeName,
    /// Devices by model.
    pub devices: BTreeMap<String, usize>,
    pub cpu: CpuMilli,
    pub memory: ByteSize,
}

/// Runs the pass and says what becomes of `task` in it; `None` if it is not in the queue.
pub fn explain(
    cluster: &Cluster,
    queue: &[Demand],
    limits: &Limits,
    task: &TaskKey,
) -> Option<Explanation> {
    let demand = queue.iter().find(|demand| demand.key == *task)?;
    let pass = Pass::run(cluster, queue, limits);
    let mut explanation = Explanation {
        task: task.clone(),
        placement: pass.placement(task).cloned(),
        position: None,
        nodes_total: cluster.nodes.len(),
        reasons: Vec::new(),
        change: None,
        largest: largest(cluster, &demand.resources),
    };
    let mut waiting = pass.waiting.iter().enumerate();
    if let Some((ahead, &unplaced)) = waiting.find(|(_, u)| pass.queue[u.demand].key == *task) {
        explanation.position = Some(ahead + 1);
        explanation.reasons = count_reasons(&pass, unplaced);
        explanation.change = cheapest(&pass, unplaced);
    }
    Some(explanation)
}

/// The node with the most devices that will do, then devices, CPUs and memory.
pub(crate) fn largest(cluster: &Cluster, wanted: &Resources) -> Option<NodeSummary> {
    let size = |node: &Node| {
        let devices = if wanted.gpu.count > 0 { node.devices.len() } else { 0 };
        (suitable(node, wanted), devices, node.cpu, node.memory)
    };
    // Of equals the first by name: `max_by` would take the last.
    let (name, node) = cluster.nodes.iter().rev().max_by_key(|(_, node)| size(node))?;
    Some(summary(name, node))
}

fn summary(name: &NodeName, node: &Node) -> NodeSummary {
    let mut devices = BTreeMap::new();
    for device in &node.devices {
        *devices.entry(device.model.clone()).or_insert(0) += 1;
    }
    NodeSummary { name: name.clone(), devices, cpu: node.cpu, memory: node.memory }
}

/// Devices of the node with a wanted model and memory, whoever has them.
pub(crate) fn suitable(node: &Node, wanted: &Resources) -> usize {
    let gpu = &wanted.gpu;
    let models = Models::new(&gpu.models);
    let will_do = |device: &&Device| {
        models.accept(&device.model)
            && gpu.memory.min.is_none_or(|min| device.memory >= min)
            && gpu.memory.max.is_none_or(|max| device.memory <= max)
    };
    node.devices.iter().filter(will_do).count()
}

impl fmt::Display for NodeSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = self.devices.iter().map(|(model, count)| format!("{count} × {model}"));
        let rest = [cpus(self.cpu), format!("{} of memory", self.memory)];
        let parts: Vec<String> = devices.chain(rest).collect();
        write!(f, "{} on {}", list(&parts), self.name)
    }
}
