//! What must hold in every state that the log can produce, recomputed from scratch.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::{AttemptKey, NodeName, Parent, TaskKey, WorkerKey};

use crate::entity::{RevisionState, StageProgress, TaskState, Used, WorkerPhase};
use crate::state::State;

/// An invariant that does not hold, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

/// Walks the whole state and its indexes; empty when all is well.
pub fn check_invariants(state: &State) -> Vec<Violation> {
    let mut found = Vec::new();
    check_allocations(state, &mut found);
    check_chains(state, &mut found);
    check_tasks(state, &mut found);
    check_runs(state, &mut found);
    check_deployments(state, &mut found);
    found
}

/// Devices, CPU and memory: what nodes say is held is what unreleased workers hold, and within capacity.
fn check_allocations(state: &State, found: &mut Vec<Violation>) {
    let mut used: BTreeMap<NodeName, Used> = BTreeMap::new();
    let mut workers: BTreeMap<NodeName, BTreeSet<WorkerKey>> = BTreeMap::new();
    for task in state.tasks.values() {
        for attempt in &task.attempts {
            for (rank, worker) in attempt.workers.iter().enumerate() {
                if worker.phase == WorkerPhase::Released {
                    continue;
                }
                let key = WorkerKey {
                    attempt: AttemptKey { task: task.key.clone(), number: attempt.number },
                    rank: rank as u32,
                };
                let held = used.entry(worker.node.clone()).or_default();
                if attempt.after.is_none() {
                    held.cpu.0 += task.resources.cpu.0;
                    held.memory.0 += task.resources.memory.0;
                }
                for uuid in &worker.devices {
                    if let Some(other) = held.devices.insert(uuid.clone(), key.clone()) {
                        found.push(Violation(format!(
                            "device {uuid} is held by both {other} and {key}"
                        )));
                    }
                }
                workers.entry(worker.node.clone()).or_default().insert(key);
            }
        }
    }
    for node in state.nodes.values() {
        let held = used.remove(&node.name).unwrap_or_default();
        if held != node.used {
            found.push(Violation(format!(
                "node {} says {:?} is held, workers hold {held:?}",
                node.name, node.used
            )));
        }
        if workers.remove(&node.name).unwrap_or_default() != node.workers {
            found.push(Violation(format!(
                "node {} lists other workers than hold something of it",
                node.name
            )));
        }
    }
    found.extend(
        used.into_keys().map(|node| Violation(format!("a worker is on the unknown node {node}"))),
    );
}

/// Who waits for another's room waits for a worker that is still there, alone, with the same needs and on the
/// same node; the node's list says the same.
fn check_chains(state: &State, found: &mut Vec<Violation>) {
    let mut next: BTreeMap<&NodeName, BTreeMap<AttemptKey, AttemptKey>> = BTreeMap::new();
    for task in state.tasks.values() {
        for attempt in task.attempts.iter().filter(|attempt| !attempt.is_released()) {
            let (Some(before), Some(worker)) = (&attempt.after, attempt.workers.first()) else {
                continue;
            };
            let key = AttemptKey { task: task.key.clone(), number: attempt.number };
            let alike = state.attempt(before).is_some_and(|(other, ahead)| {
                ahead.workers.len() == 1
                    && !ahead.is_released()
                    && ahead.workers[0].node == worker.node
                    && other.resources == task.resources
                    && other.key.parent == task.key.parent
            });
            if !alike || attempt.workers.len() != 1 || !worker.devices.is_empty() {
                found
                    .push(Violation(format!("{key} waits for {before}, which has no room for it")));
            }
            if attempt.go || worker.phase == WorkerPhase::Running {
                found.push(Violation(format!("{key} runs before {before} is released")));
            }
            next.entry(&worker.node).or_default().insert(before.clone(), key);
        }
    }
    for node in state.nodes.values() {
        if next.remove(&node.name).unwrap_or_default() != node.next {
            found.push(Violation(format!(
                "node {} lists other attempts behind others: {:?}",
                node.name, node.next
            )));
        }
    }
}

fn check_tasks(state: &State, found: &mut Vec<Violation>) {
    let (mut queued, mut active, mut unsettled) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut open = 0u32;
    for (key, task) in state.tasks.iter() {
        if *key != task.key {
            found.push(Violation(format!("task {} is filed under {key}", task.key)));
        }
        open += u32::from(!task.state.is_final());
        match task.state {
            TaskState::Queued => drop(queued.insert(key)),
            TaskState::Active => drop(active.insert(key)),
            _ => {}
        }
        let live = task.attempts.iter().filter(|attempt| attempt.outcome.is_none()).count();
        if live > 1 {
            found.push(Violation(format!("task {key} has {live} live attempts")));
        }
        if live == 1 && task.state != TaskState::Active {
            found.push(Violation(format!(
                "task {key} is {} with a live attempt",
                task.state.as_str()
            )));
        }
        for (at, attempt) in task.attempts.iter().enumerate() {
            let name = AttemptKey { task: key.clone(), number: attempt.number };
            if attempt.number as usize != at + 1 {
                found.push(Violation(format!("attempt {name} stands at {at}")));
            }
            if attempt.outcome.is_none() && at + 1 != task.attempts.len() {
                found.push(Violation(format!("attempt {name} lives beside its successor")));
            }
            let running = attempt.workers.iter().any(|worker| worker.phase == WorkerPhase::Running);
            if running && !attempt.go {
                found.push(Violation(format!("attempt {name} runs before its gang is prepared")));
            }
            let settled = attempt.outcome.is_some()
                && attempt.is_released()
                && attempt.workers.iter().all(|worker| worker.log.complete);
            if !settled {
                unsettled.insert(name);
            }
        }
        check_success(task, found);
    }
    if !queued.iter().copied().eq(state.queued.iter()) {
        found.push(Violation("the index of queued tasks is wrong".into()));
    }
    if !active.iter().copied().eq(state.active.iter()) {
        found.push(Violation("the index of active tasks is wrong".into()));
    }
    if !unsettled.iter().eq(state.unsettled.iter()) {
        found.push(Violation("the index of unsettled attempts is wrong".into()));
    }
    if open != state.open_tasks {
        found.push(Violation(format!("{open} tasks are open, {} are counted", state.open_tasks)));
    }
}

/// A task that ran is succeeded only by an attempt that succeeded.
fn check_success(task: &crate::entity::Task, found: &mut Vec<Violation>) {
    let Some(last) = task.attempts.last() else { return };
    let by_attempt = last.outcome.as_ref() == Some(&runyard_types::Outcome::Succeeded);
    if task.state == TaskState::Succeeded && !by_attempt && !task.cached {
        found.push(Violation(format!("task {} succeeded without an attempt that did", task.key)));
    }
}

fn check_runs(state: &State, found: &mut Vec<Violation>) {
    let mut counted: BTreeSet<&TaskKey> = BTreeSet::new();
    for ((project, name), run) in state.runs.iter() {
        for (stage, progress) in &run.stages {
            let mut actual = StageProgress {
                auxiliary: progress.auxiliary,
                took_ms: progress.took_ms.clone(),
                ..StageProgress::default()
            };
            for task in state.stage_tasks(project, name, stage) {
                *actual.slot(task.state) += 1;
                counted.insert(&task.key);
            }
            if actual != *progress {
                found.push(Violation(format!(
                    "{name}/{stage} counts {progress:?}, its tasks are {actual:?}"
                )));
            }
            let needs = run
                .pipeline
                .stage(stage.as_str())
                .map(|stage| stage.needs.as_slice())
                .unwrap_or_default();
            let ready =
                needs.iter().all(|need| run.stages.get(need).is_none_or(StageProgress::is_final));
            let expected = ready && actual.waiting > 0;
            let key = (project.clone(), name.clone(), stage.clone());
            if expected != state.resolvable.contains(&key) {
                found.push(Violation(format!(
                    "{name}/{stage}: resolvable is {}, must be {expected}",
                    !expected
                )));
            }
        }
        let done = run.stages.values().all(StageProgress::is_final);
        if done != run.state.is_final() && !run.stages.is_empty() {
            found.push(Violation(format!(
                "run {name} is {} though its stages say otherwise",
                run.state.as_str()
            )));
        }
    }
    let mut live = BTreeMap::new();
    for ((project, _), _) in state.runs.iter().filter(|(_, run)| !run.state.is_final()) {
        *live.entry(project).or_insert(0) += 1;
    }
    if !live.iter().map(|(project, live)| (*project, live)).eq(state.live_runs.iter()) {
        found.push(Violation("the count of live runs is wrong".into()));
    }
    let kept: BTreeSet<_> =
        state.remembered.iter().map(|((who, uid), r)| (r.until, who.clone(), *uid)).collect();
    if !kept.iter().eq(state.forgotten_at.iter()) {
        found.push(Violation("the index of idempotency keys is wrong".into()));
    }
    for key in state.tasks.keys() {
        if matches!(key.parent, Parent::Stage { .. }) && !counted.contains(key) {
            found.push(Violation(format!("task {key} belongs to no stage of a run")));
        }
    }
}

fn check_deployments(state: &State, found: &mut Vec<Violation>) {
    for ((_, name), deployment) in state.deployments.iter() {
        let serving: Vec<u32> = deployment
            .revisions
            .iter()
            .filter(|revision| revision.state == RevisionState::Serving)
            .map(|revision| revision.number)
            .collect();
        if serving != deployment.serving.into_iter().collect::<Vec<_>>() {
            found.push(Violation(format!(
                "{name} says {:?} serves, its revisions say {serving:?}",
                deployment.serving
            )));
        }
        let rolling =
            deployment.revisions.iter().filter(|revision| revision.state.is_rolling()).count();
        if rolling > 1 {
            found.push(Violation(format!("{name} rolls out {rolling} revisions at once")));
        }
        if deployment.serving.is_some_and(|serving| {
            serving <= deployment.latch
                && deployment
                    .revisions
                    .iter()
                    .any(|r| r.number == serving && r.state == RevisionState::RolledBack)
        }) {
            found.push(Violation(format!("{name} serves a revision that was rolled back")));
        }
    }
}
