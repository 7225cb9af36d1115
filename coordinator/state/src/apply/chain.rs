//! Attempts that wait on a node for the room of another.
//!
//! A freed room is given out by a commit, and taken by another. Short tasks would spend their time between the
//! two, so some are placed ahead, each behind an attempt that is like it: it takes no room, and inherits that of
//! the one before when this is released. If it goes first, those on both sides of it close up.

use runyard_types::{AttemptKey, Cause, DurationMs, NodeName, Parent, TaskKey};

use crate::command::Placement;
use crate::entity::{Attempt, Task};
use crate::refusal::Refusal;
use crate::state::{Ctx, State};

/// Attempts that may wait one behind the other for one room.
pub const CHAIN_MAX: usize = 4;

impl State {
    /// Whether `placement` may wait for the room of `before`. Node and devices were checked.
    pub(super) fn check_chain(
        &self,
        task: &Task,
        placement: &Placement,
        before: &AttemptKey,
    ) -> Result<(), Refusal> {
        let key = &task.key;
        let refuse = |why: String| {
            Err(Refusal::precondition(format!(
                "task {key} can't wait for the room of {before}: {why}"
            )))
        };
        let [worker] = placement.workers.as_slice() else {
            return refuse("it is a gang".to_owned());
        };
        let (other, ahead) =
            self.attempt(before).ok_or_else(|| Refusal::not_found("attempt", before))?;
        let Some(node) = self.nodes.get(&worker.node).filter(|node| node.chains) else {
            return refuse(format!("the agent of {} does not know how", worker.node));
        };
        let [room] = ahead.workers.as_slice() else {
            return refuse("that one is a gang".to_owned());
        };
        if room.node != worker.node {
            return refuse(format!("that is on {}", room.node));
        }
        if before.task.parent != key.parent || key.run().is_none() {
            return refuse("it is of another stage".to_owned());
        }
        if other.resources != task.resources || task.resources.gpu.count > 0 {
            return refuse("their resources differ, or hold devices".to_owned());
        }
        if let Some(next) = node.next.get(before) {
            return refuse(format!("{next} does so already"));
        }
        let mut waits = 1;
        let mut at = ahead;
        loop {
            let wedged = at.workers.iter().any(|worker| worker.wedged.is_some());
            if at.is_released() || at.outcome.is_some() || at.stop.is_some() || wedged {
                return refuse("it ends, or has ended".to_owned());
            }
            let Some(earlier) = &at.after else { return Ok(()) };
            waits += 1;
            if waits > CHAIN_MAX {
                return refuse(format!("{CHAIN_MAX} wait for that room already"));
            }
            (_, at) =
                self.attempt(earlier).ok_or_else(|| Refusal::not_found("attempt", earlier))?;
        }
    }

    /// What a released attempt leaves to those behind it; whether there is no room to give back: the next one
    /// has it now, or it never had any.
    pub(super) fn hand_over(&mut self, node: &NodeName, released: &AttemptKey) -> bool {
        let after = self.attempt(released).and_then(|(_, attempt)| attempt.after.clone());
        let Ok(entity) = self.node_mut(node) else { return false };
        let next = entity.next.remove(released);
        if let Some(before) = &after {
            entity.next.remove(before);
            if let Some(next) = &next {
                entity.next.insert(before.clone(), next.clone());
            }
        }
        let Some(next) = next else { return after.is_some() };
        let (wall, gets_room) = (self.clock.wall, after.is_none());
        let Ok(task) = self.task_mut(&next.task) else { return true };
        let Some(attempt) = task.attempts.get_mut((next.number as usize).wrapping_sub(1)) else {
            return true;
        };
        attempt.after = after;
        if gets_room && attempt.outcome.is_none() {
            attempt.go = true;
            attempt.placed_at = wall;
        }
        true
    }

    /// Asks all that wait on a node to end, so that they are queued again.
    pub(super) fn give_back_all(&mut self, ctx: &mut Ctx, node: &NodeName, why: &str) {
        let Some(entity) = self.nodes.get(node) else { return };
        let behind: Vec<AttemptKey> = entity.next.values().cloned().collect();
        for key in behind {
            self.give_back(ctx, &key, why);
        }
    }

    /// Asks all that wait behind an attempt, one after the other, to end.
    pub(super) fn give_back_behind(
        &mut self,
        ctx: &mut Ctx,
        node: &NodeName,
        first: &AttemptKey,
        why: &str,
    ) {
        let next = |state: &Self, key: &AttemptKey| state.nodes.get(node)?.next.get(key).cloned();
        let mut behind = next(self, first);
        while let Some(key) = behind {
            self.give_back(ctx, &key, why);
            behind = next(self, &key);
        }
    }

    /// Asks an attempt that waits to end, so that its task is queued again.
    pub(super) fn give_back(&mut self, ctx: &mut Ctx, key: &AttemptKey, why: &str) {
        let waits = |(_, attempt): (_, &Attempt)| attempt.is_behind() && attempt.stop.is_none();
        if !self.attempt(key).is_some_and(waits) {
            return;
        }
        self.request_stop(ctx, key, Cause::Error, &format!("given back: {why}"));
        let number = (key.number as usize).wrapping_sub(1);
        if let Ok(task) = self.task_mut(&key.task)
            && let Some(stop) =
                task.attempts.get_mut(number).and_then(|attempt| attempt.stop.as_mut())
        {
            stop.given_back = true;
        }
    }

    pub(super) fn note_duration(&mut self, key: &TaskKey, took: DurationMs) {
        let Parent::Stage { run, stage } = &key.parent else { return };
        if let Ok(run) = self.run_mut(&key.project, run)
            && let Some(progress) = run.stages.get_mut(stage)
        {
            progress.took(took.0);
        }
    }
}
