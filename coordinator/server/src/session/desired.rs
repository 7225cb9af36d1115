//! The full desired set of a node, derived from the state.

use std::collections::BTreeSet;

use runyard_pipeline::StageKind;
use runyard_proto::agent as wire;
use runyard_state::State;
use runyard_state::entity::{
    Attempt, PythonEnvironment, ResolvedSource, RevisionSpec, RevisionState, Run, Task, WorkerPhase,
};
use runyard_types::{Launch, NodeName, Parent, WorkerKey};

use super::convert;
use crate::shorten::shortened;
use crate::stagespec;

/// How long a stage has to end after it was asked to, unless its file says otherwise.
const GRACE_MS: u64 = 10_000;
/// What of a stop's reason an agent is told.
const REASON_BYTES_MAX: usize = 512;
/// What a worker's log may hold before its middle is cut.
const LOG_QUOTA_BYTES: u64 = 1 << 30;

/// All that a node should be doing at `index`.
pub(crate) fn desired_set(
    state: &State,
    index: u64,
    generation: u64,
    name: &NodeName,
) -> wire::DesiredSet {
    let mut set = wire::DesiredSet { generation, index, ..Default::default() };
    let Some(node) = state.nodes.get(name) else { return set };
    for key in &node.workers {
        let Some((task, attempt)) = state.attempt(&key.attempt) else { continue };
        if let Some(stop) = &attempt.stop {
            set.tombstones.push(wire::Tombstone {
                project: key.attempt.task.project.to_string(),
                key: key.to_string(),
                reason: shortened(&stop.reason, REASON_BYTES_MAX),
                index: stop.index,
                grace_ms: GRACE_MS,
            });
        }
        set.workers.extend(desired_worker(state, task, attempt, key));
    }
    for (key, stop) in &node.orphans {
        let Some(stop) = stop else { continue };
        set.tombstones.push(wire::Tombstone {
            project: key.attempt.task.project.to_string(),
            key: key.to_string(),
            reason: shortened(&stop.reason, REASON_BYTES_MAX),
            index: stop.index,
            grace_ms: GRACE_MS,
        });
    }
    if !node.gateway.is_empty() {
        set.routes =
            state.deployments.values().map(|deployment| route(state, deployment)).collect();
    }
    set
}

/// Keeps a set within what a message may have, `bytes_max`, by leaving out workers that the node was never told
/// of: they come when others are gone. Those that it was told of, or that began, are always named. Answers with
/// how many were left out; `told` is what the set names.
pub(super) fn bound(
    set: &mut wire::DesiredSet,
    told: &mut BTreeSet<(String, String)>,
    bytes_max: usize,
) -> usize {
    use prost::Message as _;
    let key = |worker: &wire::DesiredWorker| (worker.project.clone(), worker.key.clone());
    let all = set.workers.len();
    let mut bytes = set.encoded_len();
    if bytes > bytes_max {
        // The newest first; a worker's own bytes, its tag and length.
        let mut kept = Vec::with_capacity(all);
        for worker in std::mem::take(&mut set.workers).into_iter().rev() {
            let new = !worker.started && !told.contains(&key(&worker));
            if bytes > bytes_max && new {
                bytes -= worker.encoded_len();
            } else {
                kept.push(worker);
            }
        }
        kept.reverse();
        set.workers = kept;
    }
    *told = set.workers.iter().map(key).collect();
    all - set.workers.len()
}

/// A short form of the set: two sets with equal forms need not both be sent.
pub(crate) fn fingerprint(set: &wire::DesiredSet) -> Vec<u8> {
    use prost::Message as _;
    let mut set = set.clone();
    set.index = 0;
    set.encode_to_vec()
}

fn desired_worker(
    state: &State,
    task: &Task,
    attempt: &Attempt,
    key: &WorkerKey,
) -> Option<wire::DesiredWorker> {
    let worker = attempt.workers.get(key.rank as usize)?;
    let first = attempt.workers.first()?;
    let master_addr = match state.nodes.get(&first.node) {
        Some(node) if first.node != worker.node => node.address.clone(),
        _ => "127.0.0.1".to_owned(),
    };
    let master_addr = if attempt.workers.len() > 1 {
        // Every worker of a gang gets the same address, rank 0's own node included.
        state.nodes.get(&first.node).map_or(master_addr, |node| node.address.clone())
    } else {
        master_addr
    };
    let spec = match &key.attempt.task.parent {
        Parent::Stage { run, .. } => {
            let run = state.run(&key.attempt.task.project, run)?;
            stage_spec(run, task, attempt, key)?
        }
        Parent::Revision { deployment, revision } => {
            let deployment = state.deployment(&key.attempt.task.project, deployment)?;
            replica_spec(deployment, deployment.revision(*revision)?, task, attempt, key)
        }
    };
    Some(wire::DesiredWorker {
        project: key.attempt.task.project.to_string(),
        key: key.to_string(),
        spec: Some(spec),
        go: attempt.go,
        master_addr,
        master_port: u32::from(first.port),
        started: worker.phase >= WorkerPhase::Running,
        after: attempt
            .after
            .as_ref()
            .map(|before| WorkerKey { attempt: before.clone(), rank: 0 }.to_string())
            .unwrap_or_default(),
    })
}

fn common(task: &Task, attempt: &Attempt, key: &WorkerKey) -> wire::WorkerSpec {
    let devices = attempt
        .workers
        .get(key.rank as usize)
        .map(|worker| worker.devices.clone())
        .unwrap_or_default();
    wire::WorkerSpec {
        task: key.attempt.task.to_string(),
        attempt: key.attempt.to_string(),
        rank: key.rank,
        nnodes: attempt.workers.len() as u32,
        env: task.env.clone(),
        resources: Some(convert::resources(&task.resources)),
        devices,
        grace_ms: GRACE_MS,
        log_quota_bytes: LOG_QUOTA_BYTES,
        fencing_token: attempt.fencing_token,
        ..Default::default()
    }
}

fn stage_spec(
    run: &Run,
    task: &Task,
    attempt: &Attempt,
    key: &WorkerKey,
) -> Option<wire::WorkerSpec> {
    let stage = run.pipeline.stage(task.stage.as_ref()?.as_str())?;
    if matches!(stage.kind, StageKind::Gate(_) | StageKind::Deploy(_)) {
        return None;
    }
    let mut spec = common(task, attempt, key);
    for (name, value) in stagespec::visible_params(run, stage) {
        spec.env.insert(runyard_pipeline::param_variable(&name), value);
    }
    for (axis, value) in &task.values_in {
        spec.env.insert(
            format!("RUNYARD_MATRIX_{}", runyard_pipeline::variable_suffix(axis)),
            value.clone(),
        );
    }
    spec.run = run.name.to_string();
    spec.stage = stage.name.to_string();
    spec.per_gpu = stage.launch == Launch::PerGpu;
    spec.command = stagespec::command(run, stage);
    spec.code_root = run.code_root.map(|root| root.to_string()).unwrap_or_default();
    spec.python = stagespec::python(stage);
    spec.inputs = task
        .inputs
        .iter()
        .map(|input| {
            let mut wired = wire::Input {
                name: input.name.clone(),
                at: input.at.clone().unwrap_or_default(),
                folder: input.folder.clone().unwrap_or_default(),
                ..Default::default()
            };
            match &input.source {
                ResolvedSource::Tree(root) => wired.root = root.to_string(),
                ResolvedSource::Mount { path, .. } => wired.mount.clone_from(path),
            }
            wired
        })
        .collect();
    spec.outputs = stage
        .outputs
        .iter()
        .map(|(name, output)| wire::OutputSpec {
            name: name.to_string(),
            path: output.path.clone(),
            kind: output.kind.clone(),
        })
        .collect();
    if let Some(results) = &stage.results {
        spec.results.clone_from(&results.files);
    }
    spec.collect_results = stage.results.is_some() || stage.kind == StageKind::Evaluation;
    spec.timeout_ms = stage.timeout.map_or(0, |timeout| timeout.0);
    spec.collect_outputs = key.rank == 0
        || stage.outputs.values().any(|output| output.from == runyard_pipeline::Collect::All);
    Some(spec)
}

fn replica_spec(
    deployment: &runyard_state::entity::Deployment,
    revision: &runyard_state::entity::Revision,
    task: &Task,
    attempt: &Attempt,
    key: &WorkerKey,
) -> wire::WorkerSpec {
    let RevisionSpec {
        model, model_version, model_root, code_root, python, command, drain, ..
    } = &revision.spec;
    let mut spec = common(task, attempt, key);
    spec.stage = deployment.name.to_string();
    spec.command.clone_from(command);
    spec.code_root = code_root.map(|root| root.to_string()).unwrap_or_default();
    spec.python = python.as_ref().map(wire_python);
    spec.grace_ms = drain.0.max(1_000);
    spec.serve = Some(wire::Serve {
        deployment: deployment.name.to_string(),
        revision: revision.number,
        replica: key.attempt.task.index.unwrap_or(0),
        model: model.to_string(),
        model_version: *model_version,
        model_root: model_root.to_string(),
    });
    spec
}

pub(crate) fn wire_python(python: &PythonEnvironment) -> wire::Python {
    wire::Python {
        requirements: python.requirements.clone(),
        version: python.version.clone(),
        index: python.index.clone(),
        requirements_path: python.requirements_path.clone(),
        venv: python.venv.clone(),
    }
}

/// What a gateway does for a deployment.
fn route(state: &State, deployment: &runyard_state::entity::Deployment) -> wire::Route {
    let serving = deployment.serving;
    let revisions = deployment
        .revisions
        .iter()
        .filter(|revision| revision.state.wants_replicas())
        .map(|revision| {
            let canary =
                deployment.rolling().filter(|rolling| rolling.state == RevisionState::Canary);
            let canary_share = canary.map_or(0, |canary| canary.spec.canary_permille);
            let weight_permille = match revision.state {
                RevisionState::Canary => revision.spec.canary_permille,
                RevisionState::Serving => 1000 - canary_share.min(1000),
                _ => 0,
            };
            // The watch of a revision that serves alone holds it against the one that served before: not
            // against one that was rolled back for its errors.
            let before = deployment.revisions.iter().rev().find(|other| {
                other.number < revision.number && other.requests > 0 && other.state.has_served()
            });
            wire::RouteRevision {
                number: revision.number,
                weight_permille,
                replicas: replicas(state, deployment, revision.number),
                ready_path: revision.spec.ready_path.clone(),
                ready_within_ms: revision.spec.ready_within.0,
                warm_up: revision.spec.warm_up.clone().into_bytes().into(),
                baseline_requests: before.map_or(0, |before| before.requests),
                baseline_errors: before.map_or(0, |before| before.errors),
            }
        })
        .collect();
    wire::Route {
        project: deployment.project.to_string(),
        deployment: deployment.name.to_string(),
        revisions,
        latch: deployment.latch,
        serving: deployment.fallback().unwrap_or(0),
        drain_ms: serving
            .and_then(|n| deployment.revision(n))
            .map_or(0, |revision| revision.spec.drain.0),
    }
}

fn replicas(
    state: &State,
    deployment: &runyard_state::entity::Deployment,
    revision: u32,
) -> Vec<wire::RouteReplica> {
    state
        .replicas(&deployment.project, &deployment.name, revision)
        .filter_map(|task| {
            let attempt = task
                .attempts
                .last()
                .filter(|attempt| attempt.outcome.is_none() && attempt.stop.is_none())?;
            let worker =
                attempt.workers.first().filter(|worker| worker.phase == WorkerPhase::Running)?;
            let node = state.nodes.get(&worker.node)?;
            (worker.port != 0).then(|| wire::RouteReplica {
                task: task.key.to_string(),
                address: format!("{}:{}", node.address, worker.port),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn worker(number: usize, started: bool) -> wire::DesiredWorker {
        let spec = wire::WorkerSpec { command: "x".repeat(1_000), ..Default::default() };
        wire::DesiredWorker {
            project: "default".into(),
            key: format!("many-1/a[{number:04}].1:0"),
            spec: Some(spec),
            started,
            ..Default::default()
        }
    }

    #[test]
    fn a_set_of_thousands_of_workers_stays_within_a_message_and_leaves_out_only_what_is_new() {
        const MAX: usize = 100_000;
        let set = |numbers: std::ops::Range<usize>, started: usize| wire::DesiredSet {
            workers: numbers.map(|number| worker(number, number < started)).collect(),
            ..Default::default()
        };
        let mut told = BTreeSet::new();
        let mut first = set(0..50, 0);
        assert_eq!(bound(&mut first, &mut told, MAX), 0);
        assert_eq!((first.workers.len(), told.len()), (50, 50));

        let mut full = set(0..3_000, 0);
        let out = bound(&mut full, &mut told, MAX);
        assert!(out > 2_800 && full.workers.len() + out == 3_000, "{out}");
        assert!(full.encoded_len() <= MAX, "{}", full.encoded_len());
        let named = told.clone();
        assert!((0..50).all(|n| named.contains(&("default".into(), worker(n, false).key))));

        // Whatever came before in the order, those that were told of stay; what runs is always named.
        let mut next = set(0..3_000, 0);
        next.workers.rotate_left(1_000);
        next.workers[2_500].started = true;
        let running = next.workers[2_500].key.clone();
        bound(&mut next, &mut told, MAX);
        let keys: BTreeSet<_> = next.workers.iter().map(|w| w.key.clone()).collect();
        assert!(named.iter().all(|(_, key)| keys.contains(key)), "one was left out");
        assert!(keys.contains(&running));
        // When they are gone, others come.
        let mut later = set(2_000..2_050, 0);
        assert_eq!(bound(&mut later, &mut told, MAX), 0);
        assert_eq!(later.workers.len(), 50);
    }
}
