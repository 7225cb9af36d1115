//! How attempts end.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, DurationMs, TimestampMs};

/// Who is answerable for an attempt that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The user's code: exit status, out of memory, time limit, a missing output.
    Failure,
    /// The machine or Runyard: node lost, device fault, disk, shim.
    Error,
    /// A person or a policy stopped it.
    Cancelled,
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    /// Did not succeed; `reason` is one sentence for people.
    Ended {
        cause: Cause,
        reason: String,
    },
}

/// What a worker's shim saw at the end of its stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// Exit status, absent when a signal ended the process.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The kernel killed it for its memory.
    pub oom: bool,
    pub memory_peak: ByteSize,
    /// CPU time, user and system.
    pub cpu: DurationMs,
    pub started_at: TimestampMs,
    pub ended_at: TimestampMs,
    /// Bytes of output that the worker wrote.
    pub log_end: u64,
}
