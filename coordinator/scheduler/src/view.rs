//! The cluster as a pass works on it: compact, indexed by number, changed by each placement.

use std::collections::BTreeMap;

use runyard_types::NodeName;

use crate::{Availability, Cluster, DEFAULT_NETWORK};

pub(crate) struct View<'a> {
    pub(crate) nodes: Vec<NodeState<'a>>,
    /// Distinct device models; a device's model is its place here.
    pub(crate) models: Vec<&'a str>,
    /// Distinct network labels; a node's networks are places here.
    pub(crate) networks: Vec<&'a str>,
    /// Numbers of the nodes that changed, in order; candidate lists read it from where they stopped.
    pub(crate) touched: Vec<usize>,
}

pub(crate) struct NodeState<'a> {
    pub(crate) name: &'a NodeName,
    pub(crate) availability: &'a Availability,
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
    pub(crate) cpu_free: u64,
    pub(crate) memory_free: u64,
    pub(crate) devices: Vec<DeviceState<'a>>,
    pub(crate) networks: Vec<usize>,
    /// Kept for a demand that has waited too long.
    pub(crate) reserved: bool,
    /// Devices that typical demands could not use, in thousandths; see `score`.
    pub(crate) fragments: i64,
    /// Places in the queue of what this pass put here for its CPU and memory.
    pub(crate) given_to: Vec<usize>,
}

pub(crate) struct DeviceState<'a> {
    pub(crate) uuid: &'a str,
    pub(crate) model: usize,
    pub(crate) memory: u64,
    pub(crate) holder: Holder<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder<'a> {
    Nobody,
    /// A worker from before this pass.
    Worker(&'a str),
    /// The demand at this place of the queue got it in this pass.
    Demand(usize),
    Withheld(&'a str),
}

impl<'a> View<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        let mut models = Interner::default();
        let mut networks = Interner::default();
        let nodes = cluster
            .nodes
            .iter()
            .map(|(name, node)| {
                let devices = node.devices.iter().map(|device| DeviceState {
                    uuid: &device.uuid,
                    model: models.place(&device.model),
                    memory: device.memory.get(),
                    holder: match (&device.withheld, &device.holder) {
                        (_, Some(holder)) => Holder::Worker(holder),
                        (Some(reason), None) => Holder::Withheld(reason),
                        (None, None) => Holder::Nobody,
                    },
                });
                let devices = devices.collect();
                let mut on: Vec<usize> = node.networks.iter().map(|n| networks.place(n)).collect();
                if on.is_empty() {
                    on.push(networks.place(DEFAULT_NETWORK));
                }
                NodeState {
                    name,
                    availability: &node.availability,
                    cpu: node.cpu.get(),
                    memory: node.memory.get(),
                    cpu_free: node.cpu.saturating_sub(node.cpu_used).get(),
                    memory_free: node.memory.saturating_sub(node.memory_used).get(),
                    devices,
                    networks: on,
                    reserved: false,
                    fragments: 0,
                    given_to: Vec::new(),
                }
            })
            .collect();
        Self { nodes, models: models.names, networks: networks.names, touched: Vec::new() }
    }

    /// The number of the node called `name`.
    pub(crate) fn number(&self, name: &NodeName) -> Option<usize> {
        // The nodes come from a BTreeMap, so they are in the order of their names.
        self.nodes.binary_search_by(|node| node.name.cmp(name)).ok()
    }
}

#[derive(Default)]
struct Interner<'a> {
    places: BTreeMap<&'a str, usize>,
    names: Vec<&'a str>,
}

impl<'a> Interner<'a> {
    fn place(&mut self, name: &'a str) -> usize {
        *self.places.entry(name).or_insert_with(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }
}
