//! Hosts with an agent. Liveness, eligibility and health are three separate facts.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::{
    AttemptKey, ByteSize, CpuMilli, Digest, DurationMs, NodeName, TimestampMs, WorkerKey,
};
use serde::{Deserialize, Serialize};

use super::Stop;

/// A host with an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub name: NodeName,
    /// BLAKE3 of its certificate's public key.
    pub fingerprint: Digest,
    pub joined_at: TimestampMs,
    pub liveness: Liveness,
    /// On the elapsed clock: since when it has been in this liveness.
    pub liveness_since: DurationMs,
    pub eligibility: Eligibility,
    /// Why it is not open.
    pub reason: String,
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
    /// Its agent can hold a worker back until the one before it is gone.
    #[serde(default)]
    pub chains: bool,
    /// Workers that hold something of it, and those that wait here for the room of another.
    pub workers: BTreeSet<WorkerKey>,
    /// Who waits for whose room: by the attempt before, the one after it.
    #[serde(default)]
    pub next: BTreeMap<AttemptKey, AttemptKey>,
    pub used: Used,
    /// Workers that it has and nobody knows: kept until an operator stops them, with that wish.
    pub orphans: BTreeMap<WorkerKey, Option<Stop>>,
}

/// What unreleased workers hold that wait for nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub cpu: CpuMilli,
    pub memory: ByteSize,
    /// Holder by device UUID.
    pub devices: BTreeMap<String, WorkerKey>,
}

/// A device of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDevice {
    pub index: u32,
    pub uuid: String,
    pub model: String,
    pub memory: ByteSize,
    pub simulated: bool,
    /// Why it must not be used; `None` if healthy.
    pub unhealthy: Option<String>,
}

/// Whether the agent is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// Joined, never seen.
    Joined,
    Ready,
    Unreachable,
    Lost,
}

impl Liveness {
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Ready => "ready",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
        }
    }
}

/// Whether an operator lets it take work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eligibility {
    Open,
    Cordoned,
    Draining,
}

impl Eligibility {
    /// The word shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
        }
    }
}
