//! Giving a task's next attempt its nodes and devices, all or nothing.

use std::sync::Arc;

use runyard_types::{AttemptKey, WorkerKey};

use crate::command::Placement;
use crate::entity::{Attempt, Eligibility, Liveness, Sealed, TaskState, Worker, WorkerPhase};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn place(&mut self, ctx: &mut Ctx, placements: Vec<Placement>) -> Reply {
        Reply::Placed(
            placements.into_iter().map(|placement| self.place_one(ctx, placement)).collect(),
        )
    }

    fn place_one(&mut self, ctx: &mut Ctx, placement: Placement) -> Result<AttemptKey, Refusal> {
        self.check_placement(&placement)?;
        let wall = self.clock.wall;
        let index = ctx.index;
        let task = self.task_mut(&placement.task)?;
        let number = task.attempts.len() as u32 + 1;
        let resources = task.resources.clone();
        let key = AttemptKey { task: placement.task.clone(), number };
        task.attempts.push(Attempt {
            number,
            workers: placement
                .workers
                .iter()
                .map(|worker| Worker {
                    node: worker.node.clone(),
                    devices: worker.devices.clone(),
                    phase: WorkerPhase::Placed,
                    port: 0,
                    wedged: None,
                    log: Sealed::default(),
                    metrics: Sealed::default(),
                })
                .collect(),
            placed_at: wall,
            started_at: None,
            ended_at: None,
            // A gang of one has nobody to wait for: it saves a round trip.
            go: placement.workers.len() == 1 && placement.after.is_none(),
            outcome: None,
            exit: None,
            stop: None,
            fencing_token: index,
            after: placement.after.clone(),
        });
        for (rank, worker) in placement.workers.iter().enumerate() {
            let worker_key = WorkerKey { attempt: key.clone(), rank: rank as u32 };
            let node = self.node_mut(&worker.node)?;
            match &placement.after {
                Some(before) => drop(node.next.insert(before.clone(), key.clone())),
                None => {
                    node.used.cpu.0 += resources.cpu.0;
                    node.used.memory.0 += resources.memory.0;
                }
            }
            for uuid in &worker.devices {
                node.used.devices.insert(uuid.clone(), worker_key.clone());
            }
            node.workers.insert(worker_key);
        }
        self.unsettled.insert_mut(key.clone());
        let devices = placement.workers.iter().map(|worker| worker.devices.len() as u32).sum();
        self.emit(
            ctx,
            Some(&placement.task.project),
            EventKind::AttemptPlaced {
                attempt: key.to_string(),
                task: placement.task.clone(),
                nodes: placement.workers.into_iter().map(|worker| worker.node).collect(),
                devices,
            },
        );
        self.move_task(ctx, &key.task, TaskState::Active, "");
        Ok(key)
    }

    fn check_placement(&self, placement: &Placement) -> Result<(), Refusal> {
        let key = &placement.task;
        let task = self.tasks.get(key).ok_or_else(|| Refusal::not_found("task", key))?;
        if task.state != TaskState::Queued {
            return Err(Refusal::precondition(format!(
                "task {key} is {}, not queued",
                task.state.as_str()
            )));
        }
        if task.not_before > self.clock.elapsed {
            return Err(Refusal::precondition(format!(
                "task {key} waits before it is tried again"
            )));
        }
        if placement.workers.len() != task.nodes as usize {
            return Err(Refusal::precondition(format!("task {key} needs {} workers", task.nodes)));
        }
        // Not only the last one: a node that was lost may be back with an older one.
        if let Some(before) = self.holding(task) {
            return Err(Refusal::precondition(format!(
                "attempt {key}.{} is not released",
                before.number
            )));
        }
        let mut nodes = std::collections::BTreeSet::new();
        for worker in &placement.workers {
            let node = self
                .nodes
                .get(&worker.node)
                .ok_or_else(|| Refusal::not_found("node", &worker.node))?;
            self.check_worker(task, node, worker, placement.after.is_some())?;
            if !nodes.insert(&worker.node) {
                return Err(Refusal::precondition(format!(
                    "two workers of {key} on node {}",
                    worker.node
                )));
            }
        }
        placement.after.as_ref().map_or(Ok(()), |before| self.check_chain(task, placement, before))
    }

    fn check_worker(
        &self,
        task: &crate::entity::Task,
        node: &Arc<crate::entity::Node>,
        worker: &crate::command::WorkerPlacement,
        behind: bool,
    ) -> Result<(), Refusal> {
        let name = &node.name;
        if node.liveness != Liveness::Ready {
            return Err(Refusal::precondition(format!(
                "node {name} is {}",
                node.liveness.as_str()
            )));
        }
        if node.eligibility != Eligibility::Open {
            return Err(Refusal::precondition(format!(
                "node {name} is {}",
                node.eligibility.as_str()
            )));
        }
        let fits = |used: u64, wanted: u64, all: u64| {
            used.checked_add(wanted).is_some_and(|sum| sum <= all)
        };
        // What waits for another's room gets that.
        if !behind && !fits(node.used.cpu.0, task.resources.cpu.0, node.cpu.0) {
            return Err(Refusal::precondition(format!("node {name} has too little CPU left")));
        }
        if !behind && !fits(node.used.memory.0, task.resources.memory.0, node.memory.0) {
            return Err(Refusal::precondition(format!("node {name} has too little memory left")));
        }
        if worker.devices.len() != task.resources.gpu.count as usize {
            return Err(Refusal::precondition(format!(
                "{} needs {} devices",
                task.key, task.resources.gpu.count
            )));
        }
        let mut seen = std::collections::BTreeSet::new();
        for uuid in &worker.devices {
            let device = node
                .devices
                .iter()
                .find(|device| device.uuid == *uuid)
                .ok_or_else(|| Refusal::not_found("device", format!("{name}/{uuid}")))?;
            if let Some(reason) = &device.unhealthy {
                return Err(Refusal::precondition(format!(
                    "device {name}/{uuid} is unhealthy: {reason}"
                )));
            }
            if let Some(holder) = node.used.devices.get(uuid) {
                return Err(Refusal::precondition(format!(
                    "device {name}/{uuid} is held by {holder}"
                )));
            }
            if !seen.insert(uuid) {
                return Err(Refusal::precondition(format!("device {name}/{uuid} is named twice")));
            }
        }
        Ok(())
    }
}
