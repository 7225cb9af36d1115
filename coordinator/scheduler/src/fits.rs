//! Whether a request could be met at all by the hardware there is.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::Resources;

use crate::explain::{NodeSummary, largest, suitable};
use crate::words::{cpus, list};
use crate::{Cluster, DEFAULT_NETWORK};

/// Why a request waits for ever unless the fleet changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NeverFits {
    #[error("there are no nodes yet")]
    NoNodes,
    /// No node is large enough.
    #[error("no node has {wanted}; the largest has {largest}")]
    NoNode { wanted: String, largest: NodeSummary },
    /// Enough for a smaller gang.
    #[error("{wanted} nodes on one network with {each} are wanted; {have} have it")]
    TooFewNodes { wanted: usize, have: usize, each: String },
}

/// Checks `nodes` workers with `resources` each against the hardware of all nodes, whatever their
/// condition and whoever uses them: a warning at submission, or with `--strict` a refusal.
pub fn ever_fits(cluster: &Cluster, resources: &Resources, nodes: u32) -> Result<(), NeverFits> {
    let fits = cluster.nodes.values().filter(|node| {
        suitable(node, resources) >= resources.gpu.count as usize
            && node.cpu >= resources.cpu
            && node.memory >= resources.memory
    });
    let mut on: BTreeMap<&str, usize> = BTreeMap::new();
    let mut any = 0;
    for node in fits {
        any += 1;
        let networks: BTreeSet<&str> = node.networks.iter().map(String::as_str).collect();
        if networks.is_empty() {
            *on.entry(DEFAULT_NETWORK).or_default() += 1;
        }
        for network in networks {
            *on.entry(network).or_default() += 1;
        }
    }
    let Some(largest) = largest(cluster, resources) else { return Err(NeverFits::NoNodes) };
    let wanted = nodes.max(1) as usize;
    let have = on.into_values().max().unwrap_or(0);
    if any == 0 {
        Err(NeverFits::NoNode { wanted: words(resources), largest })
    } else if have < wanted {
        Err(NeverFits::TooFewNodes { wanted, have, each: words(resources) })
    } else {
        Ok(())
    }
}

/// `8 × H100 (80 GB or more), 16 CPUs and 64 GB of memory`.
fn words(resources: &Resources) -> String {
    let gpu = &resources.gpu;
    let mut parts = Vec::new();
    if gpu.count > 0 {
        let model = if gpu.models.is_empty() { "GPU".to_owned() } else { gpu.models.join(" or ") };
        let memory = match (gpu.memory.min, gpu.memory.max) {
            (Some(min), Some(max)) => format!(" ({min} to {max})"),
            (Some(min), None) => format!(" ({min} or more)"),
            (None, Some(max)) => format!(" ({max} or less)"),
            (None, None) => String::new(),
        };
        parts.push(format!("{} × {model}{memory}", gpu.count));
    }
    if resources.cpu.get() > 0 {
        parts.push(cpus(resources.cpu));
    }
    if resources.memory.get() > 0 {
        parts.push(format!("{} of memory", resources.memory));
    }
    list(&parts)
}
