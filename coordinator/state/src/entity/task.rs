//! Tasks, their attempts and the workers of these.

use std::collections::BTreeMap;

use runyard_types::{
    AttemptKey, Cause, Digest, DurationMs, ExitReport, NodeName, Outcome, Resources, StageName,
    TaskKey, TimestampMs,
};
use serde::{Deserialize, Serialize};

/// One instance of a stage, or a replica of a revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub key: TaskKey,
    /// The stage of the pipeline that defines it; another than the key's where a gate asked for the task.
    pub stage: Option<StageName>,
    /// Matrix label such as `seed=0,suite=ood`; empty without a matrix.
    pub label: String,
    /// The matrix values of this task.
    pub values_in: BTreeMap<String, String>,
    pub state: TaskState,
    pub resources: Resources,
    /// Workers of an attempt, each on a node of its own.
    pub nodes: u32,
    pub network: Option<String>,
    pub priority: i32,
    pub attempts: Vec<Attempt>,
    /// Attempts that ended by the user's code, and by the machine; each has its own limit of retries.
    pub failures: u32,
    pub errors: u32,
    /// On the state's elapsed clock: not placed before this.
    pub not_before: DurationMs,
    pub queued_at: Option<TimestampMs>,
    pub ended_at: Option<TimestampMs>,
    pub content_key: Option<Digest>,
    pub inputs: Vec<ResolvedInput>,
    /// Variables of the stage with their `${{ }}` filled in.
    pub env: BTreeMap<String, String>,
    /// An input that is swapped for another model, by a gate that judges the champion anew.
    #[serde(default)]
    pub variant: Option<(String, Digest)>,
    /// Restored from the cache rather than run.
    pub cached: bool,
    /// Why it was restored, or why it had to run.
    pub cache_reason: String,
    pub result: TaskResult,
    /// Why it ended as it did, or what it waits for.
    pub reason: String,
    pub gate: Option<GateOutcome>,
    /// The revision that a deploy stage made.
    pub revision: Option<u32>,
}

/// What a task left.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    pub outputs: BTreeMap<String, OutputRoot>,
    /// The last value of each metric.
    pub metrics: BTreeMap<String, f64>,
    /// What the stage wrote to `$RUNYARD_OUTPUT`.
    pub values: BTreeMap<String, String>,
    /// What the stage wrote to `$RUNYARD_SUMMARY`, in Markdown.
    pub summary: String,
}

/// An artifact of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRoot {
    pub root: Digest,
    pub kind: String,
    pub bytes: u64,
    pub files: u64,
}

/// An input as the task will get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedInput {
    pub name: String,
    /// Where the pipeline file says it comes from, e.g. `train.model` or `file:data/rows.csv`.
    pub from: String,
    pub source: ResolvedSource,
    pub at: Option<String>,
    /// The folder that the stage's variable names, where the outputs of a matrix share one.
    #[serde(default)]
    pub folder: Option<String>,
}

/// The bytes of an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResolvedSource {
    Tree(Digest),
    /// A host path, with the digest of its listing or content where the agent found one before.
    Mount {
        path: String,
        digest: bool,
    },
}

/// Where a task stands. What an attempt is doing meanwhile is told by its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Its needs are not met, or its inputs not resolved.
    Waiting,
    /// Ready to be placed.
    Queued,
    /// An attempt lives, a gate decides, or a deployment rolls out.
    Active,
    Succeeded,
    Failed,
    Error,
    Cancelled,
    Skipped,
}

impl TaskState {
    /// Whether the task is at its end.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Queued | Self::Active)
    }
    /// The state that an attempt's end gives its task.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Ended { cause: Cause::Failure, .. } => Self::Failed,
            Outcome::Ended { cause: Cause::Error, .. } => Self::Error,
            Outcome::Ended { cause: Cause::Cancelled, .. } => Self::Cancelled,
        }
    }
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Active => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// One try of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    pub workers: Vec<Worker>,
    /// When it got its room.
    pub placed_at: TimestampMs,
    pub started_at: Option<TimestampMs>,
    pub ended_at: Option<TimestampMs>,
    /// Every worker may start its stage: the gang is prepared, or there is only one.
    pub go: bool,
    /// Set once by `FinishAttempt`.
    pub outcome: Option<Outcome>,
    pub exit: Option<ExitReport>,
    /// Somebody wants it to end.
    pub stop: Option<Stop>,
    /// Number that outside systems can check to refuse an older attempt.
    pub fencing_token: u64,
    /// The attempt on its node for whose room it waits. It stays where this one ended before its turn.
    #[serde(default)]
    pub after: Option<AttemptKey>,
}

impl Attempt {
    /// Whether it waits on its node for another's room: it holds none, and may not run.
    pub fn is_behind(&self) -> bool {
        self.after.is_some() && self.outcome.is_none() && !self.is_released()
    }

    /// Whether every worker's devices are back, or can be known to be lost with their node.
    pub fn is_released(&self) -> bool {
        self.workers.iter().all(|worker| worker.phase == WorkerPhase::Released)
    }
}

/// A wish that an attempt ends. It reaches the agents as tombstones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub cause: Cause,
    pub reason: String,
    /// Log index of the command that asked for it.
    pub index: u64,
    /// Asked for before its turn had come: another attempt follows, and this one does not count.
    #[serde(default)]
    pub given_back: bool,
}

/// The part of an attempt on one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    pub node: NodeName,
    /// UUIDs.
    pub devices: Vec<String>,
    pub phase: WorkerPhase,
    /// Of a replica's server, or of the rendezvous on rank 0.
    pub port: u16,
    /// Why it can't be killed.
    pub wedged: Option<String>,
    pub log: Sealed,
    pub metrics: Sealed,
}

/// Forward-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerPhase {
    Placed,
    Prepared,
    Running,
    Finished,
    /// No process, mount or device memory of it is left.
    Released,
}

/// How far a worker's bytes are in the blob store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub to: u64,
    /// The blob that lists the segments.
    pub manifest: Option<Digest>,
    /// Nothing will follow.
    pub complete: bool,
}

/// The verdict of a gate's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    Pass,
    Fail,
    Inconclusive,
    CannotTest,
}

impl GateVerdict {
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::CannotTest => "cannot_test",
        }
    }
}

/// What became of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateDecision {
    Passed,
    Rejected,
    /// Inconclusive, and an approver is asked.
    Waiting,
    Approved,
    Refused,
}

/// A gate's decision and what it stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateOutcome {
    pub verdict: GateVerdict,
    pub decision: GateDecision,
    /// The blob with the decision record.
    pub record: Digest,
    /// One line for people.
    pub summary: String,
    pub approver: Option<String>,
    pub reason: String,
    /// The model that the candidate was compared with.
    #[serde(default)]
    pub champion: Option<Digest>,
}
