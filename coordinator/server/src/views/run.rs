//! Runs, stages, tasks, attempts.

use runyard_proto::agent::{Phase, WorkerReport};
use runyard_proto::v1;
use runyard_state::State;
use runyard_state::entity::{Attempt, Liveness, Run, Task, TaskState, Worker, WorkerPhase};
use runyard_types::{AttemptKey, Cause, Outcome, StageName, WorkerKey};

use crate::live::Live;

/// A run without its tasks, for lists.
pub(crate) fn run_summary(state: &State, run: &Run) -> v1::Run {
    let mut view = base(run);
    for stage in &run.pipeline.stages {
        view.stages.extend(stage_base(run, &stage.name, stage.kind.noun(), &stage.needs));
    }
    (view.device_ms, view.cpu_ms) = cost(state, run);
    view
}

/// A run with all that is known of it.
pub(crate) fn run(state: &State, live: &Live, run: &Run) -> v1::Run {
    let mut view = base(run);
    let defined = run
        .pipeline
        .stages
        .iter()
        .map(|stage| (stage.name.clone(), stage.kind.noun(), stage.needs.clone()));
    let added = run
        .stages
        .keys()
        .filter(|name| run.pipeline.stage(name.as_str()).is_none())
        .map(|name| (name.clone(), "evaluation", Vec::new()));
    for (name, kind, needs) in defined.chain(added) {
        let Some(mut stage) = stage_base(run, &name, kind, &needs) else { continue };
        stage.tasks = state
            .stage_tasks(&run.project, &run.name, &name)
            .map(|t| task(state, live, t))
            .collect();
        if let [only] = stage.tasks.as_slice() {
            stage.reason.clone_from(&only.reason);
            if stage.state == "running" {
                stage.state.clone_from(&only.state);
            }
        }
        view.stages.push(stage);
    }
    (view.device_ms, view.cpu_ms) = cost(state, run);
    view
}

fn base(run: &Run) -> v1::Run {
    let git = &run.git;
    v1::Run {
        project: run.project.to_string(),
        name: run.name.to_string(),
        uid: run.uid.to_string(),
        pipeline: run.name.pipeline.to_string(),
        state: run.state.as_str().to_owned(),
        created_ms: run.created_at.0,
        started_ms: run.started_at.map_or(0, |at| at.0),
        ended_ms: run.ended_at.map_or(0, |at| at.0),
        git: Some(v1::Git {
            commit: git.commit.clone(),
            branch: git.branch.clone(),
            author: git.author.clone(),
            subject: git.subject.clone(),
            dirty: git.dirty,
            remote: git.remote.clone(),
            tag: git.tag.clone(),
        }),
        params: run.params.clone(),
        principal: run.principal.clone(),
        stages: Vec::new(),
        device_ms: 0,
        cpu_ms: 0,
        code_root: run.code_root.map(|root| root.to_string()).unwrap_or_default(),
        reason: run.cancelled.clone().unwrap_or_default(),
    }
}

fn stage_base(run: &Run, name: &StageName, kind: &str, needs: &[StageName]) -> Option<v1::Stage> {
    let progress = run.stages.get(name)?;
    Some(v1::Stage {
        name: name.to_string(),
        kind: kind.to_owned(),
        state: progress.state().as_str().to_owned(),
        needs: needs.iter().map(ToString::to_string).collect(),
        tasks: Vec::new(),
        reason: String::new(),
    })
}

/// Device and CPU time of all attempts, those that did not succeed included.
fn cost(state: &State, run: &Run) -> (u64, u64) {
    let mut sum = (0, 0);
    for stage in run.stages.keys() {
        for task in state.stage_tasks(&run.project, &run.name, stage) {
            for attempt in &task.attempts {
                let end = attempt.ended_at.unwrap_or(state.clock.wall);
                let devices: u64 =
                    attempt.workers.iter().map(|worker| worker.devices.len() as u64).sum();
                sum.0 += end.since(attempt.started_at.unwrap_or(end)).0 * devices;
                sum.1 += attempt.exit.as_ref().map_or(0, |exit| exit.cpu.0);
            }
        }
    }
    sum
}

fn task(state: &State, live: &Live, task: &Task) -> v1::Task {
    let attempts: Vec<v1::Attempt> =
        task.attempts.iter().map(|a| attempt(state, live, task, a)).collect();
    let last = task.attempts.last();
    v1::Task {
        key: task.key.to_string(),
        label: task.label.clone(),
        state: word(state, task, last),
        cached: task.cached,
        cache_reason: task.cache_reason.clone(),
        outputs: task
            .result
            .outputs
            .iter()
            .map(|(name, output)| v1::Output {
                name: name.clone(),
                kind: output.kind.clone(),
                root: output.root.to_string(),
                bytes: output.bytes,
                files: output.files,
            })
            .collect(),
        metrics: task.result.metrics.clone(),
        values: task.result.values.clone(),
        content_key: task.content_key.map(|key| key.to_string()).unwrap_or_default(),
        reason: last
            .filter(|attempt| attempt.is_behind())
            .map_or_else(|| task.reason.clone(), behind),
        started_ms: last.and_then(|attempt| attempt.started_at).map_or(0, |at| at.0),
        ended_ms: task.ended_at.map_or(0, |at| at.0),
        summary: task.result.summary.clone(),
        logs: match last {
            None => "none",
            Some(last) if last.workers.iter().all(|worker| worker.log.complete) => "sealed",
            Some(last) if last.outcome.is_some() => "sealing",
            Some(_) => "live",
        }
        .to_owned(),
        attempts,
    }
}

/// The state of a task in one word, with what its attempt is doing.
fn word(state: &State, task: &Task, last: Option<&Attempt>) -> String {
    let Some(attempt) = last.filter(|_| task.state == TaskState::Active) else {
        return task.state.as_str().to_owned();
    };
    let unheard = attempt.workers.iter().any(|worker| {
        state.nodes.get(&worker.node).is_none_or(|node| node.liveness != Liveness::Ready)
    });
    if unheard {
        "unknown".to_owned()
    } else if attempt.is_behind() {
        TaskState::Queued.as_str().to_owned()
    } else if attempt.started_at.is_none() {
        "starting".to_owned()
    } else {
        "running".to_owned()
    }
}

/// Where a task waits that was placed ahead.
fn behind(attempt: &Attempt) -> String {
    let node = attempt.workers.first().map(|worker| worker.node.to_string()).unwrap_or_default();
    let before = attempt.after.as_ref().map(|before| before.task.to_string()).unwrap_or_default();
    format!("queued on node {node} behind {before}")
}

fn attempt(state: &State, live: &Live, task: &Task, attempt: &Attempt) -> v1::Attempt {
    let key = AttemptKey { task: task.key.clone(), number: attempt.number };
    let (outcome, reason) = match &attempt.outcome {
        None => ("", attempt.stop.as_ref().map(|stop| stop.reason.clone()).unwrap_or_default()),
        Some(Outcome::Succeeded) => ("succeeded", String::new()),
        Some(Outcome::Ended { cause: Cause::Failure, reason }) => ("failure", reason.clone()),
        Some(Outcome::Ended { cause: Cause::Error, reason }) => ("error", reason.clone()),
        Some(Outcome::Ended { cause: Cause::Cancelled, reason }) => ("cancelled", reason.clone()),
    };
    let unheard = |worker: &Worker| {
        state.nodes.get(&worker.node).is_none_or(|n| n.liveness != Liveness::Ready)
    };
    let phase = match (&attempt.outcome, attempt.started_at) {
        (Some(_), _) => "finished",
        (None, _) if attempt.workers.iter().any(unheard) => "unknown",
        (None, Some(_)) => "running",
        (None, None)
            if attempt.workers.iter().all(|worker| worker.phase == WorkerPhase::Placed) =>
        {
            "placed"
        }
        (None, None) => "preparing",
    };
    v1::Attempt {
        state: phase.to_owned(),
        outcome: outcome.to_owned(),
        reason,
        workers: attempt
            .workers
            .iter()
            .enumerate()
            .map(|(rank, own)| {
                let key = WorkerKey { attempt: key.clone(), rank: rank as u32 };
                worker(&key, own, live.worker(&key), attempt)
            })
            .collect(),
        placed_ms: attempt.placed_at.0,
        started_ms: attempt.started_at.map_or(0, |at| at.0),
        ended_ms: attempt.ended_at.map_or(0, |at| at.0),
        released: attempt.is_released(),
        key: key.to_string(),
    }
}

fn worker(
    key: &WorkerKey,
    worker: &Worker,
    report: Option<WorkerReport>,
    attempt: &Attempt,
) -> v1::Worker {
    // Of a gang, the attempt keeps the decisive worker's exit; each worker's own is the agent's last word.
    let own = report.as_ref().and_then(|report| report.exit.as_ref());
    let kept = attempt.exit.as_ref().filter(|_| attempt.workers.len() == 1);
    let phase = match report.as_ref().and_then(|report| Phase::try_from(report.phase).ok()) {
        Some(Phase::Preparing) => "preparing",
        Some(Phase::Publishing) => "publishing",
        _ => match worker.phase {
            WorkerPhase::Placed => "placed",
            WorkerPhase::Prepared => "prepared",
            WorkerPhase::Running => "running",
            WorkerPhase::Finished => "finished",
            WorkerPhase::Released => "released",
        },
    };
    v1::Worker {
        key: key.to_string(),
        node: worker.node.to_string(),
        devices: worker.devices.clone(),
        phase: if worker.wedged.is_some() { "wedged" } else { phase }.to_owned(),
        exit_code: own.map_or_else(|| kept.and_then(|exit| exit.code), |exit| exit.code),
        signal: own.map_or_else(|| kept.and_then(|exit| exit.signal), |exit| exit.signal),
        oom: own.map_or_else(|| kept.is_some_and(|exit| exit.oom), |exit| exit.oom),
        memory_peak_bytes: own
            .map_or_else(|| kept.map_or(0, |e| e.memory_peak.0), |exit| exit.memory_peak_bytes),
        cpu_ms: own.map_or_else(|| kept.map_or(0, |exit| exit.cpu.0), |exit| exit.cpu_ms),
        log_bytes: report
            .as_ref()
            .map_or(worker.log.to, |report| report.log_end.max(worker.log.to)),
        log_sealed_bytes: worker.log.to,
        detail: worker
            .wedged
            .clone()
            .or_else(|| report.map(|report| report.detail))
            .unwrap_or_default(),
        port: u32::from(worker.port),
    }
}
