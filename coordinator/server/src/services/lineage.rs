//! How a model version came to be and what became of it, from the state and its events.

use runyard_evaluation::gate::DecisionRecord;
use runyard_proto::v1::{DataInput, Git, LineageRequest, LineageResponse};
use runyard_state::entity::{ResolvedSource, Run};
use runyard_state::{EventKind, State};
use runyard_types::AliasName;
use tonic::Status;

use super::names;
use crate::core::Core;
use crate::views;

pub(super) fn lineage(
    core: &Core,
    state: &State,
    request: &LineageRequest,
) -> Result<LineageResponse, Status> {
    let project = names::project(&request.project)?;
    let name = names::model(&request.model)?;
    let model = state.model(&project, &name).ok_or_else(|| {
        Status::not_found(format!("there is no model `{name}`; `runyard models ls` lists them"))
    })?;
    let number = match request.selector.parse::<u64>() {
        Ok(number) => number,
        Err(_) => {
            let alias = AliasName::new(&request.selector)
                .map_err(|e| Status::invalid_argument(e.to_string()))?;
            let missing = || Status::not_found(format!("model `{name}` has no alias `{alias}`"));
            model.aliases.get(&alias).ok_or_else(missing)?.version
        }
    };
    let version = model
        .version(number)
        .ok_or_else(|| Status::not_found(format!("model `{name}` has no version {number}")))?;
    let mut answer = LineageResponse {
        model: name.to_string(),
        version: number,
        aliases: model
            .aliases
            .iter()
            .filter(|(_, alias)| alias.version == number)
            .map(|(alias, _)| alias.to_string())
            .collect(),
        approver: version.approver.clone().unwrap_or_default(),
        status: version.status.as_str().to_owned(),
        gate_task: version.gate.as_ref().map(ToString::to_string).unwrap_or_default(),
        gate_record: version.gate_record.map(|record| record.to_string()).unwrap_or_default(),
        ..Default::default()
    };
    if let Some(run) = version.task.run().and_then(|run| state.run(&project, run)) {
        fill_run(state, run, version, &mut answer);
    }
    if let Some(record) = version.gate_record
        && let Ok(bytes) = core.store.get_blob(&project, &record)
    {
        answer.gate_json = String::from_utf8_lossy(&bytes).into_owned();
        if let Ok(record) = DecisionRecord::from_bytes(&bytes) {
            answer.evaluation_rows = record.candidate.examples.unwrap_or(0);
            answer.evaluation_root.clone_from(&record.candidate.results_digest);
        }
    }
    // Deployments of this version, so that their later moves are found by revision.
    let revisions: Vec<_> = state
        .deployments
        .values()
        .filter(|deployment| deployment.project == project)
        .flat_map(|deployment| {
            deployment.revisions.iter().map(move |revision| (deployment, revision))
        })
        .filter(|(_, revision)| {
            revision.spec.model == name && revision.spec.model_version == number
        })
        .map(|(deployment, revision)| (deployment.name.clone(), revision.number))
        .collect();
    answer.events = state
        .events
        .values()
        .filter(|event| event.project.as_ref() == Some(&project))
        .filter(|event| match &event.kind {
            EventKind::VersionRegistered { model, version, .. } => {
                *model == name && *version == number
            }
            EventKind::AliasMoved { model, from, to, .. } => {
                *model == name && (*from == Some(number) || *to == Some(number))
            }
            EventKind::RevisionCreated { deployment, revision, .. }
            | EventKind::RevisionMoved { deployment, revision, .. }
            | EventKind::RolledBack { deployment, from: revision, .. } => {
                revisions.contains(&(deployment.clone(), *revision))
            }
            EventKind::GateDecided { task, .. } | EventKind::GateApproved { task, .. } => {
                Some(task) == version.gate.as_ref()
            }
            _ => false,
        })
        .map(|event| views::event(event))
        .collect();
    Ok(answer)
}

fn fill_run(
    state: &State,
    run: &Run,
    version: &runyard_state::entity::ModelVersion,
    answer: &mut LineageResponse,
) {
    let git = &run.git;
    answer.run = run.name.to_string();
    answer.principal.clone_from(&run.principal);
    answer.code_root = run.code_root.map(|root| root.to_string()).unwrap_or_default();
    answer.git = Some(Git {
        commit: git.commit.clone(),
        branch: git.branch.clone(),
        author: git.author.clone(),
        subject: git.subject.clone(),
        dirty: git.dirty,
        remote: git.remote.clone(),
        tag: git.tag.clone(),
    });
    // The data that went in, through all stages that the version's task stands on.
    let mut stages = vec![version.task.clone()];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(key) = stages.pop() {
        if !seen.insert(key.clone()) {
            continue;
        }
        let Some(task) = state.tasks.get(&key) else { continue };
        for input in &task.inputs {
            let root = match &input.source {
                ResolvedSource::Tree(root) => root.to_string(),
                ResolvedSource::Mount { path, .. } => path.clone(),
            };
            answer.data.push(DataInput {
                stage: task.stage.as_ref().map(ToString::to_string).unwrap_or_default(),
                name: input.name.clone(),
                source: input.from.clone(),
                root,
            });
        }
        let Some(stage) = task.stage.as_ref().and_then(|stage| run.pipeline.stage(stage.as_str()))
        else {
            continue;
        };
        for input in stage.inputs.values() {
            if let runyard_pipeline::Source::Output { stage, .. } = &input.source {
                stages.extend(
                    state.stage_tasks(&run.project, &run.name, stage).map(|task| task.key.clone()),
                );
            }
        }
    }
}
