//! The queue as the scheduler sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use runyard_scheduler::Demand;
use runyard_state::State;
use runyard_state::entity::{Node as Host, ResolvedSource, Task};
use runyard_types::{Cause, DurationMs, Outcome, Parent, TaskKey};

/// Tasks considered in one pass. More would only wait longer for the answer.
const DEMANDS_MAX: usize = 4_096;

/// The tasks that may be placed now.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    /// The most urgent first.
    pub(crate) list: Vec<Demand>,
    /// How long until the next one may be.
    pub(crate) next: Option<Duration>,
    /// Some of a stage's tasks were left out.
    pub(crate) cut: bool,
}

/// The tasks that may be placed at `now`; of each stage, no more than `of_stage_max`: the tasks of one are alike
/// as a rule, and what holds for the first of them holds for the rest.
pub(crate) fn demands(state: &State, now: DurationMs, of_stage_max: usize) -> Demands {
    let mut found = Demands::default();
    let mut next: Option<u64> = None;
    let mut ready: Vec<&Arc<Task>> = Vec::new();
    let mut first = state.queued.first().cloned();
    while let Some(key) = first {
        let (mut taken, mut left) = (0, room_of(state, &key));
        let last = TaskKey { index: Some(u32::MAX), ..key.clone() };
        for key in state.queued.range(key..=last.clone()) {
            if taken >= of_stage_max {
                found.cut = true;
                break;
            }
            let Some(task) = state.tasks.get(key) else { continue };
            if task.not_before > now {
                let wait = task.not_before.0 - now.0;
                next = Some(next.map_or(wait, |other| other.min(wait)));
                continue;
            }
            if !task.attempts.is_empty() && !state.is_let_go(task) {
                continue;
            }
            match &mut left {
                Some(0) => break,
                Some(left) => *left -= 1,
                None => {}
            }
            taken += 1;
            ready.push(task);
        }
        first = state.queued.range((Bound::Excluded(last), Bound::Unbounded)).next().cloned();
    }
    ready.sort_by_key(|task| (std::cmp::Reverse(task.priority), task.queued_at));
    found.cut |= ready.len() > DEMANDS_MAX;
    found.list = ready.into_iter().take(DEMANDS_MAX).map(|task| demand(state, task)).collect();
    found.next = next.map(Duration::from_millis);
    found
}

/// How many more of the stage's tasks its file lets run at one time; `None`: any number.
fn room_of(state: &State, key: &TaskKey) -> Option<u32> {
    let Parent::Stage { run, .. } = &key.parent else { return None };
    let task = state.tasks.get(key)?;
    let run = state.run(&key.project, run)?;
    let max = run.pipeline.stage(task.stage.as_ref()?.as_str())?.matrix.as_ref()?.max_parallel?;
    Some(max.saturating_sub(active_of(state, key)))
}

fn active_of(state: &State, key: &TaskKey) -> u32 {
    let Parent::Stage { run, stage } = &key.parent else { return 0 };
    let progress = state.run(&key.project, run).and_then(|run| run.stages.get(stage));
    progress.map_or(0, |progress| progress.active)
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
