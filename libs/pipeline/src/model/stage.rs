//! A stage: what runs, with what, where, and how often.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::{DurationMs, Launch, Name, Resources, StageName};
use serde::{Deserialize, Serialize};

use crate::model::{Deploy, Gate, Input, Output};

/// What a stage is for; it follows from the block that the stage has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// A command.
    #[default]
    Task,
    /// A command that hands over examples for a gate.
    Evaluation,
    /// A judgement, made by the leader.
    Gate(Gate),
    /// A change of a deployment.
    Deploy(Deploy),
}

impl StageKind {
    /// The kind in one word, for people.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Evaluation => "evaluation",
            Self::Gate(_) => "gate",
            Self::Deploy(_) => "deploy",
        }
    }
}

/// A node of a run's graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub name: StageName,
    #[serde(default)]
    pub kind: StageKind,
    /// All stages that must have ended before this one: written, and implied by inputs, gates and conditions. Sorted.
    #[serde(default)]
    pub needs: Vec<StageName>,
    /// The source of the `if:` expression, checked on parsing; `success()` if absent.
    #[serde(default)]
    pub condition: Option<String>,
    /// The shell command of a task or evaluation. (A deployment's is in [`Deploy::run`].)
    #[serde(default)]
    pub run: Option<String>,
    #[serde(default)]
    pub inputs: BTreeMap<Name, Input>,
    /// The inputs that another model may take the place of. A subset of `inputs`.
    #[serde(default)]
    pub evaluates: BTreeSet<Name>,
    #[serde(default)]
    pub outputs: BTreeMap<Name, Output>,
    /// Of each worker.
    #[serde(default)]
    pub resources: Resources,
    /// Workers of the gang; 1 unless written.
    pub nodes: u32,
    #[serde(default)]
    pub launch: Launch,
    /// The network label that all nodes of the gang must state.
    #[serde(default)]
    pub network: Option<String>,
    #[serde(default)]
    pub matrix: Option<Matrix>,
    #[serde(default)]
    pub retry: Retry,
    /// The time limit of an attempt.
    #[serde(default)]
    pub timeout: Option<DurationMs>,
    /// Whether an equal content key takes the earlier result.
    pub cache: bool,
    /// Patterns of the snapshot's files that count for the content key; all if empty.
    #[serde(default)]
    pub code: Vec<String>,
    #[serde(default)]
    pub python: Option<Python>,
    /// Variables of the stage; values may hold `${{ }}`, see [`expr::Template`](crate::expr::Template).
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How the parameters are appended to the command, if they are.
    #[serde(default)]
    pub args: Option<Args>,
    #[serde(default)]
    pub results: Option<Results>,
    /// How long an unreachable node keeps the attempt before it may be placed again.
    #[serde(default)]
    pub lost_after: Option<DurationMs>,
    #[serde(default)]
    pub priority: Priority,
}

/// A grid of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// Values by axis, in the order written.
    pub axes: BTreeMap<Name, Vec<String>>,
    /// Points that match all values of an entry are left out.
    #[serde(default)]
    pub exclude: Vec<BTreeMap<Name, String>>,
    /// The first failure cancels the rest. Off unless written.
    #[serde(default)]
    pub fail_fast: bool,
    /// The most tasks of the stage at one time.
    #[serde(default)]
    pub max_parallel: Option<u32>,
}

/// What is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The machine's or Runyard's fault.
    Error,
    /// The code's: exit status, out of memory, time limit.
    Failure,
}

/// How often and when an attempt is made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts after the first.
    pub max: u32,
    pub on: BTreeSet<RetryOn>,
    /// The wait before the first retry; it doubles with each.
    pub backoff: DurationMs,
}

impl Default for Retry {
    /// Errors three times, failures never.
    fn default() -> Self {
        Self { max: 3, on: BTreeSet::from([RetryOn::Error]), backoff: DurationMs(1_000) }
    }
}

/// Where a Python environment comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PythonSource {
    /// A requirements file of the snapshot.
    Requirements(String),
    /// A `pyproject.toml`, or the folder that holds one.
    Project(String),
    /// A lock file of the snapshot.
    Lock(String),
    /// An existing environment: absolute on the host, or relative to the snapshot.
    Venv(String),
}

/// The Python environment of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    pub source: PythonSource,
    /// The interpreter's version, `3.11`.
    #[serde(default)]
    pub version: Option<String>,
    /// The package index, without credentials.
    #[serde(default)]
    pub index: Option<String>,
}

/// How parameters are appended to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Args {
    /// `--name VALUE`.
    Flags,
    /// `name=VALUE`.
    Hydra,
}

/// What a row without an answer counts for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorRows {
    /// A metric of 0.
    #[default]
    Zero,
    /// Nothing.
    Drop,
    /// The stage fails.
    Fail,
}

/// What NaN and absent values lead to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The gate answers `cannot_test`.
    #[default]
    CannotTest,
    /// Rows are dropped while they are at most this fraction, in 0..1.
    Drop { at_most: f64 },
}

/// How an evaluation hands over its examples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Patterns relative to the workspace; empty where the stage writes to `$RUNYARD_RESULTS/`.
    #[serde(default)]
    pub files: Vec<String>,
    /// The column of the id, where it is none of the usual ones.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub error_rows: ErrorRows,
    #[serde(default)]
    pub missing: Missing,
}

/// The class in which a stage's tasks wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Stage {
    /// The variables of the stage's inputs, `RUNYARD_INPUT_X`, by input.
    pub fn input_variables(&self) -> BTreeMap<&Name, String> {
        self.inputs.keys().map(|name| (name, crate::env::input_variable(name))).collect()
    }

    /// The command of a task, evaluation or deployment as written, without appended parameters.
    pub fn command(&self) -> Option<&str> {
        match &self.kind {
            StageKind::Deploy(deploy) => Some(&deploy.run),
            StageKind::Task | StageKind::Evaluation | StageKind::Gate(_) => self.run.as_deref(),
        }
    }
}
