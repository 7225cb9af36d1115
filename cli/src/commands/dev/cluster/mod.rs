//! A small cluster of processes of one binary: started, watched, killed, adopted and stopped.
//!
//! `dev` and `demo` use it, and so does the tests' harness (which includes this folder by its path),
//! so that tests exercise the supervisor that people run. It knows the binary by its command line
//! and files only.

mod error;
mod layout;
mod ports;
mod process;
mod start;
mod watch;
mod workers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

pub(crate) use error::ClusterError;
pub(crate) use layout::Layout;
pub(crate) use process::Process;
pub(crate) use watch::Change;

use ports::Ports;

/// The coordinator's name among the processes.
pub(crate) const COORDINATOR: &str = "coordinator";

/// How long a process may take to get ready.
const READY: Duration = Duration::from_secs(30);
/// How long a process may take to end in order.
const END: Duration = Duration::from_secs(8);
/// How long the kernel may take to end a killed one.
const KILLED: Duration = Duration::from_secs(10);

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The program.
    pub(crate) binary: PathBuf,
    /// The cluster's directory.
    pub(crate) dir: PathBuf,
    /// The coordinator's address; port 0 takes a free one, which stays the same from then on.
    pub(crate) listen: SocketAddr,
    pub(crate) agents: Vec<AgentOptions>,
    /// Where Python environments are kept, shared with other clusters of this user.
    pub(crate) environments: PathBuf,
    /// The log filter of the processes.
    pub(crate) log: String,
    /// Variables that the processes get besides this process's own.
    pub(crate) env: BTreeMap<String, String>,
}

/// One agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentOptions {
    /// The node's name.
    pub(crate) name: String,
    /// Thousandths of a CPU to offer; `None`: all.
    pub(crate) cpu_milli: Option<u64>,
    pub(crate) simulated_gpus: u32,
    /// Whether it runs the gateway, and where; port 0 takes a free one, which stays the same.
    pub(crate) gateway: Option<SocketAddr>,
    /// Folders below which `mount:` inputs may lie.
    pub(crate) mounts: Vec<PathBuf>,
    /// Further flags.
    pub(crate) flags: Vec<String>,
}

/// The processes, and the right to manage them.
#[derive(Debug)]
pub(crate) struct Cluster {
    options: Options,
    layout: Layout,
    ports: Ports,
    /// By name; what is here should run.
    processes: BTreeMap<String, watch::Watched>,
    _lock: Flock<std::fs::File>,
}

impl Cluster {
    /// Takes the directory, makes a group in it if there is none, and adopts what lives of it.
    pub(crate) fn open(options: Options) -> Result<Self, ClusterError> {
        let io = ClusterError::io;
        std::fs::create_dir_all(&options.dir).map_err(io("make the directory", &options.dir))?;
        let root = options.dir.canonicalize().map_err(io("open", &options.dir))?;
        let layout = Layout { root };
        let lock = lock(&layout)?;
        for folder in ["logs", "pids", "agents"].map(|name| layout.root.join(name)) {
            std::fs::create_dir_all(&folder).map_err(io("make the directory", &folder))?;
        }
        let ports = Ports::load(&layout.ports())?;
        let mut cluster = Self { options, layout, ports, processes: BTreeMap::new(), _lock: lock };
        if !cluster.layout.token().exists() {
            cluster.found()?;
        }
        for name in cluster.names() {
            if let Some(process) = Process::adopt(&cluster.layout.pid(&name)) {
                cluster.processes.insert(name, watch::Watched::new(process));
            }
        }
        Ok(cluster)
    }

    /// Starts what does not run: the coordinator, then the agents. Returns what was found running.
    pub(crate) fn start(&mut self) -> Result<Vec<String>, ClusterError> {
        let adopted: Vec<String> = self.processes.keys().cloned().collect();
        for name in self.names() {
            if !self.processes.contains_key(&name) {
                self.start_one(&name)?;
            }
        }
        if adopted.iter().any(|name| name == COORDINATOR) {
            self.write_credentials()?;
        }
        Ok(adopted)
    }

    /// The names of all processes, in the order of their start.
    pub(crate) fn names(&self) -> Vec<String> {
        let agents = self.options.agents.iter().map(|agent| agent.name.clone());
        std::iter::once(COORDINATOR.to_owned()).chain(agents).collect()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the coordinator answers.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.options.listen.ip(), self.ports.coordinator)
    }

    /// Where the gateway answers, if there is one.
    pub(crate) fn gateway(&self) -> Option<SocketAddr> {
        self.options.agents.iter().find_map(|agent| {
            let address = agent.gateway?;
            Some(SocketAddr::new(address.ip(), *self.ports.gateways.get(&agent.name)?))
        })
    }

    /// The process number, while it lives.
    pub(crate) fn pid(&mut self, name: &str) -> Option<i32> {
        let watched = self.processes.get_mut(name)?;
        watched.process.ended().is_none().then(|| watched.process.pid())
    }

    /// Kills a process as a power cut would: nothing is put in order. It stays down until
    /// [`Cluster::start_one`].
    pub(crate) fn kill(&mut self, name: &str) -> Result<Option<i32>, ClusterError> {
        let Some(mut watched) = self.processes.remove(name) else { return Ok(None) };
        let pid = watched.process.pid();
        watched.process.signal(Signal::SIGKILL);
        match watched.process.wait(KILLED) {
            true => Ok(Some(pid)),
            false => Err(ClusterError::Undying { name: name.to_owned(), pid }),
        }
    }

    /// Stops a process in order, and kills it when it takes too long.
    pub(crate) fn terminate(&mut self, name: &str) -> Result<(), ClusterError> {
        if let Some(watched) = self.processes.get_mut(name) {
            watched.process.signal(Signal::SIGTERM);
            watched.process.wait(END);
        }
        self.kill(name)?;
        let _ = std::fs::remove_file(self.layout.pid(name));
        Ok(())
    }

    /// The shims that live on a node.
    #[allow(dead_code, reason = "tests kill them; the supervisor itself has no need to")]
    pub(crate) fn shims(&self, name: &str) -> Vec<i32> {
        workers::living_shims(&self.layout.workers(name))
    }

    /// Stops everything: the agents first, so that nothing new is begun, then what their workers
    /// left running (TERM, after `grace` KILL), then the coordinator. Goes on after an error.
    pub(crate) fn stop(&mut self, grace: Duration) -> Result<(), ClusterError> {
        let mut outcome = Ok(());
        let agents: Vec<String> = self.options.agents.iter().map(|a| a.name.clone()).collect();
        for name in &agents {
            if let Some(watched) = self.processes.get_mut(name) {
                watched.process.signal(Signal::SIGTERM);
            }
        }
        for name in &agents {
            outcome = outcome.and(self.terminate(name));
        }
        let roots: Vec<PathBuf> = agents.iter().map(|name| self.layout.workers(name)).collect();
        workers::stop_all(&roots, grace);
        outcome.and(self.terminate(COORDINATOR))
    }
}

fn lock(layout: &Layout) -> Result<Flock<std::fs::File>, ClusterError> {
    let path = layout.lock();
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(ClusterError::io("open", &path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(ClusterError::Locked(layout.root.clone())),
        Err((_, errno)) => Err(ClusterError::io("lock", &path)(errno.into())),
    }
}

/// Writes a file whole.
fn replace(path: &Path, text: &str) -> Result<(), ClusterError> {
    let aside = path.with_extension("new");
    std::fs::write(&aside, text)
        .and_then(|()| std::fs::rename(&aside, path))
        .map_err(ClusterError::io("write", path))
}
