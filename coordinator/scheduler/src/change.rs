//! The cheapest change by which a waiting demand would start now.

use std::collections::BTreeSet;
use std::fmt;

use runyard_types::{ByteSize, CpuMilli, NodeName};

use crate::Availability;
use crate::candidates::first_gang;
use crate::class::Class;
use crate::pass::{Pass, Unplaced};
use crate::predicate::{Blocker, blockers};
use crate::reason::largest_gang;
use crate::reserve;
use crate::view::Holder;
use crate::words::{cpus, gpus};

/// A single change; the earlier in this list, the cheaper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Open these nodes, which an operator closed.
    Uncordon { nodes: Vec<NodeName> },
    /// Ask for so much CPU per node.
    LessCpu { to: CpuMilli },
    /// Ask for so much memory per node.
    LessMemory { to: ByteSize },
    /// Accept other device models.
    AcceptModels { models: Vec<String> },
    /// Ask for so many devices per node.
    FewerDevices { to: usize },
    /// Ask for so many nodes.
    FewerNodes { to: usize },
    /// Nothing can start it now; it starts when enough of what runs there has ended.
    Wait { nodes: Vec<NodeName>, holders: Vec<String> },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncordon { nodes } => write!(f, "uncordon {}", names(nodes)),
            Self::LessCpu { to } => write!(f, "ask for {} or less", cpus(*to)),
            Self::LessMemory { to } => write!(f, "ask for {} bytes of memory or less ({to})", to.0),
            Self::AcceptModels { models } => write!(f, "accept {}", models.join(" or ")),
            Self::FewerDevices { to } => write!(f, "ask for {} a node", gpus(*to)),
            Self::FewerNodes { to: 1 } => f.write_str("ask for 1 node"),
            Self::FewerNodes { to } => write!(f, "ask for {to} nodes"),
            Self::Wait { nodes, holders } => {
                write!(f, "wait for work on {} to end", names(nodes))?;
                if !holders.is_empty() {
                    write!(f, " ({})", holders.join(", "))?;
                }
                Ok(())
            }
        }
    }
}

fn names(nodes: &[NodeName]) -> String {
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}

/// Tries the changes from the cheapest on, against the nodes as they stand after the pass.
pub(crate) fn cheapest(pass: &Pass<'_>, unplaced: Unplaced) -> Option<Change> {
    let class = pass.class_of(unplaced);
    let finder = Finder { pass, class, behind_reservation: unplaced.behind_reservation };
    finder
        .uncordon()
        .or_else(|| finder.less_cpu())
        .or_else(|| finder.less_memory())
        .or_else(|| finder.other_models())
        .or_else(|| finder.fewer_devices())
        .or_else(|| {
            let to = largest_gang(pass, unplaced);
            (to > 0 && to < class.gang).then_some(Change::FewerNodes { to })
        })
        .or_else(|| finder.wait())
}

struct Finder<'f, 'p> {
    pass: &'f Pass<'p>,
    class: &'f Class,
    behind_reservation: bool,
}

impl Finder<'_, '_> {
    fn blockers(&self, number: usize, class: &Class) -> Vec<Blocker> {
        blockers(&self.pass.view, number, class, self.behind_reservation)
    }

    fn gang(&self, class: &Class, fits: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
        let numbers = (0..self.pass.view.nodes.len()).filter(|&number| fits(number));
        first_gang(&self.pass.view, class, numbers)
    }

    fn uncordon(&self) -> Option<Change> {
        let cordoned = |number: usize| {
            let node = &self.pass.view.nodes[number];
            matches!(node.availability, Availability::Cordoned(_))
        };
        let gang = self.gang(self.class, |number| match self.blockers(number, self.class)[..] {
            [] => true,
            [Blocker::NotOpen] => cordoned(number),
            _ => false,
        })?;
        Some(Change::Uncordon { nodes: self.names(gang.into_iter().filter(|&n| cordoned(n))) })
    }

    fn less_cpu(&self) -> Option<Change> {
        let without = Class { cpu: 0, ..self.class.clone() };
        let to = self.lowered(&without, |number| self.pass.view.nodes[number].cpu_free)?;
        (to < self.class.cpu).then_some(Change::LessCpu { to: CpuMilli(to) })
    }

    fn less_memory(&self) -> Option<Change> {
        let without = Class { memory: 0, ..self.class.clone() };
        let to = self.lowered(&without, |number| self.pass.view.nodes[number].memory_free)?;
        (to < self.class.memory).then_some(Change::LessMemory { to: ByteSize(to) })
    }

    /// The most that a gang can have of what `free` counts, where it would start `without` any.
    fn lowered(&self, without: &Class, free: impl Fn(usize) -> u64) -> Option<u64> {
        let mut ranked: Vec<usize> = (0..self.pass.view.nodes.len())
            .filter(|&number| free(number) > 0 && self.blockers(number, without).is_empty())
            .collect();
        ranked.sort_by_key(|&number| std::cmp::Reverse(free(number)));
        let gang = first_gang(&self.pass.view, without, ranked.into_iter())?;
        gang.into_iter().map(free).min()
    }

    fn other_models(&self) -> Option<Change> {
        let view = &self.pass.view;
        let any = Class { models: vec![true; view.models.len()], ..self.class.clone() };
        if self.class.devices == 0 || any.models == self.class.models {
            return None;
        }
        let gang = self.gang(&any, |number| self.blockers(number, &any).is_empty())?;
        let devices = gang.iter().flat_map(|&number| &view.nodes[number].devices);
        let models: BTreeSet<&str> = devices
            .filter(|device| device.holder == Holder::Nobody && !self.class.models[device.model])
            .map(|device| view.models[device.model])
            .collect();
        Some(Change::AcceptModels { models: models.into_iter().map(str::to_owned).collect() })
    }

    fn fewer_devices(&self) -> Option<Change> {
        (1..self.class.devices).rev().find_map(|to| {
            let fewer = Class { devices: to, ..self.class.clone() };
            self.gang(&fewer, |number| self.blockers(number, &fewer).is_empty())
                .map(|_| Change::FewerDevices { to })
        })
    }

    fn wait(&self) -> Option<Change> {
        let view = &self.pass.view;
        let gang = reserve::nodes_for(view, self.class)?;
        let mut holders = BTreeSet::new();
        for node in gang.iter().map(|&number| &view.nodes[number]) {
            for device in node.devices.iter().filter(|_| self.class.devices > 0) {
                match device.holder {
                    Holder::Worker(holder) => {
                        holders.insert(holder.to_owned());
                    }
                    Holder::Demand(demand) => {
                        holders.insert(self.pass.queue[demand].key.to_string());
                    }
                    Holder::Nobody | Holder::Withheld(_) => {}
                }
            }
            holders.extend(node.given_to.iter().map(|&d| self.pass.queue[d].key.to_string()));
        }
        let nodes = self.names(gang.into_iter());
        Some(Change::Wait { nodes, holders: holders.into_iter().collect() })
    }

    fn names(&self, numbers: impl Iterator<Item = usize>) -> Vec<NodeName> {
        numbers.map(|number| self.pass.view.nodes[number].name.clone()).collect()
    }
}
