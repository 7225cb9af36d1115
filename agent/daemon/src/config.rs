//! What an agent is told when it starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use runyard_transport::token::JoinToken;
use runyard_types::{ByteSize, CpuMilli, NodeName};

/// What an agent is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// The agent's own folder: identity, workers, caches. One agent at a time.
    pub state_dir: PathBuf,
    /// Coordinators, as `host:port`. May be empty when the agent has joined before.
    pub addresses: Vec<String>,
    /// Lets the agent in at its first start; not looked at once it has an identity.
    pub join: Option<JoinToken>,
    /// The node's name.
    pub node: NodeName,
    /// This many simulated devices instead of the host's own.
    pub simulated_devices: Option<u32>,
    /// CPU to offer; `None`: all that this process may use.
    pub cpu: Option<CpuMilli>,
    /// Memory to offer; `None`: all of the host's.
    pub memory: Option<ByteSize>,
    /// Labels that stages can ask for.
    pub labels: BTreeMap<String, String>,
    /// Names of networks within which gangs can form.
    pub networks: Vec<String>,
    /// Where other nodes reach this one; `None`: the local address of its way to the coordinators.
    pub address: Option<String>,
    /// Where its gateway listens; `None`: it has none.
    pub gateway: Option<SocketAddr>,
    /// Folders of the host below which `mount:` inputs may lie.
    pub mounts: Vec<PathBuf>,
    /// Bytes that the cache of inputs and code may take, and again as many for Python environments.
    pub cache_bytes: u64,
    /// Where Python environments are kept, which agents of one host may share; `None`: in the agent's folder.
    pub environments: Option<PathBuf>,
    /// The binary that becomes a shim; its `main` calls [`crate::dispatch`] first. `None`: this one.
    pub exe: Option<PathBuf>,
}

impl Config {
    /// A configuration with everything of the host offered, no gateway and a cache of 20 GiB.
    pub fn new(state_dir: PathBuf, addresses: Vec<String>, node: NodeName) -> Self {
        Self {
            state_dir,
            addresses,
            join: None,
            node,
            simulated_devices: None,
            cpu: None,
            memory: None,
            labels: BTreeMap::new(),
            networks: Vec::new(),
            address: None,
            gateway: None,
            mounts: Vec::new(),
            cache_bytes: 20 << 30,
            environments: None,
            exe: None,
        }
    }
}
