//! The scheduler's pass: queued tasks in, placements proposed.

use std::time::Duration;

use runyard_scheduler::{Availability, Cluster, Demand, Device, Limits, Node, schedule};
use runyard_state::entity::{Eligibility, Liveness};
use runyard_state::{Command, Placement, State, WorkerPlacement};
use tonic::Status;

use super::demands::demands;
use super::{Pass, chain};
use crate::core::Core;
use crate::errors::status;

/// Tasks of one stage considered in one pass; the next pass follows upon its placements.
const OF_STAGE_MAX: usize = 128;
/// How often the whole queue is considered where nothing was found for the first of each stage.
const ALL_EVERY: Duration = Duration::from_secs(1);
/// Placements in one entry.
const BATCH: usize = 256;

pub(super) async fn pass(core: Core) -> Result<Pass, Status> {
    let view = core.truth.view();
    let state = &view.state;
    let waits = state.nodes.values().any(|node| !node.next.is_empty());
    if state.queued.is_empty() && !waits {
        return Ok(Pass::Asleep);
    }
    let now = core.truth.elapsed(state);
    let mut found = demands(state, now, OF_STAGE_MAX);
    let mut placements = placements(state, &found.list);
    if placements.is_empty() && found.cut {
        // What was left out may differ from what found no room, in its mounts or in what it has failed on.
        if core.live.may_look_at_all(ALL_EVERY) {
            found = demands(state, now, usize::MAX);
            placements = self::placements(state, &found.list);
        } else {
            found.next = Some(found.next.map_or(ALL_EVERY, |next| next.min(ALL_EVERY)));
        }
    }
    let overdue = chain::overdue(state, crate::clock::wall_ms());
    let mut entries: Vec<Vec<Command>> =
        placements.chunks(BATCH).map(|batch| vec![Command::Place(batch.to_vec())]).collect();
    if !overdue.is_empty() {
        entries.push(overdue);
    }
    for commands in entries {
        // One that came too late is refused by itself.
        core.truth.propose_all(commands).await.map_err(status)?;
    }
    let look = waits.then_some(chain::PATIENCE);
    Ok(found.next.into_iter().chain(look).min().map_or(Pass::Asleep, Pass::In))
}

/// Where these demands go, in their order: those that find room, and then those that wait for that of another.
fn placements(state: &State, demands: &[Demand]) -> Vec<Placement> {
    if demands.is_empty() {
        return Vec::new();
    }
    let limits = Limits { now_ms: state.clock.wall.0, reasons: false, ..Limits::default() };
    let plan = schedule(&cluster(state), demands, &limits);
    let reserved = plan.reservation.as_ref().map(|reservation| reservation.nodes.as_slice());
    let mut placements: Vec<Placement> = plan
        .placements
        .into_iter()
        .map(|placement| Placement {
            task: placement.task,
            workers: placement
                .workers
                .into_iter()
                .map(|worker| WorkerPlacement { node: worker.node, devices: worker.devices })
                .collect(),
            after: None,
        })
        .collect();
    let waiting = plan.waiting.iter().map(|waiting| &waiting.task);
    let now = crate::clock::wall_ms();
    let behind = chain::behind(state, now, &placements, waiting, reserved.unwrap_or_default());
    placements.extend(behind);
    placements
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
