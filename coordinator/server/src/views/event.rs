//! Events.

use std::collections::BTreeMap;

use runyard_proto::v1;
use runyard_state::{Event, EventKind};

pub(crate) fn event(event: &Event) -> v1::Event {
    v1::Event {
        index: event.number.0,
        n: event.number.1,
        at_ms: event.at.0,
        project: event.project.as_ref().map(ToString::to_string).unwrap_or_default(),
        kind: event.kind.name().to_owned(),
        subject: event.kind.subject(),
        message: event.kind.message(),
        attributes: attributes(&event.kind),
        bookmark: false,
    }
}

/// What programs want to know without reading the message.
fn attributes(kind: &EventKind) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut put = |name: &str, value: String| drop(all.insert(name.to_owned(), value));
    if let Some(run) = kind.run() {
        put("run", run.to_string());
    }
    match kind {
        EventKind::RunFinished { state, .. } | EventKind::TaskFinished { state, .. } => {
            put("state", state.clone())
        }
        EventKind::AttemptFinished { outcome, .. } => put("outcome", outcome.clone()),
        EventKind::AttemptPlaced { nodes, devices, .. } => {
            put("nodes", nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
            put("devices", devices.to_string());
        }
        EventKind::GateDecided { verdict, decision, .. } => {
            put("verdict", verdict.clone());
            put("decision", decision.clone());
        }
        EventKind::AliasMoved { model, to, .. } => {
            put("model", model.to_string());
            put("version", to.map(|to| to.to_string()).unwrap_or_default());
        }
        EventKind::VersionRegistered { model, version, .. }
        | EventKind::RevisionCreated { model, version, .. } => {
            put("model", model.to_string());
            put("version", version.to_string());
        }
        EventKind::RevisionMoved { deployment, revision, state, .. } => {
            put("deployment", deployment.to_string());
            put("revision", revision.to_string());
            put("state", state.clone());
        }
        EventKind::RolledBack { deployment, from, to, affected, .. } => {
            put("deployment", deployment.to_string());
            put("from", from.to_string());
            put("to", to.map(|to| to.to_string()).unwrap_or_default());
            put("affected", affected.to_string());
        }
        EventKind::NodeOrphans { workers, .. } => put("orphans", workers.len().to_string()),
        EventKind::OrphanStopping { worker, .. } => put("worker", worker.clone()),
        EventKind::NodeLiveness { liveness, .. } => put("liveness", liveness.clone()),
        EventKind::NodeEligibility { eligibility, .. } => put("eligibility", eligibility.clone()),
        _ => {}
    }
    all
}
