//! `/metrics`: what Prometheus scrapes from a coordinator, with a user's token.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use runyard_consensus::Role;
use runyard_proto::v1::DeviceSample;
use runyard_state::State as Truth;
use runyard_state::entity::{Eligibility, Liveness, Node, NodeDevice, RunState};

use super::answer::Refused;
use super::exposition::Exposition;
use super::login::user;
use crate::core::Core;

/// The age from which a device's sample says nothing about now, in milliseconds.
const SAMPLE_AGE_MS_MAX: u64 = 30_000;

/// All families.
pub(super) async fn metrics(
    State(core): State<Core>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    user(&core, &headers)?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text(&core)).into_response())
}

pub(super) fn text(core: &Core) -> String {
    let view = core.truth.view();
    let state = &view.state;
    let mut all = Exposition::default();
    let commit = crate::COMMIT;
    all.gauge("runyard_build_info", "The version of this coordinator.")
        .sample(&[("version", env!("CARGO_PKG_VERSION")), ("commit", commit)], 1.0);
    raft(core, &mut all);
    runs(state, &mut all);
    queue(state, &mut all);
    fleet(state, &mut all);
    devices(core, state, &mut all);
    allocations(state, &mut all);
    all.into_text()
}

fn raft(core: &Core, all: &mut Exposition) {
    let status = core.truth.status();
    let leads = f64::from(u8::from(status.role == Role::Leader));
    for (name, help, value) in [
        ("runyard_raft_term", "Raft's term.", status.term as f64),
        (
            "runyard_raft_commit_index",
            "The highest log index known to be committed.",
            status.commit as f64,
        ),
        (
            "runyard_raft_applied_index",
            "The highest log index applied on this peer.",
            status.applied as f64,
        ),
        ("runyard_raft_leader", "Whether this peer leads the group.", leads),
    ] {
        all.gauge(name, help).sample(&[], value);
    }
}

fn runs(state: &Truth, all: &mut Exposition) {
    let known = [
        RunState::Queued,
        RunState::Running,
        RunState::Succeeded,
        RunState::Failed,
        RunState::Error,
        RunState::Cancelled,
    ];
    let mut family = all.gauge("runyard_runs", "Runs in the live state, by their state.");
    for wanted in known {
        let count = state.runs.values().filter(|run| run.state == wanted).count();
        family.sample(&[("state", wanted.as_str())], count as f64);
    }
}

fn queue(state: &Truth, all: &mut Exposition) {
    // The project that everybody has is shown even when nothing waits, so that an alert can tell 0 from absent.
    let mut waiting = BTreeMap::from([(runyard_types::ProjectName::default_project(), 0_u64)]);
    for key in state.queued.iter() {
        *waiting.entry(key.project.clone()).or_default() += 1;
    }
    let mut family = all.gauge("runyard_queue_depth", "Tasks that wait for a place, by project.");
    for (project, count) in waiting {
        family.sample(&[("queue", project.as_str())], count as f64);
    }
}

fn fleet(state: &Truth, all: &mut Exposition) {
    let mut nodes: BTreeMap<_, u64> = BTreeMap::new();
    let mut devices: BTreeMap<_, u64> = BTreeMap::new();
    for node in state.nodes.values() {
        *nodes.entry((node.liveness.as_str(), node.eligibility.as_str())).or_default() += 1;
        for device in &node.devices {
            *devices.entry((device_state(node, device), device.model.as_str())).or_default() += 1;
        }
    }
    let mut family =
        all.gauge("runyard_nodes", "Nodes, by what is heard of them and whether they take work.");
    for ((liveness, eligibility), count) in nodes {
        family.sample(&[("liveness", liveness), ("eligibility", eligibility)], count as f64);
    }
    let mut family = all.gauge("runyard_gpus", "Devices, by what they are doing and their model.");
    for ((state, model), count) in devices {
        family.sample(&[("state", state), ("model", model)], count as f64);
    }
}

fn device_state(node: &Node, device: &NodeDevice) -> &'static str {
    if device.unhealthy.is_some() {
        "unhealthy"
    } else if node.liveness != Liveness::Ready {
        "unreachable"
    } else if node.used.devices.contains_key(&device.uuid) {
        "allocated"
    } else if node.eligibility != Eligibility::Open {
        "withheld"
    } else {
        "free"
    }
}

/// A device that was heard of lately.
struct Seen {
    node: String,
    gpu: String,
    uuid: String,
    model: String,
    simulated: bool,
    memory: u64,
    sample: DeviceSample,
}

impl Seen {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [("node", &self.node), ("gpu", &self.gpu), ("uuid", &self.uuid)]
    }
}

fn devices(core: &Core, state: &Truth, all: &mut Exposition) {
    let mut seen = Vec::new();
    for node in state.nodes.values() {
        if core.live.silence(&node.name).is_none_or(|heard| heard.silent_ms > SAMPLE_AGE_MS_MAX) {
            continue;
        }
        for device in core.live.devices(&node.name) {
            let Some(sample) = device.last else { continue };
            seen.push(Seen {
                node: node.name.to_string(),
                gpu: device.index.to_string(),
                uuid: device.uuid,
                model: device.model,
                simulated: device.simulated,
                memory: device.memory_bytes,
                sample,
            });
        }
    }
    let mut info = all.gauge("runyard_gpu_info", "What a device is.");
    for own in &seen {
        let simulated = if own.simulated { "true" } else { "false" };
        let [node, gpu, uuid] = own.labels();
        info.sample(&[node, gpu, uuid, ("model", &own.model), ("simulated", simulated)], 1.0);
    }
    type Read = fn(&Seen) -> Option<f64>;
    let families: [(&str, &str, Read); 4] = [
        (
            "runyard_gpu_utilization_ratio",
            "The part of the time in which a kernel ran, from 0 to 1.",
            |own| own.sample.utilization_ratio,
        ),
        ("runyard_gpu_memory_used_bytes", "Device memory in use.", |own| {
            own.sample.memory_used_bytes.map(|bytes| bytes as f64)
        }),
        ("runyard_gpu_memory_total_bytes", "Device memory.", |own| Some(own.memory as f64)),
        ("runyard_gpu_power_watts", "Electric power drawn now.", |own| own.sample.power_watts),
    ];
    for (name, help, read) in families {
        let mut family = all.gauge(name, help);
        // What the driver does not tell has no sample; a sentinel would be averaged by somebody.
        for (own, value) in seen.iter().filter_map(|own| Some((own, read(own)?))) {
            family.sample(&own.labels(), value);
        }
    }
    let mut family = all.gauge("runyard_gpu_temperature_celsius", "Temperature, by sensor.");
    for (own, value) in seen.iter().filter_map(|own| Some((own, own.sample.temperature_celsius?))) {
        let [node, gpu, uuid] = own.labels();
        family.sample(&[node, gpu, uuid, ("sensor", "gpu")], value);
    }
}

/// One series that joins devices to work, instead of a run's labels on every series.
fn allocations(state: &Truth, all: &mut Exposition) {
    let mut family = all.gauge("runyard_gpu_allocation_info", "Which run holds a device.");
    for node in state.nodes.values() {
        for device in &node.devices {
            let Some(holder) = node.used.devices.get(&device.uuid) else { continue };
            let task = &holder.attempt.task;
            let run = task.run().and_then(|run| state.run(&task.project, run));
            let name = run.map_or_else(|| task.parent.to_string(), |run| run.name.to_string());
            let stage = match &task.parent {
                runyard_types::Parent::Stage { stage, .. } => stage.as_str(),
                runyard_types::Parent::Revision { .. } => "",
            };
            family.sample(
                &[
                    ("node", node.name.as_str()),
                    ("gpu", &device.index.to_string()),
                    ("uuid", &device.uuid),
                    ("project", task.project.as_str()),
                    ("pipeline", run.map_or("", |run| run.name.pipeline.as_str())),
                    ("run", &name),
                    ("stage", stage),
                    ("user", run.map_or("", |run| &run.principal)),
                ],
                1.0,
            );
        }
    }
}
