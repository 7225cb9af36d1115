//! Nodes.

use runyard_proto::v1;
use runyard_state::entity::Node;
use runyard_types::{ProjectName, WorkerKey};

use crate::live::Live;

pub(crate) fn node(live: &Live, node: &Node) -> v1::Node {
    let samples = live.devices(&node.name);
    let devices = node
        .devices
        .iter()
        .map(|device| v1::Device {
            index: device.index,
            uuid: device.uuid.clone(),
            model: device.model.clone(),
            memory_bytes: device.memory.0,
            simulated: device.simulated,
            health: device.unhealthy.clone().unwrap_or_else(|| "ok".to_owned()),
            held_by: node
                .used
                .devices
                .get(&device.uuid)
                .map(ToString::to_string)
                .unwrap_or_default(),
            last: samples
                .iter()
                .find(|sample| sample.uuid == device.uuid)
                .and_then(|sample| sample.last),
        })
        .collect();
    let sick = node.devices.iter().filter(|device| device.unhealthy.is_some()).count();
    let silent = live.silence(&node.name).map_or(0, |heard| heard.silent_ms);
    v1::Node {
        name: node.name.to_string(),
        liveness: node.liveness.as_str().to_owned(),
        eligibility: node.eligibility.as_str().to_owned(),
        health: if sick == 0 {
            "ok".to_owned()
        } else {
            format!("{sick} of {} devices unhealthy", node.devices.len())
        },
        cpu_milli: node.cpu.0,
        cpu_milli_used: node.used.cpu.0,
        memory_bytes: node.memory.0,
        memory_bytes_used: node.used.memory.0,
        devices,
        version: node.version.clone(),
        address: node.address.clone(),
        labels: node.labels.clone(),
        isolation: node.isolation.clone(),
        workers: node.workers.iter().map(ToString::to_string).collect(),
        orphans: node.orphans.keys().map(orphan).collect(),
        last_seen_ms: if live.silence(&node.name).is_some() {
            crate::clock::wall_ms() - silent
        } else {
            0
        },
        boot_id: node.boot_id.clone(),
        reason: node.reason.clone(),
        gateway: node.gateway.clone(),
        networks: node.networks.clone(),
    }
}

/// A worker that nobody knows, as `nodes get` shows it and `nodes stop-orphan` takes it: with its project, where
/// that is not the usual one.
pub(crate) fn orphan(key: &WorkerKey) -> String {
    let project = &key.attempt.task.project;
    if *project == ProjectName::default_project() {
        key.to_string()
    } else {
        format!("{project}/{key}")
    }
}
