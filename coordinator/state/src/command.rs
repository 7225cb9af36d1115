//! All that changes the truth.

use std::collections::BTreeMap;

use runyard_pipeline::{Inconclusive, Pipeline};
use runyard_types::{
    AliasName, ByteSize, Cause, CpuMilli, DeploymentName, Digest, DurationMs, ExitReport,
    ModelName, NodeName, Outcome, ProjectName, RunName, StageName, TaskKey, Uid, WorkerKey,
};
use serde::{Deserialize, Serialize};

use crate::entity::{
    Eligibility, GateVerdict, GitInfo, Liveness, NodeDevice, ResolvedInput, RevisionSpec,
    TaskResult, TokenKind,
};
use crate::stamp::Stamp;

/// One entry of the log: commands that are applied together, each answered by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The oldest state version that can apply it; a peer that can't stops before it.
    pub min_version: u32,
    pub at: Stamp,
    pub commands: Vec<Command>,
}

/// A change of the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    SubmitRun(Box<SubmitRun>),
    CancelRun(CancelRun),
    RetryRun(RetryRun),
    ResolveTasks(ResolveTasks),
    AddReferenceTask(AddReferenceTask),
    Place(Vec<Placement>),
    ReportWorkers(ReportWorkers),
    FinishAttempt(Box<FinishAttempt>),
    LoseAttempt(LoseAttempt),
    StopAttempt(StopAttempt),
    FailTask(FailTask),
    Seal(Seal),
    DecideGate(Box<DecideGate>),
    ApproveGate(ApproveGate),
    SetAlias(SetAlias),
    Deploy(Box<Deploy>),
    AdvanceRevision(AdvanceRevision),
    ReportRevision(ReportRevision),
    Rollback(Rollback),
    RemoveDeployment(RemoveDeployment),
    JoinNode(JoinNode),
    NodeHello(Box<NodeHello>),
    SetLiveness(SetLiveness),
    SetEligibility(SetEligibility),
    SetOrphans(SetOrphans),
    StopOrphan(StopOrphan),
    RemoveNode(RemoveNode),
    CreateToken(CreateToken),
    RevokeToken(RevokeToken),
}

/// Names a request that may arrive more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    pub principal: String,
    pub key: Uid,
    /// Digest of the request, so that the same key with another request is a conflict.
    pub request: Digest,
}

/// Accepts a pipeline for execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubmitRun {
    pub project: ProjectName,
    pub idempotency: IdempotencyKey,
    pub pipeline: Pipeline,
    pub params: BTreeMap<String, String>,
    pub code_root: Option<Digest>,
    pub files: BTreeMap<String, Digest>,
    pub git: GitInfo,
    pub no_cache: bool,
    pub priority: i32,
}

/// Stops a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRun {
    pub project: ProjectName,
    pub run: RunName,
    pub reason: String,
    pub principal: String,
}

/// Runs again what did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRun {
    pub project: ProjectName,
    pub run: RunName,
    /// Only this stage and what needs it.
    pub stage: Option<StageName>,
    pub principal: String,
}

/// What the resolver found for waiting tasks whose needs are at their end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolveTasks {
    pub items: Vec<(TaskKey, Resolution)>,
}

/// What is to become of a waiting task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Resolution {
    /// It must run.
    Queue {
        content_key: Option<Digest>,
        inputs: Vec<ResolvedInput>,
        /// Variables of the stage with their `${{ }}` filled in.
        env: BTreeMap<String, String>,
        reason: String,
    },
    /// An equal task ran before; this is what it left.
    Restore {
        content_key: Digest,
        inputs: Vec<ResolvedInput>,
        result: TaskResult,
        reason: String,
    },
    /// A gate or deploy stage, which the leader itself carries out.
    Begin {
        inputs: Vec<ResolvedInput>,
    },
    Skip {
        reason: String,
    },
    Fail {
        cause: Cause,
        reason: String,
    },
}

/// Adds a task that evaluates another model by a run's own evaluation stage, for its gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AddReferenceTask {
    pub project: ProjectName,
    pub run: RunName,
    /// The evaluation stage whose definition is used.
    pub stage: StageName,
    /// The name that the added stage gets, e.g. `eval.champion`.
    pub name: StageName,
    /// The input that is swapped, and for what.
    pub input: String,
    pub root: Digest,
}

/// Where an attempt of a task is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub task: TaskKey,
    /// In order of rank.
    pub workers: Vec<WorkerPlacement>,
    /// The attempt on the same node for whose room it waits there; it takes none of its own.
    #[serde(default)]
    pub after: Option<runyard_types::AttemptKey>,
}

/// Where one worker is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerPlacement {
    pub node: NodeName,
    /// UUIDs.
    pub devices: Vec<String>,
}

/// Forward steps of a node's workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportWorkers {
    pub node: NodeName,
    pub items: Vec<(WorkerKey, WorkerStep)>,
}

/// A forward step of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerStep {
    Prepared {
        port: u16,
    },
    Running {
        port: u16,
    },
    /// It has a result, which `FinishAttempt` carries once all have one.
    Finished,
    /// Nothing of it is left.
    Released,
    Wedged {
        reason: String,
    },
}

/// The one way in which an attempt ends with a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishAttempt {
    pub attempt: runyard_types::AttemptKey,
    pub outcome: Outcome,
    pub exit: Option<ExitReport>,
    /// Roots whose chunks were all found in the store.
    pub result: TaskResult,
    /// End of each worker's log, by rank.
    pub log_ends: Vec<u64>,
}

/// Gives up an attempt on a node that is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoseAttempt {
    pub attempt: runyard_types::AttemptKey,
    pub reason: String,
}

/// Asks an attempt to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopAttempt {
    pub attempt: runyard_types::AttemptKey,
    pub cause: Cause,
    pub reason: String,
    /// Only while it waits for the room of another; the task is queued again, and that was no try.
    #[serde(default)]
    pub give_back: bool,
}

/// Ends a gate or deploy stage that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailTask {
    pub task: TaskKey,
    pub cause: Cause,
    pub reason: String,
}

/// Makes a part of a worker's log or metrics the store's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub node: NodeName,
    pub worker: WorkerKey,
    pub channel: SealChannel,
    pub from: u64,
    pub to: u64,
    /// The blob that lists all segments, this one included.
    pub manifest: Option<Digest>,
    pub complete: bool,
}

/// What of a worker is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SealChannel {
    Log,
    Metrics,
}

/// The verdict of a gate, computed by the leader's child process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecideGate {
    pub task: TaskKey,
    pub verdict: GateVerdict,
    pub record: Digest,
    pub summary: String,
    /// What happens to an inconclusive verdict.
    pub inconclusive: Inconclusive,
    pub promote: Option<Promotion>,
    /// The model that the candidate was compared with, if there was one: a verdict against another than the one
    /// that stands there when it arrives is worth nothing.
    #[serde(default)]
    pub champion: Option<Digest>,
}

/// What a passed gate moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    pub model: ModelName,
    pub alias: AliasName,
    /// The task whose output is promoted.
    pub from: TaskKey,
    pub root: Digest,
}

/// An approver's answer to a gate that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveGate {
    pub task: TaskKey,
    pub approve: bool,
    pub principal: String,
    pub reason: String,
    /// What an approval moves.
    pub promote: Option<Promotion>,
}

/// Moves, makes or removes an alias by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAlias {
    pub project: ProjectName,
    pub model: ModelName,
    pub alias: AliasName,
    /// `None` removes it.
    pub version: Option<u64>,
    pub principal: String,
    /// An admin's reason to move a protected alias.
    pub override_reason: Option<String>,
}

/// Makes a new revision of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    pub project: ProjectName,
    pub deployment: DeploymentName,
    pub spec: RevisionSpec,
    /// The deploy stage that asks for it.
    pub task: Option<TaskKey>,
}

/// The leader moves a revision on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceRevision {
    pub project: ProjectName,
    pub deployment: DeploymentName,
    pub revision: u32,
    pub to: RevisionStep,
}

/// A step that the leader may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionStep {
    Canary,
    Serving,
    /// A warm revision's time is over.
    Retire,
}

/// A gateway's word on a revision. It only ever goes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportRevision {
    pub project: ProjectName,
    pub deployment: DeploymentName,
    pub revision: u32,
    pub what: RevisionFate,
    pub requests: u64,
    pub errors: u64,
}

/// What a gateway saw of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionFate {
    /// Counters only.
    Counted,
    /// Did not become ready in time.
    Failed { reason: String },
    /// The watch crossed its bound; the gateway has gone back already.
    RolledBack { reason: String, affected: u64 },
}

/// A person's wish to go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    pub project: ProjectName,
    pub deployment: DeploymentName,
    /// The revision to go back to; the one that served before, if none is named.
    pub to: Option<u32>,
    pub principal: String,
    pub reason: String,
}

/// Takes a deployment out of service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveDeployment {
    pub project: ProjectName,
    pub deployment: DeploymentName,
    pub principal: String,
}

/// Makes a node known: its join token is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinNode {
    pub name: NodeName,
    pub fingerprint: Digest,
    pub token: String,
    pub secret_hash: Digest,
}

/// An agent opened a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    pub name: NodeName,
    pub boot_id: String,
    pub session_counter: u64,
    pub version: String,
    pub cpu: CpuMilli,
    pub memory: ByteSize,
    pub devices: Vec<NodeDevice>,
    pub labels: BTreeMap<String, String>,
    pub networks: Vec<String>,
    pub isolation: String,
    pub address: String,
    pub gateway: String,
    pub platform: String,
    pub mounts: Vec<String>,
    /// The agent holds a worker back until the one before it is gone.
    #[serde(default)]
    pub chains: bool,
    /// Workers whose folder the agent has.
    pub workers: Vec<WorkerKey>,
}

/// The leader hears, or no longer hears, a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLiveness {
    pub node: NodeName,
    pub liveness: Liveness,
}

/// Workers that a node has and that nobody knows, as after a group was restored from an older state: all of
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOrphans {
    pub node: NodeName,
    pub orphans: Vec<WorkerKey>,
}

/// An operator asks a worker that nobody knows to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrphan {
    pub node: NodeName,
    pub worker: WorkerKey,
    pub reason: String,
    pub principal: String,
}

/// Forgets a node: its certificate opens nothing any more, and its name is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveNode {
    pub node: NodeName,
    /// Also one that is heard, or has workers: these are given up.
    pub force: bool,
    pub principal: String,
}

/// An operator opens, cordons or drains a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetEligibility {
    pub node: NodeName,
    pub eligibility: Eligibility,
    pub reason: String,
    pub principal: String,
}

/// Makes a token known by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateToken {
    pub id: String,
    pub kind: TokenKind,
    pub name: String,
    pub hash: Digest,
    pub ttl: Option<DurationMs>,
    pub principal: String,
}

/// Makes a token useless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeToken {
    pub id: String,
    pub principal: String,
}
