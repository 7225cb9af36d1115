//! A cluster that runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::builder::chain;
use crate::{Builder, Said, cluster, wait_for};

/// How long nodes may take to reach a state.
const NODES: Duration = Duration::from_secs(30);
/// What workers get between TERM and KILL when a test is over.
const GRACE: Duration = Duration::from_secs(1);

/// Real processes, stopped when this is dropped. Of a test that panics, the directory is kept.
#[derive(Debug)]
pub struct Cluster {
    inner: cluster::Cluster,
    dir: Option<TempDir>,
    binary: PathBuf,
}

impl Cluster {
    /// A cluster of this binary.
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder::new(binary.into())
    }

    pub(crate) fn new(inner: cluster::Cluster, dir: TempDir, binary: PathBuf) -> Self {
        Self { inner, dir: Some(dir), binary }
    }

    pub(crate) fn start_all(&mut self) {
        if let Err(error) = self.inner.start() {
            panic!("the cluster does not start: {}", chain(&error));
        }
    }

    /// A folder of the test's own, which goes with the cluster.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.root().join(name);
        fs_err::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// The folder in which everything of this cluster lies.
    pub fn root(&self) -> &Path {
        self.dir.as_ref().expect("it is there until the drop").path()
    }

    /// Where the coordinator answers, `host:port`.
    pub fn address(&self) -> String {
        self.inner.address()
    }

    /// Where the gateway answers.
    pub fn gateway(&self) -> Option<std::net::SocketAddr> {
        self.inner.gateway()
    }

    /// The coordinator's own directory.
    pub fn coordinator_dir(&self) -> PathBuf {
        self.inner.layout().coordinator()
    }

    /// A node's own directory.
    pub fn agent_dir(&self, node: &str) -> PathBuf {
        self.inner.layout().agent(node)
    }

    /// The number of a process that lives.
    pub fn pid(&mut self, name: &str) -> Option<i32> {
        self.inner.pid(name)
    }

    /// Kills a process with -9; it stays down until [`Cluster::start`].
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self, name: &str) {
        self.inner.kill(name).unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// Starts a process that is down, and waits until it serves.
    ///
    /// # Panics
    /// When it does not start; the end of its log is in the message.
    #[track_caller]
    pub fn start(&mut self, name: &str) {
        self.inner.start_one(name).unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// Kills one shim of a node with -9, if any lives; returns its number.
    pub fn kill_shim(&self, node: &str) -> Option<i32> {
        let shim = self.inner.shims(node).first().copied()?;
        // It held its lock a moment ago.
        let _ = kill(Pid::from_raw(shim), Signal::SIGKILL);
        Some(shim)
    }

    /// How many shims live on a node.
    pub fn shims(&self, node: &str) -> usize {
        self.inner.shims(node).len()
    }

    /// Calls the command line in a folder and waits for it.
    pub fn cli(&self, folder: &Path, args: &[&str]) -> Said {
        let output = self.command(folder, args).output().expect("the binary starts");
        Said::new(format!("runyard {}", args.join(" ")), output)
    }

    /// Calls the command line in a folder, with its output kept for [`Child::wait_with_output`].
    pub fn cli_begun(&self, folder: &Path, args: &[&str]) -> Child {
        let mut command = self.command(folder, args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    }

    fn command(&self, folder: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RUNYARD_") {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(folder).stdin(Stdio::null()).envs(self.inner.client_env());
        // Nothing of the person who runs the tests is read or written.
        command.env("XDG_CONFIG_HOME", self.root().join("config"));
        command.env("XDG_CACHE_HOME", self.root().join("cache"));
        command.env("NO_COLOR", "1");
        command
    }

    /// Waits until so many nodes have a liveness.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_nodes(&self, liveness: &str, count: usize) {
        wait_for(&format!("{count} nodes that are {liveness}"), NODES, || {
            let said = self.cli(self.root(), &["nodes", "ls", "-o", "json"]);
            if said.code != Some(0) {
                return Err(said.to_string());
            }
            let nodes = said.json();
            let items = nodes["items"].as_array().cloned().unwrap_or_default();
            match items.iter().filter(|node| node["liveness"] == liveness).count() {
                found if found == count => Ok(()),
                found => Err(format!("{found} of {}: {nodes}", items.len())),
            }
        });
    }

    /// A run, whole, as JSON; an error while no coordinator answers.
    pub fn run(&self, name: &str) -> Result<serde_json::Value, String> {
        let said = self.cli(self.root(), &["describe", name, "-o", "json"]);
        if said.code == Some(0) { Ok(said.json()) } else { Err(said.to_string()) }
    }

    /// Waits until a run is over, and returns it.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_over(&self, name: &str, patience: Duration) -> serde_json::Value {
        wait_for(&format!("the end of {name}"), patience, || {
            let run = self.run(name)?;
            match run["state"].as_str() {
                Some("succeeded" | "failed" | "error" | "cancelled") => Ok(run),
                _ => Err(run.to_string()),
            }
        })
    }

    /// Stops everything in order, as `dev` does.
    ///
    /// # Panics
    /// When something can't be stopped.
    pub fn stop(&mut self) {
        self.inner.stop(GRACE).unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = self.inner.stop(GRACE);
        if let Err(error) = &stopped {
            eprintln!("warning: {}", chain(error));
        }
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            eprintln!(
                "the cluster's directory, with the logs of its processes: {}",
                dir.keep().display()
            );
        }
    }
}
