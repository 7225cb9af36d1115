//! Models, gates, deployments.

use runyard_evaluation::gate::DecisionRecord;
use runyard_proto::v1;
use runyard_state::State;
use runyard_state::entity::{Deployment, GateDecision, Model, RevisionState, Task, WorkerPhase};

use crate::core::Core;

pub(crate) fn model(state: &State, model: &Model) -> v1::Model {
    let commit = |version: &runyard_state::entity::ModelVersion| {
        let run = version.task.run()?;
        Some(state.run(&model.project, run)?.git.commit.clone())
    };
    v1::Model {
        project: model.project.to_string(),
        name: model.name.to_string(),
        versions: model
            .versions
            .iter()
            .map(|version| v1::ModelVersion {
                version: version.number,
                root: version.root.to_string(),
                run: version.task.run().map(ToString::to_string).unwrap_or_default(),
                task: version.task.to_string(),
                created_ms: version.created_at.0,
                status: version.status.as_str().to_owned(),
                gate_record: version
                    .gate_record
                    .map(|record| record.to_string())
                    .unwrap_or_default(),
                commit: commit(version).unwrap_or_default(),
            })
            .collect(),
        aliases: model
            .aliases
            .iter()
            .map(|(name, alias)| v1::Alias {
                name: name.to_string(),
                version: alias.version,
                protected: alias.protected,
                moved_ms: alias.moves.last().map_or(0, |moved| moved.at.0),
            })
            .collect(),
    }
}

/// A gate task with its record, if it has decided.
pub(crate) fn gate(core: &Core, task: &Task) -> v1::GateView {
    let mut view = v1::GateView {
        task: task.key.to_string(),
        reason: task.reason.clone(),
        ..Default::default()
    };
    let Some(gate) = &task.gate else { return view };
    view.verdict = gate.verdict.as_str().to_owned();
    view.decision = match gate.decision {
        GateDecision::Passed => "promoted",
        GateDecision::Rejected => "rejected",
        GateDecision::Waiting => "waiting",
        GateDecision::Approved => "approved",
        GateDecision::Refused => "refused",
    }
    .to_owned();
    view.record = gate.record.to_string();
    view.approver = gate.approver.clone().unwrap_or_default();
    if !gate.reason.is_empty() {
        view.reason.clone_from(&gate.reason);
    }
    if let Ok(bytes) = core.store.get_blob(&task.key.project, &gate.record) {
        view.record_json = String::from_utf8_lossy(&bytes).into_owned();
        if let Ok(record) = DecisionRecord::from_bytes(&bytes) {
            view.text = record.render_text();
            view.markdown = record.render_markdown();
        }
    }
    view
}

pub(crate) fn deployment(core: &Core, state: &State, deployment: &Deployment) -> v1::Deployment {
    let rolling = deployment.rolling();
    let newest = deployment.revisions.last();
    let word =
        match (rolling.map(|revision| revision.state), deployment.serving, newest.map(|r| r.state))
        {
            (Some(RevisionState::Canary), _, _) => "canary",
            (Some(_), _, _) => "starting",
            (None, _, Some(RevisionState::RolledBack)) => "rolled_back",
            (None, _, Some(RevisionState::Failed)) => "failed",
            (None, Some(_), _) => "serving",
            (None, None, _) => "retired",
        };
    let shown =
        rolling.or_else(|| deployment.serving.and_then(|n| deployment.revision(n))).or(newest);
    let addresses = state
        .nodes
        .values()
        .filter(|node| !node.gateway.is_empty())
        .map(|node| format!("http://{}/{}/", node.gateway, deployment.name))
        .collect();
    v1::Deployment {
        project: deployment.project.to_string(),
        name: deployment.name.to_string(),
        model: shown.map(|revision| revision.spec.model.to_string()).unwrap_or_default(),
        alias: shown
            .and_then(|revision| revision.spec.alias.as_ref())
            .map(ToString::to_string)
            .unwrap_or_default(),
        state: word.to_owned(),
        serving_revision: deployment.serving.unwrap_or(0),
        revisions: deployment
            .revisions
            .iter()
            .map(|own| revision(core, state, deployment, own))
            .collect(),
        addresses,
    }
}

fn revision(
    core: &Core,
    state: &State,
    deployment: &Deployment,
    revision: &runyard_state::entity::Revision,
) -> v1::Revision {
    let key = (deployment.project.clone(), deployment.name.clone(), revision.number);
    let reports = core.live.revision(&key);
    let canary = deployment.rolling().filter(|rolling| rolling.state == RevisionState::Canary);
    let weight_permille = match revision.state {
        RevisionState::Canary => revision.spec.canary_permille,
        RevisionState::Serving => 1000 - canary.map_or(0, |canary| canary.spec.canary_permille),
        _ => 0,
    };
    v1::Revision {
        number: revision.number,
        model_version: revision.spec.model_version,
        model_root: revision.spec.model_root.to_string(),
        code_root: revision.spec.code_root.map(|root| root.to_string()).unwrap_or_default(),
        state: revision.state.as_str().to_owned(),
        weight_permille,
        replicas: state
            .replicas(&deployment.project, &deployment.name, revision.number)
            .map(|task| replica(state, task, reports.iter().any(|report| report.ready)))
            .collect(),
        requests: reports.iter().map(|report| report.requests).sum::<u64>().max(revision.requests),
        errors: reports.iter().map(|report| report.errors).sum::<u64>().max(revision.errors),
        e_value: reports.iter().map(|report| report.e_value).fold(0.0, f64::max),
        created_ms: revision.created_at.0,
        reason: revision.reason.clone(),
        run: revision
            .task
            .as_ref()
            .and_then(|task| task.run())
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

fn replica(state: &State, task: &Task, ready: bool) -> v1::Replica {
    let worker = task.attempts.last().and_then(|attempt| attempt.workers.first());
    let running = worker.is_some_and(|worker| worker.phase == WorkerPhase::Running);
    let address = worker.filter(|worker| worker.port != 0).and_then(|worker| {
        Some(format!("{}:{}", state.nodes.get(&worker.node)?.address, worker.port))
    });
    v1::Replica {
        task: task.key.to_string(),
        node: worker.map(|worker| worker.node.to_string()).unwrap_or_default(),
        address: address.unwrap_or_default(),
        ready: ready && running,
        state: task.state.as_str().to_owned(),
    }
}
