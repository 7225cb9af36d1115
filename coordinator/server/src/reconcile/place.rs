//! The scheduler's pass: queued tasks in, placements proposed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runyard_scheduler::{Availability, Cluster, Demand, Device, Limits, Node, schedule};
use runyard_state::entity::{Eligibility, Liveness, Node as Host, ResolvedSource, Task, TaskState};
use runyard_state::{Command, Placement, State, WorkerPlacement};
use runyard_types::{Cause, DurationMs, Outcome, Parent};
use tonic::Status;

use super::Pass;
use crate::core::Core;
use crate::errors::status;

/// Tasks considered in one pass. More would only wait longer for the answer.
const DEMANDS_MAX: usize = 4_096;
/// Placements in one entry.
const BATCH: usize = 256;

pub(super) async fn pass(core: Core) -> Result<Pass, Status> {
    let view = core.truth.view();
    let state = &view.state;
    if state.queued.is_empty() {
        return Ok(Pass::Asleep);
    }
    let (demands, next) = demands(state, core.truth.elapsed(state));
    if !demands.is_empty() {
        let cluster = cluster(state);
        let limits = Limits { now_ms: state.clock.wall.0, ..Limits::default() };
        let plan = schedule(&cluster, &demands, &limits);
        let placements: Vec<Placement> = plan
            .placements
            .into_iter()
            .map(|placement| Placement {
                task: placement.task,
                workers: placement
                    .workers
                    .into_iter()
                    .map(|worker| WorkerPlacement { node: worker.node, devices: worker.devices })
                    .collect(),
            })
            .collect();
        let entries = placements
            .chunks(BATCH)
            .map(|batch| core.truth.propose(Command::Place(batch.to_vec())));
        for entry in entries {
            entry.await.map_err(status)?;
        }
    }
    Ok(next.map_or(Pass::Asleep, Pass::In))
}

/// The nodes as the scheduler sees them.
pub(crate) fn cluster(state: &State) -> Cluster {
    let nodes = state
        .nodes
        .values()
        .map(|node| {
            let availability = match (node.liveness, node.eligibility) {
                (Liveness::Lost | Liveness::Joined, _) => Availability::Lost,
                (Liveness::Unreachable, _) => Availability::Unreachable,
                (Liveness::Ready, Eligibility::Cordoned) => {
                    Availability::Cordoned(node.reason.clone())
                }
                (Liveness::Ready, Eligibility::Draining) => {
                    Availability::Draining(node.reason.clone())
                }
                (Liveness::Ready, Eligibility::Open) => Availability::Open,
            };
            let devices = node
                .devices
                .iter()
                .map(|device| Device {
                    uuid: device.uuid.clone(),
                    model: device.model.clone(),
                    memory: device.memory,
                    holder: node.used.devices.get(&device.uuid).map(ToString::to_string),
                    withheld: device.unhealthy.clone(),
                })
                .collect();
            let entry = Node {
                cpu: node.cpu,
                memory: node.memory,
                cpu_used: node.used.cpu,
                memory_used: node.used.memory,
                devices,
                availability,
                networks: node.networks.clone(),
            };
            (node.name.clone(), entry)
        })
        .collect();
    Cluster { nodes }
}

/// The tasks that may be placed now, the most urgent first, and how long until the next one may be.
pub(crate) fn demands(state: &State, now: DurationMs) -> (Vec<Demand>, Option<Duration>) {
    let mut next: Option<u64> = None;
    let mut parallel: BTreeMap<Parent, u32> = BTreeMap::new();
    let mut ready: Vec<&std::sync::Arc<Task>> = Vec::new();
    for key in state.queued.iter() {
        let Some(task) = state.tasks.get(key) else { continue };
        if task.not_before > now {
            let wait = task.not_before.0 - now.0;
            next = Some(next.map_or(wait, |other| other.min(wait)));
            continue;
        }
        if !state.is_let_go(task) {
            continue;
        }
        ready.push(task);
    }
    ready.sort_by_key(|task| (std::cmp::Reverse(task.priority), task.queued_at));
    let mut demands = Vec::new();
    for task in ready {
        if let Some(limit) = max_parallel(state, task) {
            let used =
                parallel.entry(task.key.parent.clone()).or_insert_with(|| active_of(state, task));
            if *used >= limit {
                continue;
            }
            *used += 1;
        }
        demands.push(demand(state, task));
        if demands.len() >= DEMANDS_MAX {
            break;
        }
    }
    (demands, next.map(Duration::from_millis))
}

fn max_parallel(state: &State, task: &Task) -> Option<u32> {
    let run = state.run(&task.key.project, task.key.run()?)?;
    run.pipeline.stage(task.stage.as_ref()?.as_str())?.matrix.as_ref()?.max_parallel
}

fn active_of(state: &State, task: &Task) -> u32 {
    let Parent::Stage { run, stage } = &task.key.parent else { return 0 };
    state
        .stage_tasks(&task.key.project, run, stage)
        .filter(|task| task.state == TaskState::Active)
        .count() as u32
}

fn demand(state: &State, task: &Task) -> Demand {
    let mut avoid = BTreeSet::new();
    // What just failed by the machine's fault is tried on other devices.
    if let Some(last) = task.attempts.last()
        && matches!(last.outcome, Some(Outcome::Ended { cause: Cause::Error, .. }))
    {
        for worker in &last.workers {
            avoid.extend(
                worker.devices.iter().map(|device| (worker.node.clone(), Some(device.clone()))),
            );
        }
    }
    for input in &task.inputs {
        let ResolvedSource::Mount { path, .. } = &input.source else { continue };
        let gives = |node: &Host| {
            node.mounts.iter().any(|mount| std::path::Path::new(path).starts_with(mount))
        };
        avoid.extend(
            state.nodes.values().filter(|node| !gives(node)).map(|node| (node.name.clone(), None)),
        );
    }
    Demand {
        key: task.key.clone(),
        priority: task.priority,
        since_ms: task.queued_at.map_or(0, |at| at.0),
        resources: task.resources.clone(),
        nodes: task.nodes,
        network: task.network.clone(),
        avoid,
        preferred: BTreeMap::new(),
    }
}
