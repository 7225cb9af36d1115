//! Deployments: new revisions, their way to all traffic, and the end of what they replaced.

use std::time::Duration;

use runyard_blobs::RelPath;
use runyard_pipeline::{ModelAt, StageKind};
use runyard_state::entity::{
    Deployment, Liveness, Revision, RevisionSpec, RevisionState, Run, Task, TaskState,
};
use runyard_state::{
    AdvanceRevision, Command, Deploy, FailTask, ReportRevision, RevisionFate, RevisionStep, State,
};
use runyard_types::{Cause, TaskKey};
use tonic::Status;

use super::Pass;
use super::expressions::TaskEnv;
use crate::core::Core;
use crate::live::Live;
use crate::stagespec;

/// What a warm-up file may hold.
const WARM_UP_BYTES_MAX: u64 = 256 << 10;
/// How long beyond `ready: within` a revision may take to be placed and prepared.
const PREPARE_MS_MAX: u64 = 30 * 60_000;

pub(super) async fn pass(core: Core) -> Result<Pass, Status> {
    let view = core.truth.view();
    let mut commands = Vec::new();
    for key in view.state.active.iter() {
        commands.extend(begin(&core, &view.state, key));
    }
    let mut due = None;
    for deployment in view.state.deployments.values() {
        commands.extend(follow(&view.state, deployment));
        for revision in &deployment.revisions {
            let elapsed = core.truth.elapsed(&view.state).0;
            let (command, wait) = judge(&core.live, elapsed, &view.state, deployment, revision);
            commands.extend(command);
            due = match (due, wait) {
                (Some(a), Some(b)) => Some(std::cmp::min::<u64>(a, b)),
                (a, b) => a.or(b),
            };
        }
    }
    for command in commands {
        // One at a time: a refused one is a decision that came too late.
        if let Err(crate::truth::Denied::Refused(refusal)) = core.truth.propose(command).await {
            tracing::debug!(%refusal, "a step of a deployment was refused");
        }
    }
    Ok(due.map_or(Pass::Asleep, |ms| Pass::In(Duration::from_millis(ms.clamp(10, 1_000)))))
}

/// The new revision of a deployment whose alias a person has moved: what serves, with the model that the
/// alias names now. A gate's move is deployed by the stage behind the gate, if it has one; a rollback's
/// move follows what serves.
fn follow(state: &State, deployment: &Deployment) -> Option<Command> {
    if deployment.rolling().is_some() {
        return None;
    }
    let serving = deployment.revision(deployment.serving?)?;
    let model = state.model(&deployment.project, &serving.spec.model)?;
    let alias = model.aliases.get(serving.spec.alias.as_ref()?)?;
    let moved = alias.moves.last().is_some_and(|last| last.by_hand);
    if !moved || alias.version == serving.spec.model_version {
        return None;
    }
    let version = model.version(alias.version)?;
    let spec = RevisionSpec {
        model_version: alias.version,
        model_root: version.root,
        ..serving.spec.clone()
    };
    Some(Command::Deploy(Box::new(Deploy {
        project: deployment.project.clone(),
        deployment: deployment.name.clone(),
        spec,
        task: None,
    })))
}

/// The new revision that a deploy stage asks for.
fn begin(core: &Core, state: &State, key: &TaskKey) -> Option<Command> {
    let task = state
        .tasks
        .get(key)
        .filter(|task| task.revision.is_none() && task.state == TaskState::Active)?;
    let run = state.run(&key.project, key.run()?)?;
    let stage = run.pipeline.stage(task.stage.as_ref()?.as_str())?;
    let StageKind::Deploy(deploy) = &stage.kind else { return None };
    // One rollout at a time; the pass comes again when the other is over.
    if state
        .deployment(&key.project, &deploy.name)
        .is_some_and(|deployment| deployment.rolling().is_some())
    {
        return None;
    }
    match spec(core, state, run, stage, deploy, task) {
        Ok(spec) => Some(Command::Deploy(Box::new(Deploy {
            project: key.project.clone(),
            deployment: deploy.name.clone(),
            spec,
            task: Some(key.clone()),
        }))),
        Err(reason) => {
            Some(Command::FailTask(FailTask { task: key.clone(), cause: Cause::Failure, reason }))
        }
    }
}

fn spec(
    core: &Core,
    state: &State,
    run: &Run,
    stage: &runyard_pipeline::Stage,
    deploy: &runyard_pipeline::Deploy,
    task: &Task,
) -> Result<RevisionSpec, String> {
    let model = state.model(&run.project, &deploy.model.name).ok_or_else(|| {
        format!("there is no model `{}`; a gate's `promote` registers one", deploy.model.name)
    })?;
    let (number, alias) = match &deploy.model.at {
        ModelAt::Version(number) => (*number, None),
        ModelAt::Alias(alias) => {
            let found = model
                .aliases
                .get(alias)
                .ok_or_else(|| format!("there is no alias `{}`", deploy.model))?;
            (found.version, Some(alias.clone()))
        }
    };
    let version = model
        .version(number)
        .ok_or_else(|| format!("there is no version {number} of `{}`", deploy.model.name))?;
    let mut variables = TaskEnv { state, run, stage, task }.variables()?;
    for (name, value) in stagespec::visible_params(run, stage) {
        variables.insert(runyard_pipeline::param_variable(&name), value);
    }
    let warm_up = match (&deploy.ready.warm_up, run.code_root) {
        (Some(path), Some(root)) => read_text(core, run, root, path)?,
        (Some(path), None) => {
            return Err(format!("warm-up: there is no code snapshot that could hold {path}"));
        }
        (None, _) => String::new(),
    };
    Ok(RevisionSpec {
        model: deploy.model.name.clone(),
        model_version: number,
        model_root: version.root,
        alias,
        code_root: run.code_root,
        python: stagespec::python_environment(stage),
        command: deploy.run.clone(),
        env: variables,
        resources: stage.resources.clone(),
        replicas: deploy.replicas,
        ready_path: deploy.ready.path.clone(),
        ready_within: deploy.ready.within,
        warm_up,
        canary_permille: deploy.canary.map_or(1000, |canary| u32::from(canary.weight_permille)),
        hold: deploy.canary.map(|canary| canary.hold).unwrap_or_default(),
        drain: deploy.drain,
        keep_warm: deploy.keep_warm,
    })
}

fn read_text(
    core: &Core,
    run: &Run,
    root: runyard_types::Digest,
    path: &str,
) -> Result<String, String> {
    let source = core.store.source(&run.project);
    let at = RelPath::parse(path).map_err(|error| format!("warm-up: {error}"))?;
    let tree = core.store.tree(&run.project, root).map_err(|error| format!("warm-up: {error}"))?;
    let bytes = tree
        .read(&source, &at, WARM_UP_BYTES_MAX)
        .map_err(|error| format!("warm-up: {path} cannot be read: {error}"))?
        .ok_or_else(|| format!("warm-up: there is no {path} in the code snapshot"))?;
    String::from_utf8(bytes).map_err(|_| format!("warm-up: {path} is not UTF-8"))
}

/// What is due for a revision at `now` on the elapsed clock, and in how many milliseconds to look again.
fn judge(
    live: &Live,
    now: u64,
    state: &State,
    deployment: &Deployment,
    revision: &Revision,
) -> (Option<Command>, Option<u64>) {
    let elapsed = now.saturating_sub(revision.since.0);
    let advance = |to| {
        Some(Command::AdvanceRevision(AdvanceRevision {
            project: deployment.project.clone(),
            deployment: deployment.name.clone(),
            revision: revision.number,
            to,
        }))
    };
    let key = (deployment.project.clone(), deployment.name.clone(), revision.number);
    let reports = live.revision(&key);
    let requests = reports.iter().map(|report| report.requests).sum();
    let errors = reports.iter().map(|report| report.errors).sum();
    let report = |what| {
        Some(Command::ReportRevision(ReportRevision {
            project: deployment.project.clone(),
            deployment: deployment.name.clone(),
            revision: revision.number,
            what,
            requests,
            errors,
        }))
    };
    let is_live = matches!(revision.state, RevisionState::Canary | RevisionState::Serving);
    if let Some(back) = reports.iter().find(|report| report.rolled_back && is_live) {
        let affected = reports.iter().map(|report| report.affected).sum();
        return (report(RevisionFate::RolledBack { reason: back.reason.clone(), affected }), None);
    }
    match revision.state {
        RevisionState::Starting => {
            if let Some(reason) = broken_replica(state, deployment, revision) {
                return (report(RevisionFate::Failed { reason }), None);
            }
            if let Some(failed) = reports.iter().find(|report| report.failed) {
                let reason = if failed.reason.is_empty() { &failed.detail } else { &failed.reason };
                return (report(RevisionFate::Failed { reason: reason.clone() }), None);
            }
            if elapsed > revision.spec.ready_within.0.saturating_add(PREPARE_MS_MAX) {
                let reason = format!(
                    "its replicas were not placed and prepared within {} s",
                    elapsed / 1_000
                );
                return (report(RevisionFate::Failed { reason }), None);
            }
            let ready = reports.iter().any(|report| report.ready);
            let judged = deployment.serving.is_some() && revision.spec.canary_permille < 1000;
            let to = if judged { RevisionStep::Canary } else { RevisionStep::Serving };
            (ready.then(|| advance(to)).flatten(), Some(1_000))
        }
        RevisionState::Canary => {
            if let Some(reason) = broken_replica(state, deployment, revision) {
                let affected = errors;
                return (report(RevisionFate::RolledBack { reason, affected }), None);
            }
            // Its gateway gives it nothing any more.
            if let Some(failed) = reports.iter().find(|report| report.failed) {
                let (reason, affected) = (failed.detail.clone(), errors);
                return (report(RevisionFate::RolledBack { reason, affected }), None);
            }
            match revision.spec.hold.0.checked_sub(elapsed).filter(|left| *left > 0) {
                Some(left) => (None, Some(left)),
                None => (advance(RevisionStep::Serving), None),
            }
        }
        RevisionState::Serving => {
            let grown = requests > revision.requests + revision.requests / 10 + 100;
            (grown.then(|| report(RevisionFate::Counted)).flatten(), Some(1_000))
        }
        RevisionState::Warm => {
            // One is kept for a rollback; an older one would only hold its room.
            let newer = deployment
                .revisions
                .iter()
                .any(|other| other.number > revision.number && other.state == RevisionState::Warm);
            let over =
                elapsed >= revision.spec.keep_warm.0 && may_go(live, state, deployment, revision);
            let over = over || newer;
            (over.then(|| advance(RevisionStep::Retire)).flatten(), Some(1_000))
        }
        RevisionState::Retired | RevisionState::RolledBack | RevisionState::Failed => (None, None),
    }
}

/// Whether no gateway needs a warm revision that its time is over for: each says that the one after it is
/// well. One that has gone back by itself, and could not say so yet, serves all from this one.
fn may_go(live: &Live, state: &State, deployment: &Deployment, revision: &Revision) -> bool {
    let Some(serving) =
        deployment.serving.filter(|_| deployment.fallback() == Some(revision.number))
    else {
        return true;
    };
    let key = (deployment.project.clone(), deployment.name.clone(), serving);
    let mut gateways = state
        .nodes
        .values()
        .filter(|node| !node.gateway.is_empty() && node.liveness != Liveness::Lost);
    gateways.all(|node| {
        live.revision_at(&node.name, &key).is_some_and(|said| said.ready && !said.rolled_back)
    })
}

/// Why a replica is down for good.
fn broken_replica(state: &State, deployment: &Deployment, revision: &Revision) -> Option<String> {
    state
        .replicas(&deployment.project, &deployment.name, revision.number)
        .find(|task| task.state.is_final())
        .map(|task| format!("replica {} ended: {}", task.key, task.reason))
}

#[cfg(test)]
mod tests;
