//! What kind of cluster a test wants.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::Cluster;
use crate::cluster::{self, AgentOptions, Options};

/// A cluster that is not started yet.
#[derive(Debug, Clone)]
pub struct Builder {
    binary: PathBuf,
    agents: u32,
    gpus: u32,
    cpu_milli: u64,
    gateway: bool,
    mounts: Vec<PathBuf>,
    /// Outside /tmp, and kept from test to test.
    lasting: Option<PathBuf>,
}

impl Builder {
    pub(crate) fn new(binary: PathBuf) -> Self {
        Self {
            binary,
            agents: 2,
            gpus: 2,
            cpu_milli: 2_000,
            gateway: false,
            mounts: Vec::new(),
            lasting: None,
        }
    }
    /// So many agents, `node-1` and on; two by default.
    pub fn agents(self, agents: u32) -> Self {
        Self { agents, ..self }
    }
    /// So many simulated GPUs on each; two by default.
    pub fn gpus(self, gpus: u32) -> Self {
        Self { gpus, ..self }
    }
    /// So many thousandths of a CPU offered by each, whatever the host has; 2,000 by default.
    pub fn cpu_milli(self, cpu_milli: u64) -> Self {
        Self { cpu_milli, ..self }
    }
    /// Lets the first agent run the gateway.
    pub fn gateway(self) -> Self {
        Self { gateway: true, ..self }
    }
    /// Allows a folder of the host as a `mount:`.
    pub fn mount(mut self, folder: impl Into<PathBuf>) -> Self {
        self.mounts.push(folder.into());
        self
    }

    /// Builds Python environments below a folder that outlives the test, so that the suite builds each
    /// once; the cluster lies there, too.
    pub fn environments_in(self, folder: impl Into<PathBuf>) -> Self {
        Self { lasting: Some(folder.into()), ..self }
    }

    /// Starts it, and waits until all nodes are ready.
    ///
    /// # Panics
    /// When it does not start; the end of the logs is in the message.
    pub fn start(self) -> Cluster {
        let mut dir = tempfile::Builder::new();
        let dir = match &self.lasting {
            Some(folder) => dir.prefix("cluster-").tempdir_in(folder),
            None => dir.prefix("runyard-test-").tempdir(),
        };
        let dir = dir.expect("a temporary folder");
        let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let agents = (1..=self.agents).map(|number| AgentOptions {
            name: format!("node-{number}"),
            cpu_milli: Some(self.cpu_milli),
            simulated_gpus: self.gpus,
            gateway: (self.gateway && number == 1).then_some(any_port),
            mounts: self.mounts.clone(),
            flags: Vec::new(),
        });
        let options = Options {
            binary: self.binary.clone(),
            dir: dir.path().join("cluster"),
            listen: any_port,
            agents: agents.collect(),
            // Where the demo keeps them, too.
            environments: match self.lasting {
                Some(folder) => folder.join("cache/runyard/envs"),
                None => dir.path().join("envs"),
            },
            log: "info".into(),
            env: Default::default(),
        };
        let inner =
            cluster::Cluster::open(options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        let mut cluster = Cluster::new(inner, dir, self.binary);
        cluster.start_all();
        cluster.wait_nodes("ready", self.agents as usize);
        cluster
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
