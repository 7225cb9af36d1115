//! Why a demand waits: as data, counted over nodes, and in plain words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use runyard_types::{ByteSize, CpuMilli, NodeName};

use crate::Availability;
use crate::class::Class;
use crate::pass::{Pass, Unplaced};
use crate::predicate::{Blocker, first_blocker};
use crate::view::Holder;
use crate::words::{cpus, gpus};

/// Nodes named beside a reason.
const EXAMPLES_MAX: usize = 3;
/// Holders and other texts named beside a reason.
const HOLDERS_MAX: usize = 8;

/// What is in the way on some nodes. `most` is the best of those nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The cluster has no node at all.
    NoNodes,
    TooFewDevices {
        wanted: usize,
        most: usize,
    },
    WrongModel {
        wanted: Vec<String>,
        count: usize,
        most: usize,
    },
    DeviceMemory {
        min: Option<ByteSize>,
        max: Option<ByteSize>,
        count: usize,
        most: usize,
    },
    Cpu {
        wanted: CpuMilli,
        most: CpuMilli,
    },
    Memory {
        wanted: ByteSize,
        most: ByteSize,
    },
    Network {
        wanted: String,
    },
    /// Closed by an operator, with the operator's words, possibly none.
    Cordoned {
        reason: String,
    },
    Draining {
        reason: String,
    },
    Unreachable,
    Lost,
    Reconciling,
    /// Kept free for a demand ahead that has waited long.
    Reserved {
        task: String,
    },
    /// The task has just failed there, or on too many of its devices.
    Avoided,
    DevicesBusy {
        wanted: usize,
        most: usize,
    },
    /// Devices that nobody of ours has, but that are not offered either.
    DevicesWithheld {
        wanted: usize,
        most: usize,
        why: Vec<String>,
    },
    CpuBusy {
        wanted: CpuMilli,
        most: CpuMilli,
    },
    MemoryBusy {
        wanted: ByteSize,
        most: ByteSize,
    },
    /// These nodes would do, but there are too few of them on one network.
    GangIncomplete {
        wanted: usize,
        fit: usize,
    },
}

/// A reason with the nodes on which it is the first in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonCount {
    pub reason: Reason,
    pub nodes: usize,
    /// The first three, by name.
    pub examples: Vec<NodeName>,
    /// Up to eight of those who have what is missing; empty where that is not the question or,
    /// for CPU and memory, where the snapshot does not say.
    pub holders: Vec<String>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodes => f.write_str("there are no nodes"),
            Self::TooFewDevices { wanted, most: 0 } => {
                write!(f, "no GPUs, {wanted} wanted")
            }
            Self::TooFewDevices { wanted, most } => {
                write!(f, "at most {}, {wanted} wanted", gpus(*most))
            }
            Self::WrongModel { wanted, count, most } => {
                write!(
                    f,
                    "at most {} of model {}, {count} wanted",
                    gpus(*most),
                    wanted.join(" or ")
                )
            }
            Self::DeviceMemory { min, max, count, most } => {
                write!(f, "at most {} with ", gpus(*most))?;
                match (min, max) {
                    (Some(min), Some(max)) => write!(f, "{min} to {max}")?,
                    (Some(min), None) => write!(f, "{min} or more")?,
                    (None, Some(max)) => write!(f, "{max} or less")?,
                    (None, None) => f.write_str("any amount")?,
                }
                write!(f, " of memory, {count} wanted")
            }
            Self::Cpu { wanted, most } => write!(f, "at most {}, {wanted} wanted", cpus(*most)),
            Self::Memory { wanted, most } => write!(f, "at most {most} of memory, {wanted} wanted"),
            Self::Network { wanted } => write!(f, "not on network {wanted}"),
            Self::Cordoned { reason } => with_words(f, "cordoned", reason),
            Self::Draining { reason } => with_words(f, "draining", reason),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Lost => f.write_str("lost"),
            Self::Reconciling => f.write_str("back, but not reconciled yet"),
            Self::Reserved { task } => write!(f, "kept free for {task}, which has waited long"),
            Self::Avoided => f.write_str("the task has just failed there"),
            Self::DevicesBusy { wanted, most } => {
                write!(f, "GPUs busy: at most {most} free, {wanted} wanted")
            }
            Self::DevicesWithheld { wanted, most, why } => write!(
                f,
                "GPUs not offered ({}): at most {most} free, {wanted} wanted",
                why.join("; ")
            ),
            Self::CpuBusy { wanted, most } => {
                write!(f, "CPUs busy: at most {most} free, {wanted} wanted")
            }
            Self::MemoryBusy { wanted, most } => {
                write!(f, "memory taken: at most {most} free, {wanted} wanted")
            }
            Self::GangIncomplete { wanted, fit } => {
                write!(f, "free, but only {fit} on one network, {wanted} wanted together")
            }
        }
    }
}

fn with_words(f: &mut fmt::Formatter<'_>, what: &str, words: &str) -> fmt::Result {
    if words.is_empty() { f.write_str(what) } else { write!(f, "{what}: {words}") }
}

impl fmt::Display for ReasonCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.nodes == 1 { "node" } else { "nodes" };
        write!(f, "{} {plural}: {}", self.nodes, self.reason)?;
        if !self.holders.is_empty() {
            write!(f, " (held by {})", self.holders.join(", "))?;
        }
        if !self.examples.is_empty() {
            let names: Vec<&str> = self.examples.iter().map(NodeName::as_str).collect();
            let more = if self.nodes > names.len() { ", …" } else { "" };
            write!(f, " [{}{more}]", names.join(", "))?;
        }
        Ok(())
    }
}

/// The nodes that one reason keeps away.
#[derive(Default)]
struct Group {
    most: u64,
    nodes: usize,
    examples: Vec<NodeName>,
    holders: BTreeSet<String>,
}

/// Counts each node once, under the first thing in the way of it.
pub(crate) fn count_reasons(pass: &Pass<'_>, unplaced: Unplaced) -> Vec<ReasonCount> {
    let (view, class) = (&pass.view, pass.class_of(unplaced));
    if view.nodes.is_empty() {
        let (examples, holders) = (Vec::new(), Vec::new());
        return vec![ReasonCount { reason: Reason::NoNodes, nodes: 0, examples, holders }];
    }
    // Keyed by kind, and by the operator's words where there are any.
    let mut groups: BTreeMap<(u8, &str), (Option<Blocker>, Group)> = BTreeMap::new();
    for (number, node) in view.nodes.iter().enumerate() {
        let blocker = first_blocker(view, number, class, unplaced.behind_reservation);
        let (kind, most) = rank(blocker, node.availability);
        let words = match (blocker, node.availability) {
            (Some(Blocker::NotOpen), Availability::Cordoned(why) | Availability::Draining(why)) => {
                why.as_str()
            }
            _ => "",
        };
        let (_, group) = groups.entry((kind, words)).or_insert((blocker, Group::default()));
        group.most = group.most.max(most);
        group.nodes += 1;
        if group.examples.len() < EXAMPLES_MAX {
            group.examples.push(node.name.clone());
        }
        add_holders(pass, number, class, blocker, &mut group.holders);
    }
    let fit = largest_gang(pass, unplaced);
    groups
        .into_iter()
        .map(|((kind, words), (blocker, group))| ReasonCount {
            reason: reason(pass, unplaced, blocker, kind, words, &group, fit),
            nodes: group.nodes,
            examples: group.examples,
            holders: match blocker {
                Some(Blocker::DevicesWithheld(_)) => Vec::new(),
                _ => group.holders.into_iter().collect(),
            },
        })
        .collect()
}

/// The order of reasons, and the figure of which the best node's is shown.
fn rank(blocker: Option<Blocker>, availability: &Availability) -> (u8, u64) {
    match blocker {
        None => (0, 0),
        Some(Blocker::DevicesBusy(free)) => (1, free as u64),
        Some(Blocker::DevicesWithheld(free)) => (2, free as u64),
        Some(Blocker::CpuBusy(free)) => (3, free),
        Some(Blocker::MemoryBusy(free)) => (4, free),
        Some(Blocker::Reserved) => (5, 0),
        Some(Blocker::Avoided) => (6, 0),
        Some(Blocker::NotOpen) => match availability {
            Availability::Open | Availability::Cordoned(_) => (7, 0),
            Availability::Draining(_) => (8, 0),
            Availability::Unreachable => (9, 0),
            Availability::Lost => (10, 0),
            Availability::Reconciling => (11, 0),
        },
        Some(Blocker::Network) => (12, 0),
        Some(Blocker::DeviceMemory(fit)) => (13, fit as u64),
        Some(Blocker::WrongModel(fit)) => (14, fit as u64),
        Some(Blocker::TooFewDevices(has)) => (15, has as u64),
        Some(Blocker::Cpu(has)) => (16, has),
        Some(Blocker::Memory(has)) => (17, has),
    }
}

fn reason(
    pass: &Pass<'_>,
    unplaced: Unplaced,
    blocker: Option<Blocker>,
    kind: u8,
    words: &str,
    group: &Group,
    fit: usize,
) -> Reason {
    let demand = &pass.queue[unplaced.demand];
    let resources = &demand.resources;
    let count = resources.gpu.count as usize;
    let most = usize::try_from(group.most).unwrap_or(usize::MAX);
    let Some(blocker) = blocker else {
        return Reason::GangIncomplete { wanted: demand.gang(), fit };
    };
    match blocker {
        Blocker::TooFewDevices(_) => Reason::TooFewDevices { wanted: count, most },
        Blocker::WrongModel(_) => {
            Reason::WrongModel { wanted: resources.gpu.models.clone(), count, most }
        }
        Blocker::DeviceMemory(_) => {
            let memory = resources.gpu.memory;
            Reason::DeviceMemory { min: memory.min, max: memory.max, count, most }
        }
        Blocker::Cpu(_) => Reason::Cpu { wanted: resources.cpu, most: CpuMilli(group.most) },
        Blocker::Memory(_) => {
            Reason::Memory { wanted: resources.memory, most: ByteSize(group.most) }
        }
        Blocker::Network => Reason::Network { wanted: demand.network.clone().unwrap_or_default() },
        Blocker::NotOpen => match kind {
            8 => Reason::Draining { reason: words.to_owned() },
            9 => Reason::Unreachable,
            10 => Reason::Lost,
            11 => Reason::Reconciling,
            _ => Reason::Cordoned { reason: words.to_owned() },
        },
        Blocker::Reserved => Reason::Reserved {
            task: pass.reserved_for().map(|d| pass.queue[d].key.to_string()).unwrap_or_default(),
        },
        Blocker::Avoided => Reason::Avoided,
        Blocker::DevicesBusy(_) => Reason::DevicesBusy { wanted: count, most },
        Blocker::DevicesWithheld(_) => {
            let why = group.holders.iter().cloned().collect();
            Reason::DevicesWithheld { wanted: count, most, why }
        }
        Blocker::CpuBusy(_) => {
            Reason::CpuBusy { wanted: resources.cpu, most: CpuMilli(group.most) }
        }
        Blocker::MemoryBusy(_) => {
            Reason::MemoryBusy { wanted: resources.memory, most: ByteSize(group.most) }
        }
    }
}

/// Adds who has what is missing on the node, or, of withheld devices, why.
fn add_holders(
    pass: &Pass<'_>,
    number: usize,
    class: &Class,
    blocker: Option<Blocker>,
    to: &mut BTreeSet<String>,
) {
    let node = &pass.view.nodes[number];
    let mut add = |text: &dyn fmt::Display| {
        if to.len() < HOLDERS_MAX {
            to.insert(text.to_string());
        }
    };
    match blocker {
        Some(Blocker::DevicesBusy(_) | Blocker::DevicesWithheld(_)) => {
            let busy = matches!(blocker, Some(Blocker::DevicesBusy(_)));
            for device in node.devices.iter().filter(|device| class.models[device.model]) {
                match device.holder {
                    Holder::Worker(holder) if busy => add(&holder),
                    Holder::Demand(demand) if busy => add(&pass.queue[demand].key),
                    Holder::Withheld(why) if !busy => add(&why),
                    Holder::Nobody
                    | Holder::Worker(_)
                    | Holder::Demand(_)
                    | Holder::Withheld(_) => {}
                }
            }
        }
        Some(Blocker::CpuBusy(_) | Blocker::MemoryBusy(_)) => {
            for &demand in &node.given_to {
                add(&pass.queue[demand].key);
            }
        }
        _ => {}
    }
}

/// How many of the nodes that would do share one network.
pub(crate) fn largest_gang(pass: &Pass<'_>, unplaced: Unplaced) -> usize {
    let (view, class) = (&pass.view, pass.class_of(unplaced));
    let mut on = vec![0; view.networks.len()];
    for (number, node) in view.nodes.iter().enumerate() {
        if first_blocker(view, number, class, unplaced.behind_reservation).is_some() {
            continue;
        }
        let networks: BTreeSet<usize> = node.networks.iter().copied().collect();
        for network in networks {
            if class.network.is_none_or(|wanted| wanted == Some(network)) {
                on[network] += 1;
            }
        }
    }
    on.into_iter().max().unwrap_or(0)
}
