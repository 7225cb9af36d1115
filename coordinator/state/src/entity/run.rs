//! Runs and how far their stages are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use runyard_pipeline::Pipeline;
use runyard_types::{Digest, ProjectName, RunName, StageName, TimestampMs, Uid};
use serde::{Deserialize, Serialize};

use super::TaskState;

/// Where a run's code came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitInfo {
    pub commit: String,
    pub branch: String,
    pub author: String,
    pub subject: String,
    pub dirty: bool,
    /// Without credentials.
    pub remote: String,
    /// A tag of the commit itself; empty without one.
    #[serde(default)]
    pub tag: String,
}

/// One execution of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub project: ProjectName,
    pub name: RunName,
    pub uid: Uid,
    pub principal: String,
    pub created_at: TimestampMs,
    pub started_at: Option<TimestampMs>,
    pub ended_at: Option<TimestampMs>,
    pub state: RunState,
    pub git: GitInfo,
    pub params: BTreeMap<String, String>,
    pub code_root: Option<Digest>,
    /// Roots of the `file:` inputs by their path.
    pub files: BTreeMap<String, Digest>,
    /// Shared by all copies of the run: a run's definition never changes.
    pub pipeline: Arc<Pipeline>,
    pub no_cache: bool,
    pub priority: i32,
    pub stages: BTreeMap<StageName, StageProgress>,
    pub cancelled: Option<String>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Error,
    Cancelled,
}

impl RunState {
    /// Whether nothing of the run can change any more, short of a retry.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How many of a stage's tasks are in each state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageProgress {
    pub waiting: u32,
    pub queued: u32,
    pub active: u32,
    pub succeeded: u32,
    pub failed: u32,
    pub error: u32,
    pub cancelled: u32,
    pub skipped: u32,
    /// A stage that a gate asked for; its result does not decide the run's.
    #[serde(default)]
    pub auxiliary: bool,
    /// How long the last attempts with a result had their room, in ms; the newest last.
    #[serde(default)]
    pub took_ms: VecDeque<u64>,
}

/// Durations kept for a stage.
const TOOK_MAX: usize = 4;

impl StageProgress {
    /// Notes how long an attempt with a result had its room.
    pub(crate) fn took(&mut self, ms: u64) {
        self.took_ms.push_back(ms);
        while self.took_ms.len() > TOOK_MAX {
            self.took_ms.pop_front();
        }
    }
    /// Whether what it did of late never took longer than `ms`.
    pub fn is_shorter_than(&self, ms: u64) -> bool {
        !self.took_ms.is_empty() && self.took_ms.iter().all(|took| *took < ms)
    }
    pub(crate) fn slot(&mut self, state: TaskState) -> &mut u32 {
        match state {
            TaskState::Waiting => &mut self.waiting,
            TaskState::Queued => &mut self.queued,
            TaskState::Active => &mut self.active,
            TaskState::Succeeded => &mut self.succeeded,
            TaskState::Failed => &mut self.failed,
            TaskState::Error => &mut self.error,
            TaskState::Cancelled => &mut self.cancelled,
            TaskState::Skipped => &mut self.skipped,
        }
    }
    /// All tasks.
    pub fn total(&self) -> u32 {
        self.open() + self.succeeded + self.failed + self.error + self.cancelled + self.skipped
    }
    /// Tasks that are not at their end.
    pub fn open(&self) -> u32 {
        self.waiting + self.queued + self.active
    }
    /// Whether every task is at its end.
    pub fn is_final(&self) -> bool {
        self.open() == 0
    }
    /// Whether the stage counts as good for those that need it.
    pub fn is_success(&self) -> bool {
        self.is_final() && self.failed + self.error + self.cancelled + self.skipped == 0
    }
    /// The state of the stage as a whole, in the words of its tasks.
    pub fn state(&self) -> TaskState {
        if self.active > 0 {
            TaskState::Active
        } else if self.queued > 0 {
            TaskState::Queued
        } else if self.waiting > 0 {
            if self.succeeded + self.failed + self.error > 0 {
                TaskState::Active
            } else {
                TaskState::Waiting
            }
        } else if self.failed > 0 {
            TaskState::Failed
        } else if self.error > 0 {
            TaskState::Error
        } else if self.cancelled > 0 {
            TaskState::Cancelled
        } else if self.succeeded > 0 {
            TaskState::Succeeded
        } else {
            TaskState::Skipped
        }
    }
}
