//! A real cluster: a coordinator and agents, each a process of the program that is measured.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runyard_transport::token::UserToken;
use runyard_transport::{Trust, certificate_from_pem};
use serde_json::Value;

use crate::Failure;
use crate::args::Args;
use crate::client::Client;
use crate::processes;

/// How long a process may take until it serves.
const READY: Duration = Duration::from_secs(30);

/// A running cluster; it is killed, with all that it started, when dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Removed last, unless it is to be kept.
    dir: Option<tempfile::TempDir>,
    root: PathBuf,
    runyard: PathBuf,
    pub(crate) server: Child,
    pub(crate) agents: Vec<Child>,
    pub(crate) address: String,
    token: String,
}

impl Cluster {
    /// A cluster with `agents` nodes, each offering `cpus`; `log` is the filter of the programs' own logs.
    pub(crate) async fn start(
        args: &Args,
        agents: usize,
        cpus: usize,
        log: &str,
    ) -> Result<Self, Failure> {
        let runyard = program(args)?;
        let dir = folder(args)?;
        let root = dir.path().to_path_buf();
        let (dir, kept) = if args.keep { (None, Some(dir.keep())) } else { (Some(dir), None) };
        if let Some(kept) = kept {
            println!("   kept: {}", kept.display());
        }
        init(&runyard, &root)?;
        let (server, address) = serve(&runyard, &root, log)?;
        let token = std::fs::read_to_string(root.join("server/admin.token"))?.trim().to_owned();
        let mut cluster = Self { dir, root, runyard, server, agents: Vec::new(), address, token };
        for n in 0..agents {
            let child = cluster.agent(&format!("node-{n}"), cpus, log)?;
            cluster.agents.push(child);
        }
        cluster.wait_for_nodes(agents).await?;
        Ok(cluster)
    }

    /// A client that has connected.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let ca = certificate_from_pem(&std::fs::read_to_string(self.root.join("ca.pem"))?)?;
        let token: UserToken =
            self.token.parse().map_err(|_| "the admin's token cannot be read")?;
        Client::connect(&self.address, Trust::Ca(ca), &token).await
    }

    /// The folder of an agent.
    pub(crate) fn agent_dir(&self, n: usize) -> PathBuf {
        self.root.join(format!("node-{n}"))
    }

    /// What a process of the cluster said: `server`, `node-0`, ….
    pub(crate) fn log(&self, name: &str) -> Result<String, Failure> {
        Ok(std::fs::read_to_string(self.root.join(format!("{name}.log")))?)
    }

    /// A folder for the files that payloads leave.
    pub(crate) fn marks(&self) -> Result<PathBuf, Failure> {
        let marks = self.root.join("marks");
        std::fs::create_dir_all(&marks)?;
        Ok(marks)
    }

    fn agent(&self, name: &str, cpus: usize, log: &str) -> Result<Child, Failure> {
        let said = Command::new(&self.runyard)
            .args(["token", "create", "agent", name, "-o", "json"])
            .env("RUNYARD_ADDRESS", &self.address)
            .env("RUNYARD_CA", self.root.join("ca.pem"))
            .env("RUNYARD_TOKEN", &self.token)
            .output()?;
        let created: Value = answer("token create", &said)?;
        let token = created["token"].as_str().ok_or("`token create` said no token")?;
        let mut command = Command::new(&self.runyard);
        command
            .arg("agent")
            .arg("--dir")
            .arg(self.root.join(name))
            .args(["--node", name, "--advertise", "127.0.0.1", "--simulate-gpus", "0"])
            .args(["--cpus", &cpus.to_string()])
            .env("RUNYARD_JOIN", format!("{token}@{}", self.address));
        daemon(command, &self.root.join(format!("{name}.log")), log)
    }

    async fn wait_for_nodes(&self, count: usize) -> Result<(), Failure> {
        let client = self.client().await?;
        let give_up = Instant::now() + READY;
        loop {
            let ready = client.ready_nodes().await?;
            if ready >= count {
                return Ok(());
            }
            if Instant::now() > give_up {
                return Err(format!("{ready} of {count} nodes are ready after {READY:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.agents.iter_mut().chain([&mut self.server]) {
            // One that has ended already is as it should be.
            let _ = child.kill();
            let _ = child.wait();
        }
        // Workers outlive their agents by design. A path that only this cluster has names them.
        let mut left = processes::shims(&self.root);
        left.extend(processes::with_argument(&self.root.display().to_string()));
        for pid in left.into_iter().filter(|pid| *pid != std::process::id()) {
            if let Ok(pid) = i32::try_from(pid) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
        drop(self.dir.take());
    }
}

/// The program to measure, whole and from its root.
pub(crate) fn program(args: &Args) -> Result<PathBuf, Failure> {
    args.runyard.canonicalize().map_err(|error| {
        let path = args.runyard.display();
        format!("{path}: {error}; build it with `cargo build --release -p runyard`, or name one with --runyard").into()
    })
}

/// A fresh folder on the disk that is measured.
///
/// Not below /tmp unless it was named: a stage has a /tmp of its own, and would not see its mark there.
pub(crate) fn folder(args: &Args) -> Result<tempfile::TempDir, Failure> {
    let beside =
        || program(args)?.parent().map(Path::to_path_buf).ok_or_else(|| "no folder".into());
    let base = args.dir.clone().map_or_else(beside, Ok::<_, Failure>)?;
    Ok(tempfile::Builder::new().prefix("runyard-bench-").tempdir_in(base.canonicalize()?)?)
}

/// Makes a group in `root/server`, and writes its CA beside it.
pub(crate) fn init(runyard: &Path, root: &Path) -> Result<(), Failure> {
    let said = Command::new(runyard)
        .args(["server", "init", "-o", "json", "--dir"])
        .arg(root.join("server"))
        .output()?;
    let founded = answer("server init", &said)?;
    let ca = founded["ca_pem"].as_str().ok_or("`server init` said no ca_pem")?;
    Ok(std::fs::write(root.join("ca.pem"), ca)?)
}

/// Starts the coordinator of `root/server`, and waits until it says where it listens.
pub(crate) fn serve(runyard: &Path, root: &Path, log: &str) -> Result<(Child, String), Failure> {
    let announced = root.join("server/address.json");
    let _ = std::fs::remove_file(&announced);
    let mut command = Command::new(runyard);
    command.arg("server").arg("--dir").arg(root.join("server")).args(["--listen", "127.0.0.1:0"]);
    let path = root.join("server.log");
    let mut child = daemon(command, &path, log)?;
    let give_up = Instant::now() + READY;
    loop {
        let text = std::fs::read_to_string(&announced).unwrap_or_default();
        if let Ok(said) = serde_json::from_str::<Value>(&text)
            && let Some(address) = said["address"].as_str()
        {
            return Ok((child, address.to_owned()));
        }
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() > give_up {
            let _ = child.kill();
            let log = std::fs::read_to_string(path).unwrap_or_default();
            return Err(format!("the coordinator does not serve ({ended:?}): {log}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn daemon(mut command: Command, path: &Path, log: &str) -> Result<Child, Failure> {
    let file = std::fs::File::options().create(true).append(true).open(path)?;
    command.env("RUNYARD_LOG", log).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(command.spawn()?)
}

fn answer(verb: &str, said: &std::process::Output) -> Result<Value, Failure> {
    if !said.status.success() {
        return Err(format!("`{verb}`: {}", String::from_utf8_lossy(&said.stderr).trim()).into());
    }
    Ok(serde_json::from_slice(&said.stdout)?)
}
