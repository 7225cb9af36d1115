//! Short tasks that are placed one ahead: each waits on a node for the room of another of its stage.
//!
//! A freed room would else stay empty for two commits, the one that ends a task and the one that places the next.
//! Where tasks take long that is nothing, and where to run is better decided late: so only stages whose last
//! tasks were short are placed ahead, and only behind what has just begun.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runyard_state::entity::{Attempt, Eligibility, Liveness, Node, ResolvedSource, Task};
use runyard_state::{CHAIN_MAX, Command, Placement, State, StopAttempt, WorkerPlacement};
use runyard_types::{AttemptKey, Cause, NodeName, Parent, ProjectName, TaskKey};

/// A stage whose last tasks took less is placed ahead, behind what has had its room for less.
const SHORT_MS: u64 = 1_000;
/// What waits behind an attempt that has had its room for so long is given back to the queue.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Tasks that wait for one room, once it is filled up, and how many must have gone until it is.
const DEPTH: usize = CHAIN_MAX;
const REFILL: usize = 2;

/// The ends of the chains of a stage: how many wait there, the node, the last.
type Ends = BTreeSet<(usize, NodeName, AttemptKey)>;

/// Placements behind what has a room, for the first of the tasks that found none.
///
/// They are taken in their order, and the first that can't wait behind anything ends it: a room that is freed is
/// its, if it fits.
pub(super) fn behind<'a>(
    state: &State,
    now_ms: u64,
    placed: &[Placement],
    waiting: impl Iterator<Item = &'a TaskKey>,
    reserved: &[NodeName],
) -> Vec<Placement> {
    let mut placements = Vec::new();
    let mut known: BTreeMap<(&ProjectName, &Parent), Ends> = BTreeMap::new();
    for key in waiting {
        let Some(task) = state.tasks.get(key).filter(|task| may_wait(state, task)) else { break };
        let stage = (&key.project, &key.parent);
        let ends =
            known.entry(stage).or_insert_with(|| ends(state, now_ms, placed, task, reserved));
        // Several at a time: each entry, and each set that is sent, has its price.
        let limit = if placements.is_empty() { DEPTH - REFILL + 1 } else { DEPTH };
        let Some((waits, node, before)) = ends.pop_first().filter(|(waits, ..)| *waits < limit)
        else {
            break;
        };
        ends.insert((waits + 1, node.clone(), next_attempt(task)));
        placements.push(Placement {
            task: key.clone(),
            workers: vec![WorkerPlacement { node, devices: Vec::new() }],
            after: Some(before),
        });
    }
    placements
}

/// What is given back, because the one that it waits for takes long.
pub(super) fn overdue(state: &State, now_ms: u64) -> Vec<Command> {
    let mut commands = Vec::new();
    for node in state.nodes.values() {
        for key in node.next.values() {
            let Some((_, attempt)) = state.attempt(key) else { continue };
            let Some((_, head, room)) = head(state, attempt) else { continue };
            let had_room = now_ms.saturating_sub(room.placed_at.0);
            if had_room >= PATIENCE.as_millis() as u64 && attempt.stop.is_none() {
                commands.push(Command::StopAttempt(StopAttempt {
                    attempt: key.clone(),
                    cause: Cause::Error,
                    reason: format!("{head} has its room for {} s already", had_room / 1_000),
                    give_back: true,
                }));
            }
        }
    }
    commands
}

/// Whether a task may wait behind another of its stage at all.
fn may_wait(state: &State, task: &Task) -> bool {
    let Parent::Stage { run, stage } = &task.key.parent else { return false };
    let short = state
        .run(&task.key.project, run)
        .and_then(|run| run.stages.get(stage))
        .is_some_and(|progress| progress.is_shorter_than(SHORT_MS));
    // Which nodes give a mount is decided by the scheduler.
    let mounts =
        task.inputs.iter().any(|input| matches!(input.source, ResolvedSource::Mount { .. }));
    short && task.nodes == 1 && task.resources.gpu.count == 0 && !mounts
}

/// The ends of the chains of the task's stage that are young enough, those of this very pass included.
fn ends(
    state: &State,
    now_ms: u64,
    placed: &[Placement],
    task: &Task,
    reserved: &[NodeName],
) -> Ends {
    let mut ends = Ends::new();
    let usable = |node: &Node| {
        node.chains
            && node.liveness == Liveness::Ready
            && node.eligibility == Eligibility::Open
            && !reserved.contains(&node.name)
    };
    let alike = |other: &TaskKey| {
        other.parent == task.key.parent
            && other.project == task.key.project
            && state.tasks.get(other).is_some_and(|other| other.resources == task.resources)
    };
    for node in state.nodes.values().filter(|node| usable(node)) {
        for worker in node.workers.iter().filter(|worker| alike(&worker.attempt.task)) {
            let key = &worker.attempt;
            let Some((_, attempt)) = state.attempt(key) else { continue };
            let open = !node.next.contains_key(key) && !is_ending(attempt);
            let Some((waits, _, room)) = head(state, attempt) else { continue };
            if open && now_ms.saturating_sub(room.placed_at.0) < SHORT_MS {
                ends.insert((waits, node.name.clone(), key.clone()));
            }
        }
    }
    for placement in placed.iter().filter(|placement| alike(&placement.task)) {
        let (Some(other), [worker]) =
            (state.tasks.get(&placement.task), placement.workers.as_slice())
        else {
            continue;
        };
        if state.nodes.get(&worker.node).is_some_and(|node| usable(node)) {
            ends.insert((0, worker.node.clone(), next_attempt(other)));
        }
    }
    ends
}

/// The one that has the room for which an attempt waits, and how many wait for it up to this one; `None` if one
/// of them is about to end.
fn head<'a>(state: &'a State, attempt: &'a Attempt) -> Option<(usize, String, &'a Attempt)> {
    let (mut waits, mut name, mut at) = (0, String::new(), attempt);
    while let Some(before) = &at.after {
        (waits, name) = (waits + 1, before.to_string());
        (_, at) = state.attempt(before)?;
        if waits > CHAIN_MAX {
            return None;
        }
    }
    Some((waits, name, at))
}

fn is_ending(attempt: &Attempt) -> bool {
    attempt.outcome.is_some()
        || attempt.stop.is_some()
        || attempt.workers.len() != 1
        || attempt.workers.iter().any(|worker| worker.wedged.is_some())
}

fn next_attempt(task: &Task) -> AttemptKey {
    AttemptKey { task: task.key.clone(), number: task.attempts.len() as u32 + 1 }
}
