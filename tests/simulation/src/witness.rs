//! What must hold in the simulated world, seen from outside: processes, devices, acknowledgements.

use std::collections::BTreeMap;

use runyard_state::entity::{Liveness, Task, TaskState, WorkerPhase};
use runyard_state::{Applied, EventKind, State, check_invariants};
use runyard_types::{AttemptKey, NodeName, Outcome, RunName, Uid, WorkerKey};

use crate::agent::Agent;
use crate::chain::before;
use crate::node::End;

type Hosts = BTreeMap<NodeName, Agent>;

/// A process was started just now on `node`.
pub(crate) fn check_started(
    state: &State,
    hosts: &Hosts,
    started: &BTreeMap<WorkerKey, u64>,
    node: &NodeName,
    key: &WorkerKey,
) -> Result<(), String> {
    let (attempt, worker) = state
        .worker(key)
        .ok_or_else(|| format!("worker {key} was started and nobody placed it"))?;
    let again = hosts[node].processes.get(key).is_some_and(|process| process.cut);
    // Where nobody heard that it ran, and the host has forgotten, nobody can know better.
    let forgotten = again && worker.phase < WorkerPhase::Running;
    if started.contains_key(key) && !forgotten {
        return Err(format!("worker {key} was started twice"));
    }
    if worker.node != *node {
        return Err(format!("worker {key} of node {} was started on {node}", worker.node));
    }
    if !attempt.go && attempt.after.is_none() {
        return Err(format!("worker {key} was started before its gang was prepared"));
    }
    check_room(state, hosts, node, key)?;
    let mut holders = BTreeMap::new();
    for (other, _) in hosts[node].processes.iter().filter(|(_, process)| process.alive) {
        let Some((_, held)) = state.worker(other) else { continue };
        for uuid in &held.devices {
            if let Some(first) = holders.insert(uuid, other) {
                return Err(format!("{first} and {other} run on device {uuid} at one time"));
            }
        }
    }
    Ok(())
}

/// All that runs on the host fits it, and nobody runs any more for whose room this one waited.
fn check_room(
    state: &State,
    hosts: &Hosts,
    node: &NodeName,
    key: &WorkerKey,
) -> Result<(), String> {
    let alive = hosts[node].processes.iter().filter(|(_, process)| process.alive);
    let alive: Vec<&WorkerKey> = alive.map(|(key, _)| key).collect();
    let ahead = state.worker(key).map(|(attempt, _)| before(state, attempt)).unwrap_or_default();
    if let Some(first) = alive.iter().find(|other| ahead.contains(&other.attempt)) {
        return Err(format!("worker {key} was started in the room of {first}, which runs"));
    }
    let needs = |key: &&WorkerKey| {
        let (task, _) = state.attempt(&key.attempt)?;
        Some((task.resources.cpu.0, task.resources.memory.0))
    };
    let (cpu, memory) = alive
        .iter()
        .filter_map(needs)
        .fold((0, 0), |sum, needs| (sum.0 + needs.0, sum.1 + needs.1));
    let known = &state.nodes[node];
    if cpu > known.cpu.0 || memory > known.memory.0 {
        return Err(format!("{cpu} milli-CPU and {memory} bytes are in use on {node}: {alive:?}"));
    }
    Ok(())
}

/// A process was asked to stop just now: only a tombstone may do that.
pub(crate) fn check_stopped(state: &State, key: &WorkerKey) -> Result<(), String> {
    match state.worker(key) {
        Some((attempt, _)) if attempt.stop.is_some() => Ok(()),
        _ => Err(format!("worker {key} was stopped, and no tombstone names it")),
    }
}

/// What the command has touched, as far as its events tell.
pub(crate) fn check_touched(state: &State, hosts: &Hosts, applied: &Applied) -> Result<(), String> {
    for event in &applied.events {
        let task = match &event.kind {
            EventKind::AttemptPlaced { task, .. }
            | EventKind::AttemptStarted { task, .. }
            | EventKind::AttemptFinished { task, .. }
            | EventKind::TaskQueued { task, .. }
            | EventKind::TaskFinished { task, .. } => task,
            _ => continue,
        };
        let known = state.tasks.get(task).ok_or_else(|| format!("{task} is gone"))?;
        let live = known.attempts.iter().filter(|attempt| attempt.outcome.is_none()).count();
        if live > 1
            || (live == 1) != (known.state == TaskState::Active && !known.attempts.is_empty())
        {
            return Err(format!("{task} is {:?} with {live} live attempts", known.state));
        }
        if matches!(event.kind, EventKind::AttemptPlaced { .. }) {
            check_let_go(state, known)?;
        }
        for attempt in &known.attempts {
            for (rank, worker) in attempt.workers.iter().enumerate() {
                let key = WorkerKey {
                    attempt: runyard_types::AttemptKey {
                        task: task.clone(),
                        number: attempt.number,
                    },
                    rank: rank as u32,
                };
                let held = worker.phase != WorkerPhase::Released;
                let node = &state.nodes[&worker.node];
                for uuid in &worker.devices {
                    if held != (node.used.devices.get(uuid) == Some(&key)) {
                        return Err(format!(
                            "{key} is {:?}, device {uuid} disagrees",
                            worker.phase
                        ));
                    }
                }
                check_worker(hosts, &key, worker, attempt.outcome.as_ref())?;
            }
        }
    }
    Ok(())
}

/// Before an attempt is placed, each earlier one is released, or fenced on a lost node.
fn check_let_go(state: &State, task: &Task) -> Result<(), String> {
    let Some((_, earlier)) = task.attempts.split_last() else { return Ok(()) };
    for worker in earlier.iter().flat_map(|attempt| &attempt.workers) {
        let lost = state.nodes[&worker.node].liveness == Liveness::Lost;
        if worker.phase != WorkerPhase::Released && !lost && worker.wedged.is_none() {
            return Err(format!(
                "{} is placed anew, and still {:?} on {}",
                task.key, worker.phase, worker.node
            ));
        }
    }
    Ok(())
}

fn check_worker(
    hosts: &Hosts,
    key: &WorkerKey,
    worker: &runyard_state::entity::Worker,
    outcome: Option<&Outcome>,
) -> Result<(), String> {
    let process = hosts[&worker.node].processes.get(key);
    if worker.phase == WorkerPhase::Released && process.is_some_and(|process| process.alive) {
        return Err(format!("{key} is released, and its process lives"));
    }
    if outcome == Some(&Outcome::Succeeded)
        && process.is_none_or(|process| process.alive || process.end != End::Success)
    {
        return Err(format!("{key} succeeded, and its process did not: {process:?}"));
    }
    let bytes = process.map_or(0, |process| process.bytes);
    let cut = process.is_some_and(|process| process.wiped || process.cut);
    // While it lives, a log that was closed unstarted may yet be opened by another life of its agent.
    let whole = worker.log.to == bytes || !worker.log.complete || outcome.is_none();
    if !cut && (worker.log.to > bytes || !whole) {
        return Err(format!("{key} wrote {bytes} bytes, its log is sealed as {:?}", worker.log));
    }
    Ok(())
}

/// Everything.
pub(crate) fn check_all(
    state: &State,
    hosts: &Hosts,
    acknowledged: &BTreeMap<Uid, RunName>,
) -> Result<(), String> {
    if let Some(violation) = check_invariants(state).into_iter().next() {
        return Err(violation.0);
    }
    let uids: BTreeMap<Uid, &RunName> =
        state.runs.values().map(|run| (run.uid, &run.name)).collect();
    if uids.len() != state.runs.size() {
        return Err("one key made two runs".into());
    }
    for (uid, name) in acknowledged {
        if uids.get(uid) != Some(&name) {
            return Err(format!("run {name} was acknowledged, and it is not there"));
        }
    }
    for (key, task) in state.tasks.iter() {
        for attempt in &task.attempts {
            for (rank, worker) in attempt.workers.iter().enumerate() {
                let attempt_key =
                    runyard_types::AttemptKey { task: key.clone(), number: attempt.number };
                let key = WorkerKey { attempt: attempt_key, rank: rank as u32 };
                check_worker(hosts, &key, worker, attempt.outcome.as_ref())?;
            }
        }
    }
    Ok(())
}

/// Whether all that is left open of the attempt are logs that were lost with their host's folders after the
/// workers' release. No set names such a worker any more, so nobody ends its log.
fn is_log_lost(state: &State, hosts: &Hosts, key: &AttemptKey) -> bool {
    let Some((_, attempt)) = state.attempt(key) else { return false };
    attempt.outcome.is_some()
        && attempt.is_released()
        && attempt.workers.iter().enumerate().all(|(rank, worker)| {
            let own = WorkerKey { attempt: key.clone(), rank: rank as u32 };
            let process = hosts[&worker.node].processes.get(&own);
            worker.log.complete || process.is_some_and(|process| process.wiped)
        })
}

/// What still keeps the cluster from being at rest; `None` if it is.
pub(crate) fn unrest(state: &State, hosts: &Hosts) -> Option<String> {
    if let Some(run) = state.runs.values().find(|run| !run.state.is_final()) {
        return Some(format!("run {} is {}: {:?}", run.name, run.state.as_str(), run.stages));
    }
    if let Some(key) = state.unsettled.iter().find(|key| !is_log_lost(state, hosts, key)) {
        return Some(format!("attempt {key} is not settled: {:?}", state.attempt(key)));
    }
    if let Some(node) = state.nodes.values().find(|node| !node.workers.is_empty()) {
        return Some(format!("node {} holds {:?}", node.name, node.workers));
    }
    for host in hosts.values() {
        if let Some(key) = host.disk.folders.keys().next() {
            return Some(format!("the folder of {key} is still on {}", host.name));
        }
        if let Some((key, _)) = host.processes.iter().find(|(_, process)| process.alive) {
            return Some(format!("{key} still runs on {}", host.name));
        }
    }
    None
}
