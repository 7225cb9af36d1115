//! A model of how the leader places tasks ahead: behind another of their stage, without regard to how long they
//! take, so that all that can happen to one that waits does happen.

use runyard_state::entity::{Attempt, Liveness};
use runyard_state::{Command, Placement, State, StopAttempt, WorkerPlacement};
use runyard_types::{AttemptKey, Cause, NodeName, TaskKey};

use crate::random::Random;

/// That wait for one room.
const DEPTH: usize = 3;

/// Placements of tasks that found no room.
pub(crate) fn behind<'a>(
    state: &State,
    waiting: impl Iterator<Item = &'a TaskKey>,
) -> Vec<Placement> {
    let mut ends: Vec<(usize, NodeName, AttemptKey)> = Vec::new();
    for node in state.nodes.values().filter(|node| node.liveness == Liveness::Ready && node.chains)
    {
        for worker in &node.workers {
            let Some((_, attempt)) = state.attempt(&worker.attempt) else { continue };
            let ending = attempt.outcome.is_some() || attempt.stop.is_some();
            if attempt.workers.len() == 1 && !ending && !node.next.contains_key(&worker.attempt) {
                let waits = before(state, attempt).len();
                ends.push((waits, node.name.clone(), worker.attempt.clone()));
            }
        }
    }
    let mut placements = Vec::new();
    for key in waiting {
        let Some(task) = state.tasks.get(key) else { continue };
        if task.nodes != 1 || task.resources.gpu.count > 0 {
            continue;
        }
        let alike = |end: &&mut (usize, NodeName, AttemptKey)| {
            end.0 < DEPTH
                && end.2.task.parent == key.parent
                && state.tasks.get(&end.2.task).is_some_and(|o| o.resources == task.resources)
        };
        let Some(end) = ends.iter_mut().filter(alike).min() else { continue };
        let number = task.attempts.len() as u32 + 1;
        let last = AttemptKey { task: key.clone(), number };
        let before = std::mem::replace(&mut end.2, last);
        end.0 += 1;
        placements.push(Placement {
            task: key.clone(),
            workers: vec![WorkerPlacement { node: end.1.clone(), devices: Vec::new() }],
            after: Some(before),
        });
    }
    placements
}

/// Now and then something that waits is taken back.
pub(crate) fn give_back(state: &State, random: &mut Random) -> Vec<Command> {
    let waiting: Vec<&AttemptKey> =
        state.nodes.values().flat_map(|node| node.next.values()).collect();
    if waiting.is_empty() || !random.chance(50) {
        return Vec::new();
    }
    let picked = waiting[random.below(waiting.len() as u64) as usize].clone();
    let reason = "the one before takes long".to_owned();
    let stop = StopAttempt { attempt: picked, cause: Cause::Error, reason, give_back: true };
    vec![Command::StopAttempt(stop)]
}

/// Those before an attempt, the one with the room last.
pub(crate) fn before(state: &State, attempt: &Attempt) -> Vec<AttemptKey> {
    let earlier = |key: &AttemptKey| state.attempt(key)?.1.after.clone();
    std::iter::successors(attempt.after.clone(), earlier).collect()
}
