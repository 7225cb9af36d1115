//! A gate: which results are judged, against what, by which checks, and what passes on.

use std::collections::BTreeMap;

use runyard_types::{AliasName, ModelName, Name, StageName};
use serde::{Deserialize, Serialize};

use crate::model::ModelRef;

/// The judgement of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The evaluation whose results are judged.
    pub results: StageName,
    #[serde(default)]
    pub against: Option<Against>,
    /// By name; never empty.
    pub checks: BTreeMap<Name, Check>,
    /// The correction for several checks.
    #[serde(default)]
    pub correct: Correction,
    #[serde(default)]
    pub inconclusive: Inconclusive,
    #[serde(default)]
    pub promote: Option<Promote>,
}

/// The model that a candidate is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Against {
    pub model: ModelRef,
    #[serde(default)]
    pub if_none: IfNone,
    /// The other model's earlier rows may be used though the test is not the same; recorded.
    #[serde(default)]
    pub stored_allow: bool,
}

/// What happens where there is nothing to compare with yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfNone {
    /// The absolute bounds decide alone.
    Absolute,
    /// The gate answers `cannot_test`.
    #[default]
    Block,
}

/// One check. Bounds and margin are in the metric's unit (`1pt` and `1%` are read as 0.01).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub metric: String,
    /// `mean`, or a quantile `p1` to `p99`.
    pub stat: String,
    #[serde(default)]
    pub goal: Goal,
    #[serde(default)]
    pub min: Option<f64>,
    #[serde(default)]
    pub max: Option<f64>,
    /// The non-inferiority margin, at least 0; 0 asks for superiority.
    #[serde(default)]
    pub margin: Option<f64>,
    /// The text column whose slices are checked one by one.
    #[serde(default)]
    pub by: Option<String>,
    /// One-sided, in (0, 0.5).
    pub alpha: f64,
    /// The statistical method; chosen by the data if absent.
    #[serde(default)]
    pub method: Option<String>,
    #[serde(default)]
    pub on_fail: OnFail,
}

/// Which direction is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    #[default]
    Max,
    Min,
}

/// What a failed check does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    #[default]
    Reject,
    Warn,
}

/// The correction for testing several checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    #[default]
    Holm,
    /// Benjamini-Hochberg.
    Bh,
    None,
}

/// What an inconclusive gate does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    #[default]
    Block,
    /// Waits for an approver, whose reason is recorded.
    Ask,
    Allow,
}

/// What becomes of the candidate that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promote {
    /// The output that becomes a new version: of this stage,
    pub stage: StageName,
    /// of this name,
    pub output: Name,
    /// of this model,
    pub model: ModelName,
    /// and to which this alias moves.
    pub alias: AliasName,
}
