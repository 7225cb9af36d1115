//! Registered models, their versions and aliases.

use std::collections::BTreeMap;

use runyard_types::{AliasName, Digest, ModelName, ProjectName, TaskKey, TimestampMs};
use serde::{Deserialize, Serialize};

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    pub project: ProjectName,
    pub name: ModelName,
    /// Version n stands at n - 1; versions are never removed.
    pub versions: Vec<ModelVersion>,
    pub aliases: BTreeMap<AliasName, Alias>,
}

impl Model {
    /// The version of that number.
    pub fn version(&self, number: u64) -> Option<&ModelVersion> {
        self.versions.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }
}

/// An artifact with a number and a lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    pub number: u64,
    pub root: Digest,
    /// The task whose output it is.
    pub task: TaskKey,
    /// The gate that let it pass.
    pub gate: Option<TaskKey>,
    pub gate_record: Option<Digest>,
    pub approver: Option<String>,
    pub created_at: TimestampMs,
    pub status: VersionStatus,
}

/// What became of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionStatus {
    Registered,
    /// Has served all of a deployment's traffic.
    Served,
    RolledBack,
}

impl VersionStatus {
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Served => "served",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// A movable pointer to a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    pub version: u64,
    /// Moves only by its gate, by rollback to a version that served, or by an override with a reason.
    pub protected: bool,
    /// Oldest first.
    pub moves: Vec<AliasMove>,
}

/// One move of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasMove {
    pub version: u64,
    pub at: TimestampMs,
    /// Who or what moved it, in words.
    pub by: String,
    /// A person moved it, rather than a gate or a rollback: what follows the alias is to go with it.
    #[serde(default)]
    pub by_hand: bool,
}
