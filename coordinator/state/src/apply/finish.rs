//! The ends of attempts, and whether another follows.

use std::cmp::Ordering;

use runyard_pipeline::RetryOn;
use runyard_types::{AttemptKey, Cause, DurationMs, ExitReport, Outcome, Parent, WorkerKey};

use crate::command::{FinishAttempt, LoseAttempt, StopAttempt};
use crate::entity::{Liveness, RevisionState, Stop, TaskState, WorkerPhase};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

/// The longest wait before another attempt.
const BACKOFF_MS_MAX: u64 = 5 * 60_000;

impl State {
    pub(super) fn finish_attempt(
        &mut self,
        ctx: &mut Ctx,
        command: FinishAttempt,
    ) -> Result<Reply, Refusal> {
        self.check_current(&command.attempt)?;
        let key = command.attempt;
        let ranks = self.attempt(&key).map_or(0, |(_, attempt)| attempt.workers.len());
        if command.log_ends.len() > ranks {
            return Err(Refusal::precondition(format!("attempt {key} has {ranks} workers")));
        }
        if let Some((_, attempt)) = self.attempt(&key)
            && command.outcome == Outcome::Succeeded
            && !attempt.go
        {
            let why = match &attempt.after {
                Some(before) => format!("{before} is not released"),
                None => "its gang was never prepared".to_owned(),
            };
            return Err(Refusal::precondition(format!(
                "attempt {key} can't have succeeded: {why}"
            )));
        }
        for (rank, end) in command.log_ends.iter().enumerate() {
            let worker_key = WorkerKey { attempt: key.clone(), rank: rank as u32 };
            self.worker_mut(&worker_key, |worker| {
                worker.phase = worker.phase.max(WorkerPhase::Finished);
                // The end that comes with the result outweighs what was said of an earlier start.
                worker.log.complete = match worker.log.to.cmp(end) {
                    Ordering::Less => false,
                    Ordering::Equal => true,
                    Ordering::Greater => worker.log.complete,
                };
            })?;
        }
        if command.outcome == Outcome::Succeeded {
            self.task_mut(&key.task)?.result = command.result;
        } else {
            // Metrics and values help to see why; outputs of an attempt that failed are nobody's.
            let task = self.task_mut(&key.task)?;
            task.result =
                crate::entity::TaskResult { outputs: Default::default(), ..command.result };
        }
        self.end_attempt(ctx, &key, command.outcome, command.exit)?;
        self.settle(&key);
        Ok(Reply::Done)
    }

    pub(super) fn lose_attempt(
        &mut self,
        ctx: &mut Ctx,
        command: LoseAttempt,
    ) -> Result<Reply, Refusal> {
        self.check_current(&command.attempt)?;
        let lost = self.attempt(&command.attempt).is_some_and(|(_, attempt)| {
            attempt.workers.iter().any(|worker| {
                self.nodes.get(&worker.node).is_none_or(|node| node.liveness == Liveness::Lost)
            })
        });
        if !lost {
            return Err(Refusal::precondition(format!(
                "no node of attempt {} is lost",
                command.attempt
            )));
        }
        let behind = self.attempt(&command.attempt).is_some_and(|(_, attempt)| attempt.is_behind());
        if behind {
            self.give_back(ctx, &command.attempt, &command.reason);
        } else {
            self.request_stop(ctx, &command.attempt, Cause::Error, &command.reason);
        }
        let outcome = Outcome::Ended { cause: Cause::Error, reason: command.reason };
        self.end_attempt(ctx, &command.attempt, outcome, None)?;
        Ok(Reply::Done)
    }

    pub(super) fn stop_attempt(
        &mut self,
        ctx: &mut Ctx,
        command: &StopAttempt,
    ) -> Result<Reply, Refusal> {
        self.check_current(&command.attempt)?;
        if !command.give_back {
            self.request_stop(ctx, &command.attempt, command.cause, &command.reason);
            return Ok(Reply::Done);
        }
        // Its turn may have come meanwhile: then it runs.
        if !self.attempt(&command.attempt).is_some_and(|(_, attempt)| attempt.is_behind()) {
            return Err(Refusal::precondition(format!(
                "attempt {} waits for nobody's room",
                command.attempt
            )));
        }
        self.give_back(ctx, &command.attempt, &command.reason);
        Ok(Reply::Done)
    }

    /// Only the current attempt of a task, and only while it lives, can change the task.
    fn check_current(&self, key: &AttemptKey) -> Result<(), Refusal> {
        let (task, attempt) =
            self.attempt(key).ok_or_else(|| Refusal::not_found("attempt", key))?;
        let current = task.attempts.len() as u32;
        if key.number != current {
            return Err(Refusal::Stale {
                attempt: key.to_string(),
                current: format!("{}.{current}", key.task),
            });
        }
        if attempt.outcome.is_some() {
            return Err(Refusal::precondition(format!("attempt {key} has ended")));
        }
        Ok(())
    }

    /// Notes the wish that an attempt ends; the first wish stands, but for one to cancel.
    pub(super) fn request_stop(
        &mut self,
        ctx: &mut Ctx,
        key: &AttemptKey,
        cause: Cause,
        reason: &str,
    ) {
        let index = ctx.index;
        let Ok(task) = self.task_mut(&key.task) else { return };
        let Some(attempt) = task.attempts.get_mut((key.number as usize).wrapping_sub(1)) else {
            return;
        };
        // That somebody does not want it at all outweighs that it can't go on: no other follows.
        let asked = attempt.stop.as_ref().map(|stop| stop.cause);
        if asked.is_some_and(|asked| asked == Cause::Cancelled || cause != Cause::Cancelled) {
            return;
        }
        attempt.stop = Some(Stop { cause, reason: reason.to_owned(), index, given_back: false });
        self.emit(
            ctx,
            Some(&key.task.project),
            EventKind::AttemptStopping {
                attempt: key.to_string(),
                task: key.task.clone(),
                reason: reason.to_owned(),
            },
        );
    }

    /// Ends an attempt, and with it the task, unless another attempt is due.
    pub(super) fn end_attempt(
        &mut self,
        ctx: &mut Ctx,
        key: &AttemptKey,
        outcome: Outcome,
        exit: Option<ExitReport>,
    ) -> Result<(), Refusal> {
        let wall = self.clock.wall;
        let task = self.task_mut(&key.task)?;
        let Some(attempt) = task.attempts.get_mut((key.number as usize).wrapping_sub(1)) else {
            return Err(Refusal::not_found("attempt", key));
        };
        // Whatever it ended by, nobody wants it any more: it is not tried again.
        let outcome = match (&attempt.stop, outcome) {
            (Some(stop), Outcome::Ended { .. }) if stop.cause == Cause::Cancelled => {
                Outcome::Ended { cause: Cause::Cancelled, reason: stop.reason.clone() }
            }
            (_, outcome) => outcome,
        };
        // Taken back before its turn: that is no try of the task's.
        let given_back = attempt.stop.as_ref().is_some_and(|stop| stop.given_back)
            && matches!(outcome, Outcome::Ended { cause: Cause::Error, .. });
        let behind = attempt.after.is_some();
        let had_room = wall.since(attempt.placed_at);
        attempt.outcome = Some(outcome.clone());
        attempt.ended_at = Some(wall);
        attempt.exit = exit;
        let (word, reason) = match &outcome {
            Outcome::Succeeded => ("succeeded", String::new()),
            Outcome::Ended { cause: Cause::Failure, reason } => ("failure", reason.clone()),
            Outcome::Ended { cause: Cause::Error, reason } => ("error", reason.clone()),
            Outcome::Ended { cause: Cause::Cancelled, reason } => ("cancelled", reason.clone()),
        };
        // The rest of a gang has nothing left to do.
        let gang = attempt.workers.len() > 1 && !attempt.is_released();
        self.emit(
            ctx,
            Some(&key.task.project),
            EventKind::AttemptFinished {
                attempt: key.to_string(),
                task: key.task.clone(),
                outcome: word.to_owned(),
                reason: reason.clone(),
            },
        );
        if gang && outcome != Outcome::Succeeded {
            self.request_stop(ctx, key, Cause::Error, "another worker of the gang ended");
        }
        let by_itself =
            matches!(outcome, Outcome::Succeeded | Outcome::Ended { cause: Cause::Failure, .. });
        if by_itself && !behind {
            self.note_duration(&key.task, had_room);
        }
        let again =
            if given_back { Some(DurationMs::ZERO) } else { self.retry_after(key, &outcome) };
        match again {
            Some(wait) => {
                let not_before = DurationMs(self.clock.elapsed.0.saturating_add(wait.0));
                self.task_mut(&key.task)?.not_before = not_before;
                self.move_task(
                    ctx,
                    &key.task,
                    TaskState::Queued,
                    &format!("tried again after: {reason}"),
                );
            }
            None => {
                self.move_task(ctx, &key.task, TaskState::of(&outcome), &reason);
                if matches!(outcome, Outcome::Ended { cause: Cause::Failure | Cause::Error, .. }) {
                    self.fail_fast(ctx, key);
                }
            }
        }
        self.settle(key);
        Ok(())
    }

    /// The wait before another attempt, if the outcome calls for one.
    fn retry_after(&mut self, key: &AttemptKey, outcome: &Outcome) -> Option<DurationMs> {
        // A replica is to serve until it is stopped: one that ends well has ended all the same.
        if let (Outcome::Succeeded, Parent::Revision { deployment, revision }) =
            (outcome, &key.task.parent)
        {
            let state = self.deployment(&key.task.project, deployment)?.revision(*revision)?.state;
            return restart_after(state, key.number);
        }
        let cause = match outcome {
            Outcome::Succeeded | Outcome::Ended { cause: Cause::Cancelled, .. } => return None,
            Outcome::Ended { cause, .. } => *cause,
        };
        let policy = match &key.task.parent {
            Parent::Stage { run, .. } => {
                let run = self.run(&key.task.project, run)?;
                if run.cancelled.is_some() {
                    return None;
                }
                let stage = self.tasks.get(&key.task)?.stage.clone()?;
                run.pipeline.stage(stage.as_str())?.retry.clone()
            }
            // A replica is started again as long as its revision should serve.
            Parent::Revision { deployment, revision } => {
                let state =
                    self.deployment(&key.task.project, deployment)?.revision(*revision)?.state;
                return restart_after(state, key.number);
            }
        };
        let task = self.task_mut(&key.task).ok()?;
        let (wanted, made) = match cause {
            Cause::Failure => {
                task.failures += 1;
                (policy.on.contains(&RetryOn::Failure), task.failures)
            }
            Cause::Error => {
                task.errors += 1;
                (policy.on.contains(&RetryOn::Error), task.errors)
            }
            Cause::Cancelled => return None,
        };
        let doubled = policy.backoff.0.saturating_mul(1 << (made - 1).min(20));
        (wanted && made <= policy.max).then_some(DurationMs(doubled.min(BACKOFF_MS_MAX)))
    }

    /// Cancels the rest of a matrix whose file says so.
    fn fail_fast(&mut self, ctx: &mut Ctx, key: &AttemptKey) {
        let Parent::Stage { run, stage } = &key.task.parent else { return };
        let wanted = self
            .run(&key.task.project, run)
            .and_then(|run| run.pipeline.stage(stage.as_str()))
            .and_then(|stage| stage.matrix.as_ref())
            .is_some_and(|matrix| matrix.fail_fast);
        if wanted {
            self.cancel_tasks(
                ctx,
                &key.task.project,
                run,
                Some(stage),
                &format!("{} did not succeed", key.task),
            );
        }
    }
}

/// The wait before a replica is started again, while its revision should serve.
fn restart_after(state: RevisionState, attempts: u32) -> Option<DurationMs> {
    matches!(state, RevisionState::Serving | RevisionState::Warm)
        .then_some(DurationMs(1_000 << attempts.min(6)))
}
