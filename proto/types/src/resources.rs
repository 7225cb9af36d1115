//! What a worker asks for.

use serde::{Deserialize, Serialize};

use crate::{ByteSize, CpuMilli};

/// Bounds on a device's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemory {
    pub min: Option<ByteSize>,
    pub max: Option<ByteSize>,
}

/// Whole devices wanted by each worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuRequest {
    /// Devices per node; zero where the worker needs none.
    pub count: u32,
    /// Models that will do, compared without case as a part of the device's model name; any if empty.
    #[serde(default)]
    pub models: Vec<String>,
    #[serde(default)]
    pub memory: DeviceMemory,
}

/// What each worker of a task is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub gpu: GpuRequest,
    pub cpu: CpuMilli,
    pub memory: ByteSize,
}

impl Default for Resources {
    /// One CPU and no promise of memory.
    fn default() -> Self {
        Self { gpu: GpuRequest::default(), cpu: CpuMilli(1_000), memory: ByteSize::ZERO }
    }
}

/// How the processes of a gang are started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Launch {
    /// One process a node.
    #[default]
    None,
    /// One process a device, with torch's variables.
    PerGpu,
}
