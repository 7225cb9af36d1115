//! Forward steps of workers, as their node reports them.

use runyard_types::{Cause, NodeName, Outcome, WorkerKey};

use crate::command::{ReportWorkers, WorkerStep};
use crate::entity::{Worker, WorkerPhase};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn report_workers(&mut self, ctx: &mut Ctx, command: ReportWorkers) -> Reply {
        let node = command.node;
        let items =
            command.items.into_iter().map(|(key, step)| self.report_worker(ctx, &node, &key, step));
        Reply::Items(items.collect())
    }

    fn report_worker(
        &mut self,
        ctx: &mut Ctx,
        node: &NodeName,
        key: &WorkerKey,
        step: WorkerStep,
    ) -> Result<(), Refusal> {
        let (attempt, worker) =
            self.worker(key).ok_or_else(|| Refusal::not_found("worker", key))?;
        if worker.node != *node {
            return Err(Refusal::Denied { what: format!("worker {key} is not on node {node}") });
        }
        let (phase, ended, go) = (worker.phase, attempt.outcome.is_some(), attempt.go);
        let wedged = worker.wedged.is_some();
        match step {
            WorkerStep::Prepared { port } => {
                self.forward(key, phase, WorkerPhase::Prepared, port, ended)?
            }
            WorkerStep::Running { .. } if !go => {
                let why = match &attempt.after {
                    Some(before) => format!("{before} is not released"),
                    None => "its gang is not prepared".to_owned(),
                };
                return Err(Refusal::precondition(format!("worker {key} may not run: {why}")));
            }
            WorkerStep::Running { port } => {
                self.forward(key, phase, WorkerPhase::Running, port, ended)?
            }
            WorkerStep::Finished => self.forward(key, phase, WorkerPhase::Finished, 0, false)?,
            WorkerStep::Released => self.release_worker(key, phase)?,
            WorkerStep::Wedged { reason } => {
                // Reports are whole: the same word comes again with each.
                if phase == WorkerPhase::Released || wedged {
                    return Err(backward(key, phase));
                }
                self.worker_mut(key, |worker| worker.wedged = Some(reason.clone()))?;
                self.give_back_behind(ctx, node, &key.attempt, &format!("{key} can't be killed"));
                self.emit(
                    ctx,
                    Some(&key.attempt.task.project),
                    EventKind::WorkerWedged {
                        worker: key.to_string(),
                        task: key.attempt.task.clone(),
                        reason,
                    },
                );
            }
        }
        self.after_step(ctx, key)
    }

    fn forward(
        &mut self,
        key: &WorkerKey,
        from: WorkerPhase,
        to: WorkerPhase,
        port: u16,
        ended: bool,
    ) -> Result<(), Refusal> {
        // A gang's worker whose attempt has ended may not start; it may only finish and release.
        if from >= to || ended {
            return Err(backward(key, from));
        }
        self.worker_mut(key, |worker| {
            worker.phase = to;
            if port != 0 {
                worker.port = port;
            }
        })
    }

    pub(super) fn release_worker(
        &mut self,
        key: &WorkerKey,
        from: WorkerPhase,
    ) -> Result<(), Refusal> {
        if from == WorkerPhase::Released {
            return Err(backward(key, from));
        }
        let resources = self.task_mut(&key.attempt.task)?.resources.clone();
        let mut name = None;
        self.worker_mut(key, |worker| {
            worker.phase = WorkerPhase::Released;
            worker.wedged = None;
            name = Some(worker.node.clone());
        })?;
        if let Some(name) = name {
            let node = self.node_mut(&name)?;
            if node.workers.remove(key) {
                node.used.devices.retain(|_, holder| holder != key);
                if !self.hand_over(&name, &key.attempt) {
                    let node = self.node_mut(&name)?;
                    node.used.cpu.0 -= resources.cpu.0;
                    node.used.memory.0 -= resources.memory.0;
                }
            }
        }
        self.settle(&key.attempt);
        Ok(())
    }

    /// What follows for the attempt as a whole.
    fn after_step(&mut self, ctx: &mut Ctx, key: &WorkerKey) -> Result<(), Refusal> {
        let wall = self.clock.wall;
        let number = key.attempt.number as usize;
        let task = self.task_mut(&key.attempt.task)?;
        let Some(attempt) = task.attempts.get_mut(number - 1) else { return Ok(()) };
        if attempt.outcome.is_some() {
            return Ok(());
        }
        // One that ended before its gang was prepared is no part of a whole gang.
        let prepared = |worker: &Worker| worker.phase == WorkerPhase::Prepared;
        if !attempt.go
            && attempt.after.is_none()
            && attempt.stop.is_none()
            && attempt.workers.iter().all(prepared)
        {
            attempt.go = true;
        }
        let running = attempt.workers.iter().any(|worker| worker.phase == WorkerPhase::Running);
        if running && attempt.started_at.is_none() {
            attempt.started_at = Some(wall);
            let kind = EventKind::AttemptStarted {
                attempt: key.attempt.to_string(),
                task: key.attempt.task.clone(),
            };
            self.emit(ctx, Some(&key.attempt.task.project), kind);
            return Ok(());
        }
        // A worker that is gone without a result, as when it never started, ends the attempt.
        if attempt.is_released() {
            let outcome = match &attempt.stop {
                Some(stop) => Outcome::Ended { cause: stop.cause, reason: stop.reason.clone() },
                None => Outcome::Ended {
                    cause: Cause::Error,
                    reason: "its workers were released without a result".to_owned(),
                },
            };
            return self.end_attempt(ctx, &key.attempt, outcome, None);
        }
        // A gang runs whole or not at all: without one of its workers, the rest works for nothing.
        if attempt.workers.iter().any(|worker| worker.phase == WorkerPhase::Released) {
            let reason = format!("worker {key} was released before the gang's end");
            self.request_stop(ctx, &key.attempt, Cause::Error, &reason);
        }
        Ok(())
    }

    pub(super) fn worker_mut(
        &mut self,
        key: &WorkerKey,
        change: impl FnOnce(&mut Worker),
    ) -> Result<(), Refusal> {
        let task = self.task_mut(&key.attempt.task)?;
        let worker = task
            .attempts
            .get_mut((key.attempt.number as usize).wrapping_sub(1))
            .and_then(|attempt| attempt.workers.get_mut(key.rank as usize))
            .ok_or_else(|| Refusal::not_found("worker", key))?;
        change(worker);
        Ok(())
    }

    /// Drops the attempt from the unsettled ones once nothing of it is held or unsealed.
    pub(super) fn settle(&mut self, key: &runyard_types::AttemptKey) {
        let settled = self.attempt(key).is_none_or(|(_, attempt)| {
            attempt.outcome.is_some()
                && attempt.is_released()
                && attempt.workers.iter().all(|worker| worker.log.complete)
        });
        if settled {
            self.unsettled.remove_mut(key);
        }
    }
}

fn backward(key: &WorkerKey, phase: WorkerPhase) -> Refusal {
    Refusal::precondition(format!("worker {key} is past that step already ({phase:?})"))
}
