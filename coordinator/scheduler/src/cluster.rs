//! The snapshot of the fleet that a pass reads.

use std::collections::BTreeMap;

use runyard_types::{ByteSize, CpuMilli, NodeName};

/// The network of a node that names none.
pub const DEFAULT_NETWORK: &str = "default";

/// All nodes that the state knows, whatever their condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    pub nodes: BTreeMap<NodeName, Node>,
}

/// Whether new work may be put on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Availability {
    #[default]
    Open,
    /// An operator closed it; the text is the operator's reason, possibly empty.
    Cordoned(String),
    /// It takes nothing new and is being emptied.
    Draining(String),
    /// Silent for a while; its attempts are unknown.
    Unreachable,
    /// Silent for so long that its attempts may be placed again elsewhere.
    Lost,
    /// Back after a silence; its devices wait until it has reconciled.
    Reconciling,
}

/// A host with an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub cpu: CpuMilli,
    pub memory: ByteSize,
    /// Held by workers not yet released; may exceed `cpu` where the inventory shrank.
    pub cpu_used: CpuMilli,
    pub memory_used: ByteSize,
    pub devices: Vec<Device>,
    pub availability: Availability,
    /// The network labels over which it reaches its neighbours; [`DEFAULT_NETWORK`] if empty.
    pub networks: Vec<String>,
}

/// A GPU, given to one worker at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    pub uuid: String,
    pub model: String,
    pub memory: ByteSize,
    /// The worker or attempt that has it until its release; `None` if free.
    pub holder: Option<String>,
    /// Why it is not offered although nobody of ours has it: unhealthy, wedged, a foreign process.
    pub withheld: Option<String>,
}

impl Device {
    /// May be given to a worker now.
    pub fn is_free(&self) -> bool {
        self.holder.is_none() && self.withheld.is_none()
    }
}
