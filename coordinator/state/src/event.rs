//! Numbered facts about what changed. They feed watchers, the status page and the read model.

use runyard_types::{
    DeploymentName, ModelName, NodeName, ProjectName, RunName, TaskKey, TimestampMs,
};
use serde::{Deserialize, Serialize};

/// The place of an event: its log index and its number among that entry's events.
pub type EventNumber = (u64, u32);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub number: EventNumber,
    pub at: TimestampMs,
    /// `None` for what concerns the group and its nodes.
    pub project: Option<ProjectName>,
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    RunSubmitted {
        run: RunName,
        principal: String,
    },
    RunStarted {
        run: RunName,
    },
    RunFinished {
        run: RunName,
        state: String,
        reason: String,
    },
    RunCancelled {
        run: RunName,
        principal: String,
        reason: String,
    },
    RunRetried {
        run: RunName,
        principal: String,
        tasks: u32,
    },
    TaskQueued {
        task: TaskKey,
        reason: String,
    },
    TaskRestored {
        task: TaskKey,
        reason: String,
    },
    TaskStarted {
        task: TaskKey,
    },
    TaskSkipped {
        task: TaskKey,
        reason: String,
    },
    TaskFinished {
        task: TaskKey,
        state: String,
        reason: String,
    },
    AttemptPlaced {
        attempt: String,
        task: TaskKey,
        nodes: Vec<NodeName>,
        devices: u32,
    },
    AttemptStarted {
        attempt: String,
        task: TaskKey,
    },
    AttemptFinished {
        attempt: String,
        task: TaskKey,
        outcome: String,
        reason: String,
    },
    AttemptStopping {
        attempt: String,
        task: TaskKey,
        reason: String,
    },
    WorkerWedged {
        worker: String,
        task: TaskKey,
        reason: String,
    },
    GateDecided {
        task: TaskKey,
        verdict: String,
        decision: String,
        summary: String,
    },
    GateApproved {
        task: TaskKey,
        principal: String,
        approve: bool,
        reason: String,
    },
    VersionRegistered {
        model: ModelName,
        version: u64,
        task: TaskKey,
    },
    AliasMoved {
        model: ModelName,
        alias: String,
        from: Option<u64>,
        to: Option<u64>,
        by: String,
    },
    RevisionCreated {
        deployment: DeploymentName,
        revision: u32,
        model: ModelName,
        version: u64,
    },
    RevisionMoved {
        deployment: DeploymentName,
        revision: u32,
        state: String,
        reason: String,
    },
    RolledBack {
        deployment: DeploymentName,
        from: u32,
        to: Option<u32>,
        by: String,
        reason: String,
        affected: u64,
    },
    DeploymentRemoved {
        deployment: DeploymentName,
        principal: String,
    },
    NodeJoined {
        node: NodeName,
    },
    NodeLiveness {
        node: NodeName,
        liveness: String,
    },
    NodeEligibility {
        node: NodeName,
        eligibility: String,
        reason: String,
        principal: String,
    },
    NodeOrphans {
        node: NodeName,
        workers: Vec<String>,
    },
    OrphanStopping {
        node: NodeName,
        worker: String,
        principal: String,
        reason: String,
    },
    NodeRemoved {
        node: NodeName,
        principal: String,
        gave_up: u32,
    },
    TokenCreated {
        id: String,
        kind: String,
        principal: String,
    },
    TokenRevoked {
        id: String,
        principal: String,
    },
}

impl EventKind {
    /// The stable name of the kind, `noun.verb`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunSubmitted { .. } => "run.submitted",
            Self::RunStarted { .. } => "run.started",
            Self::RunFinished { .. } => "run.finished",
            Self::RunCancelled { .. } => "run.cancelled",
            Self::RunRetried { .. } => "run.retried",
            Self::TaskQueued { .. } => "task.queued",
            Self::TaskRestored { .. } => "task.restored",
            Self::TaskStarted { .. } => "task.started",
            Self::TaskSkipped { .. } => "task.skipped",
            Self::TaskFinished { .. } => "task.finished",
            Self::AttemptPlaced { .. } => "attempt.placed",
            Self::AttemptStarted { .. } => "attempt.started",
            Self::AttemptFinished { .. } => "attempt.finished",
            Self::AttemptStopping { .. } => "attempt.stopping",
            Self::WorkerWedged { .. } => "worker.wedged",
            Self::GateDecided { .. } => "gate.decided",
            Self::GateApproved { .. } => "gate.approved",
            Self::VersionRegistered { .. } => "version.registered",
            Self::AliasMoved { .. } => "alias.moved",
            Self::RevisionCreated { .. } => "revision.created",
            Self::RevisionMoved { .. } => "revision.moved",
            Self::RolledBack { .. } => "deployment.rolled_back",
            Self::DeploymentRemoved { .. } => "deployment.removed",
            Self::NodeJoined { .. } => "node.joined",
            Self::NodeLiveness { .. } => "node.liveness",
            Self::NodeEligibility { .. } => "node.eligibility",
            Self::NodeOrphans { .. } => "node.orphans",
            Self::OrphanStopping { .. } => "node.orphan_stopping",
            Self::NodeRemoved { .. } => "node.removed",
            Self::TokenCreated { .. } => "token.created",
            Self::TokenRevoked { .. } => "token.revoked",
        }
    }

    /// The entity that it is about, as people name it.
    pub fn subject(&self) -> String {
        match self {
            Self::RunSubmitted { run, .. }
            | Self::RunStarted { run }
            | Self::RunFinished { run, .. }
            | Self::RunCancelled { run, .. }
            | Self::RunRetried { run, .. } => run.to_string(),
            Self::TaskQueued { task, .. }
            | Self::TaskRestored { task, .. }
            | Self::TaskStarted { task }
            | Self::TaskSkipped { task, .. }
            | Self::TaskFinished { task, .. }
            | Self::GateDecided { task, .. }
            | Self::GateApproved { task, .. } => task.to_string(),
            Self::AttemptPlaced { attempt, .. }
            | Self::AttemptStarted { attempt, .. }
            | Self::AttemptFinished { attempt, .. }
            | Self::AttemptStopping { attempt, .. } => attempt.clone(),
            Self::WorkerWedged { worker, .. } => worker.clone(),
            Self::VersionRegistered { model, version, .. } => format!("{model}@{version}"),
            Self::AliasMoved { model, alias, .. } => format!("{model}@{alias}"),
            Self::RevisionCreated { deployment, revision, .. }
            | Self::RevisionMoved { deployment, revision, .. } => {
                format!("{deployment}@{revision}")
            }
            Self::RolledBack { deployment, .. } | Self::DeploymentRemoved { deployment, .. } => {
                deployment.to_string()
            }
            Self::NodeJoined { node }
            | Self::NodeLiveness { node, .. }
            | Self::NodeEligibility { node, .. }
            | Self::NodeOrphans { node, .. }
            | Self::OrphanStopping { node, .. }
            | Self::NodeRemoved { node, .. } => node.to_string(),
            Self::TokenCreated { id, .. } | Self::TokenRevoked { id, .. } => id.clone(),
        }
    }

    /// The run whose watchers care, if there is one.
    pub fn run(&self) -> Option<&RunName> {
        match self {
            Self::RunSubmitted { run, .. }
            | Self::RunStarted { run }
            | Self::RunFinished { run, .. }
            | Self::RunCancelled { run, .. }
            | Self::RunRetried { run, .. } => Some(run),
            Self::TaskQueued { task, .. }
            | Self::TaskRestored { task, .. }
            | Self::TaskStarted { task }
            | Self::TaskSkipped { task, .. }
            | Self::TaskFinished { task, .. }
            | Self::GateDecided { task, .. }
            | Self::GateApproved { task, .. }
            | Self::AttemptPlaced { task, .. }
            | Self::AttemptStarted { task, .. }
            | Self::AttemptFinished { task, .. }
            | Self::AttemptStopping { task, .. }
            | Self::WorkerWedged { task, .. }
            | Self::VersionRegistered { task, .. } => task.run(),
            Self::AliasMoved { .. }
            | Self::RevisionCreated { .. }
            | Self::RevisionMoved { .. }
            | Self::RolledBack { .. }
            | Self::DeploymentRemoved { .. }
            | Self::NodeJoined { .. }
            | Self::NodeLiveness { .. }
            | Self::NodeEligibility { .. }
            | Self::NodeOrphans { .. }
            | Self::OrphanStopping { .. }
            | Self::NodeRemoved { .. }
            | Self::TokenCreated { .. }
            | Self::TokenRevoked { .. } => None,
        }
    }

    /// One sentence for people, without the subject.
    pub fn message(&self) -> String {
        let because =
            |text: &str| if text.is_empty() { String::new() } else { format!(": {text}") };
        match self {
            Self::RunSubmitted { principal, .. } => format!("submitted by {principal}"),
            Self::RunStarted { .. } | Self::TaskStarted { .. } | Self::AttemptStarted { .. } => {
                "started".into()
            }
            Self::RunFinished { state, reason, .. } | Self::TaskFinished { state, reason, .. } => {
                format!("{state}{}", because(reason))
            }
            Self::RunCancelled { principal, reason, .. } => {
                format!("cancelled by {principal}{}", because(reason))
            }
            Self::RunRetried { principal, tasks, .. } => {
                format!("{tasks} tasks retried by {principal}")
            }
            Self::TaskQueued { reason, .. } => format!("queued{}", because(reason)),
            Self::TaskRestored { reason, .. } => {
                format!("restored from the cache{}", because(reason))
            }
            Self::TaskSkipped { reason, .. } => format!("skipped{}", because(reason)),
            Self::AttemptPlaced { nodes, devices, .. } => {
                let nodes: Vec<_> = nodes.iter().map(NodeName::as_str).collect();
                match devices {
                    0 => format!("placed on {}", nodes.join(", ")),
                    n => format!("placed on {} with {n} device(s)", nodes.join(", ")),
                }
            }
            Self::AttemptFinished { outcome, reason, .. } => {
                format!("{outcome}{}", because(reason))
            }
            Self::AttemptStopping { reason, .. } => format!("asked to stop{}", because(reason)),
            Self::WorkerWedged { reason, .. } => {
                format!("can't be killed, keeps its devices{}", because(reason))
            }
            Self::GateDecided { verdict, decision, summary, .. } => {
                format!("{verdict}, {decision}{}", because(summary))
            }
            Self::GateApproved { principal, approve, reason, .. } => {
                format!(
                    "{} by {principal}{}",
                    if *approve { "approved" } else { "refused" },
                    because(reason)
                )
            }
            Self::VersionRegistered { task, .. } => format!("registered from {task}"),
            Self::AliasMoved { from, to, by, .. } => match (from, to) {
                (Some(from), Some(to)) => format!("moved from version {from} to {to} by {by}"),
                (None, Some(to)) => format!("set to version {to} by {by}"),
                (Some(from), None) => format!("removed from version {from} by {by}"),
                (None, None) => format!("unchanged by {by}"),
            },
            Self::RevisionCreated { model, version, .. } => {
                format!("created for {model} version {version}")
            }
            Self::RevisionMoved { state, reason, .. } => format!("{state}{}", because(reason)),
            Self::RolledBack { from, to, by, reason, affected, .. } => {
                let to = to.map_or_else(|| "nothing".to_owned(), |to| format!("revision {to}"));
                format!(
                    "rolled back from revision {from} to {to} by {by}; {affected} requests were affected{}",
                    because(reason)
                )
            }
            Self::DeploymentRemoved { principal, .. } => format!("removed by {principal}"),
            Self::NodeJoined { .. } => "joined".into(),
            Self::NodeLiveness { liveness, .. } => liveness.clone(),
            Self::NodeEligibility { eligibility, reason, principal, .. } => {
                format!("{eligibility} by {principal}{}", because(reason))
            }
            Self::NodeOrphans { workers, .. } => match workers.as_slice() {
                [] => "has no unknown worker any more".into(),
                [first, ..] => format!(
                    "has {} worker(s) that nobody knows, such as {first}; they run until `runyard nodes stop-orphan`",
                    workers.len()
                ),
            },
            Self::OrphanStopping { worker, principal, reason, .. } => {
                format!("its orphan {worker} is stopped by {principal}{}", because(reason))
            }
            Self::NodeRemoved { principal, gave_up, .. } => match gave_up {
                0 => format!("removed by {principal}"),
                n => format!("removed by {principal}; {n} workers were given up"),
            },
            Self::TokenCreated { kind, principal, .. } => {
                format!("{kind} token created by {principal}")
            }
            Self::TokenRevoked { principal, .. } => format!("revoked by {principal}"),
        }
    }
}
