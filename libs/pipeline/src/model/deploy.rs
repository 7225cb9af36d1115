//! A deployment: what serves a model, when it is ready, and how traffic moves to it.

use runyard_types::{DeploymentName, DurationMs};
use serde::{Deserialize, Serialize};

use crate::model::ModelRef;

/// A served model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    pub name: DeploymentName,
    pub model: ModelRef,
    /// The command; it listens on `$HOST:$PORT`.
    pub run: String,
    pub ready: Ready,
    pub replicas: u32,
    /// Absent where all traffic moves at once.
    #[serde(default)]
    pub canary: Option<Canary>,
    #[serde(default)]
    pub protocol: Protocol,
    /// How long requests and streams in flight may take to end.
    pub drain: DurationMs,
    /// How long the old revision stays warm after the new one has all traffic.
    pub keep_warm: DurationMs,
}

/// When a replica may get traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The path that answers 2xx when the server is ready.
    pub path: String,
    /// From start to ready.
    pub within: DurationMs,
    /// A file of the snapshot with requests that must be answered as expected before any traffic.
    #[serde(default)]
    pub warm_up: Option<String>,
}

/// The part of the traffic that a new revision is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// In thousandths, 1 to 999.
    pub weight_permille: u16,
    /// How long it is watched at that weight.
    pub hold: DurationMs,
}

/// What the gateway speaks with the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Http,
}
