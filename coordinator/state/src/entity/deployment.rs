//! Served models and their revisions.

use std::collections::BTreeMap;

use runyard_types::{
    AliasName, DeploymentName, Digest, DurationMs, ModelName, ProjectName, Resources, TaskKey,
    TimestampMs,
};
use serde::{Deserialize, Serialize};

/// A served model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub project: ProjectName,
    pub name: DeploymentName,
    /// Revision n stands at n - 1.
    pub revisions: Vec<Revision>,
    /// The revision that gets what is not the canary's.
    pub serving: Option<u32>,
    /// Revisions up to this one were rolled back past: gateways refuse them.
    pub latch: u32,
}

impl Deployment {
    /// The revision of that number.
    pub fn revision(&self, number: u32) -> Option<&Revision> {
        self.revisions.get(number.checked_sub(1)? as usize)
    }
    pub(crate) fn revision_mut(&mut self, number: u32) -> Option<&mut Revision> {
        self.revisions.get_mut(number.checked_sub(1)? as usize)
    }
    /// What gateways go back to, without asking: beside a canary the revision that serves; else, while its
    /// replicas are kept warm, the one before that. One that took over again after a rollback has proved
    /// itself: it falls back to nothing but itself.
    pub fn fallback(&self) -> Option<u32> {
        let serving = self.serving?;
        let canary = self.rolling().is_some_and(|rolling| rolling.state == RevisionState::Canary);
        if canary || serving <= self.latch {
            return Some(serving);
        }
        let before =
            self.revisions.iter().rev().find(|revision| {
                revision.number < serving && revision.state == RevisionState::Warm
            });
        Some(before.map_or(serving, |before| before.number))
    }
    /// The revision that is rolling out, if one is.
    pub fn rolling(&self) -> Option<&Revision> {
        self.revisions.iter().rev().find(|revision| revision.state.is_rolling())
    }
}

/// All that serves: model, code, environment, command and variables. A rollback restores all five.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionSpec {
    pub model: ModelName,
    pub model_version: u64,
    pub model_root: Digest,
    /// The alias it follows, which a rollback moves back.
    pub alias: Option<AliasName>,
    pub code_root: Option<Digest>,
    /// The text and path of the requirements file, with version and index; see the agent's `Python` message.
    pub python: Option<PythonEnvironment>,
    pub command: String,
    pub env: BTreeMap<String, String>,
    pub resources: Resources,
    pub replicas: u32,
    pub ready_path: String,
    pub ready_within: DurationMs,
    /// JSON lines of requests, replayed before traffic.
    pub warm_up: String,
    /// Share of the traffic while it is judged, in thousandths; 1000 replaces at once.
    pub canary_permille: u32,
    pub hold: DurationMs,
    pub drain: DurationMs,
    pub keep_warm: DurationMs,
}

/// What an agent needs to build a Python environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonEnvironment {
    pub requirements: String,
    pub requirements_path: String,
    pub version: String,
    pub index: String,
    pub venv: String,
}

/// One change of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    pub number: u32,
    pub spec: RevisionSpec,
    pub state: RevisionState,
    /// On the elapsed clock: since when it has been in this state.
    pub since: DurationMs,
    pub created_at: TimestampMs,
    /// The deploy stage that made it.
    pub task: Option<TaskKey>,
    pub requests: u64,
    pub errors: u64,
    pub reason: String,
}

/// Where a revision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevisionState {
    /// Its replicas are placed, prepared and started.
    Starting,
    /// Gets a share of the traffic and is judged.
    Canary,
    /// Gets all traffic.
    Serving,
    /// Replaced, its replicas kept for a rollback.
    Warm,
    /// Replaced, its replicas stopped.
    Retired,
    RolledBack,
    Failed,
}

impl RevisionState {
    /// Whether it is on its way to serving.
    pub fn is_rolling(self) -> bool {
        matches!(self, Self::Starting | Self::Canary)
    }
    /// Whether its replicas should live.
    pub fn wants_replicas(self) -> bool {
        matches!(self, Self::Starting | Self::Canary | Self::Serving | Self::Warm)
    }
    /// Whether it has all the traffic, or had it until it was replaced.
    pub fn has_served(self) -> bool {
        matches!(self, Self::Serving | Self::Warm | Self::Retired)
    }
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Canary => "canary",
            Self::Serving => "serving",
            Self::Warm => "warm",
            Self::Retired => "retired",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }
}
