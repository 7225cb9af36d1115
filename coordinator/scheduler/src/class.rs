//! Classes of demands that are alike: what holds for one holds for all, so each is tried once.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::{ByteSize, NodeName};

use crate::Demand;
use crate::view::View;

/// All by which a demand's place is judged. Demands with equal shapes are of one class.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape<'a> {
    devices: u32,
    cpu: u64,
    memory: u64,
    gang: usize,
    device_memory_min: Option<u64>,
    device_memory_max: Option<u64>,
    models: &'a [String],
    network: Option<&'a str>,
    avoid: &'a BTreeSet<(NodeName, Option<String>)>,
    preferred: &'a BTreeMap<NodeName, ByteSize>,
}

impl<'a> Shape<'a> {
    pub(crate) fn of(demand: &'a Demand) -> Self {
        let gpu = &demand.resources.gpu;
        Self {
            devices: gpu.count,
            cpu: demand.resources.cpu.get(),
            memory: demand.resources.memory.get(),
            gang: demand.gang(),
            device_memory_min: gpu.memory.min.map(ByteSize::get),
            device_memory_max: gpu.memory.max.map(ByteSize::get),
            models: &gpu.models,
            network: demand.network.as_deref(),
            avoid: &demand.avoid,
            preferred: &demand.preferred,
        }
    }
}

/// A class with its names resolved against a view.
#[derive(Clone)]
pub(crate) struct Class {
    pub(crate) devices: usize,
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
    pub(crate) gang: usize,
    pub(crate) device_memory: std::ops::RangeInclusive<u64>,
    /// By model number: will it do.
    pub(crate) models: Vec<bool>,
    /// `Some(None)`: a network that no node is on.
    pub(crate) network: Option<Option<usize>>,
    pub(crate) avoid_nodes: BTreeSet<usize>,
    /// Node number and place of the device on it.
    pub(crate) avoid_devices: BTreeSet<(usize, usize)>,
    /// Bytes in the cache of the node with this number.
    pub(crate) bytes: BTreeMap<usize, u64>,
}

impl Class {
    pub(crate) fn new(demand: &Demand, view: &View<'_>) -> Self {
        let gpu = &demand.resources.gpu;
        let wanted = Models::new(&gpu.models);
        let mut avoid_nodes = BTreeSet::new();
        let mut avoid_devices = BTreeSet::new();
        for (name, uuid) in &demand.avoid {
            let Some(number) = view.number(name) else { continue };
            match uuid {
                None => {
                    avoid_nodes.insert(number);
                }
                Some(uuid) => {
                    let devices = view.nodes[number].devices.iter();
                    let place = devices.enumerate().find(|(_, d)| d.uuid == uuid.as_str());
                    avoid_devices.extend(place.map(|(place, _)| (number, place)));
                }
            }
        }
        let network = demand.network.as_deref();
        Self {
            devices: gpu.count as usize,
            cpu: demand.resources.cpu.get(),
            memory: demand.resources.memory.get(),
            gang: demand.gang(),
            device_memory: gpu.memory.min.map_or(0, ByteSize::get)
                ..=gpu.memory.max.map_or(u64::MAX, ByteSize::get),
            models: view.models.iter().map(|model| wanted.accept(model)).collect(),
            network: network.map(|name| view.networks.iter().position(|n| *n == name)),
            avoid_nodes,
            avoid_devices,
            bytes: demand
                .preferred
                .iter()
                .filter_map(|(name, bytes)| Some((view.number(name)?, bytes.get())))
                .collect(),
        }
    }
}

/// The models that will do: parts of a device's model name, compared without case; any if none.
pub(crate) struct Models(Vec<String>);

impl Models {
    pub(crate) fn new(wanted: &[String]) -> Self {
        Self(wanted.iter().map(|model| model.to_lowercase()).collect())
    }

    pub(crate) fn accept(&self, model: &str) -> bool {
        let model = model.to_lowercase();
        self.0.is_empty() || self.0.iter().any(|wanted| model.contains(wanted.as_str()))
    }
}
