//! Starting the processes, each in a process group of its own, and waiting until they serve.

use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runyard_transport::{CredentialsFile, certificate_from_pem};
use serde::Deserialize;

use super::layout::tail;
use super::watch::Watched;
use super::{AgentOptions, COORDINATOR, Cluster, ClusterError, Process, READY, ports, replace};

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(10);
/// Lines of a log that an error shows.
const TAIL: usize = 15;

/// What `server init -o json` says.
#[derive(Deserialize)]
struct Founded {
    ca_pem: String,
}

/// What a running coordinator says of itself.
#[derive(Deserialize)]
struct Announced {
    pid: i32,
    address: SocketAddr,
}

/// What `token create agent -o json` says.
#[derive(Deserialize)]
struct Created {
    token: String,
}

impl Cluster {
    /// Makes the group.
    pub(super) fn found(&self) -> Result<(), ClusterError> {
        let dir = self.layout.coordinator();
        // What an interrupted founding left has no token yet, and nothing in it was ever used.
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(ClusterError::io("clear", &dir))?;
        }
        let dir_text = dir.display().to_string();
        let said = self.verb(&["server", "init", "--dir", &dir_text, "-o", "json"])?;
        let founded: Founded = read_answer("server init", &said)?;
        replace(&self.layout.ca(), &founded.ca_pem)
    }

    /// Starts a process that does not run, and waits until it serves.
    pub(crate) fn start_one(&mut self, name: &str) -> Result<(), ClusterError> {
        let agent = self.options.agents.iter().find(|agent| agent.name == name).cloned();
        match agent {
            Some(agent) => self.start_agent(&agent),
            None => self.start_coordinator(),
        }
    }

    fn start_coordinator(&mut self) -> Result<(), ClusterError> {
        let mut listen = self.options.listen;
        if self.ports.coordinator != 0 {
            listen.set_port(self.ports.coordinator);
        }
        let dir = self.layout.coordinator();
        let announced = dir.join("address.json");
        // That of a killed one.
        let _ = std::fs::remove_file(&announced);
        let mut command = self.command(COORDINATOR)?;
        command.arg("server").arg("--dir").arg(&dir).arg("--listen").arg(listen.to_string());
        let mut process = self.spawn(COORDINATOR, command)?;
        let pid = process.pid();
        let address = self.wait_for(COORDINATOR, &mut process, || {
            let said: Announced = serde_json::from_slice(&std::fs::read(&announced).ok()?).ok()?;
            (said.pid == pid).then_some(said.address)
        });
        // Kept in any case: what was started is stopped with the rest.
        self.processes.insert(COORDINATOR.to_owned(), Watched::new(process));
        self.ports.coordinator = address?.port();
        self.ports.save(&self.layout.ports())?;
        self.write_credentials()
    }

    /// What clients need, in the file that they read.
    pub(super) fn write_credentials(&self) -> Result<(), ClusterError> {
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(ClusterError::io("read", path));
        let damaged = |path: &Path, why: String| ClusterError::Damaged { path: path.into(), why };
        let (ca, token) = (self.layout.ca(), self.layout.token());
        let credentials = CredentialsFile {
            addresses: vec![self.address()],
            ca: certificate_from_pem(&read(&ca)?).map_err(|e| damaged(&ca, e.to_string()))?,
            token: Some(
                read(&token)?
                    .trim()
                    .parse()
                    .map_err(|_| damaged(&token, "it holds no token".into()))?,
            ),
        };
        let path = self.layout.credentials();
        credentials.save(&path).map_err(|error| {
            ClusterError::io("write", &path)(std::io::Error::other(error.to_string()))
        })
    }

    fn start_agent(&mut self, agent: &AgentOptions) -> Result<(), ClusterError> {
        let dir = self.layout.agent(&agent.name);
        std::fs::create_dir_all(&dir).map_err(ClusterError::io("make the directory", &dir))?;
        let mut command = self.command(&agent.name)?;
        command.arg("agent").arg("--dir").arg(&dir).args(["--node", &agent.name]);
        command.args(["--advertise", "127.0.0.1", "--network", "local"]);
        // Builders and users of an environment lock it: all agents of the host may share the folder.
        command.arg("--environments").arg(&self.options.environments);
        command.arg("--simulate-gpus").arg(agent.simulated_gpus.to_string());
        if let Some(milli) = agent.cpu_milli {
            command.arg("--cpus").arg(format!("{}.{:03}", milli / 1_000, milli % 1_000));
        }
        if let Some(mut gateway) = agent.gateway {
            gateway.set_port(self.gateway_port(agent, gateway)?);
            command.arg("--gateway").arg(gateway.to_string());
        }
        for mount in &agent.mounts {
            command.arg("--mount").arg(mount);
        }
        command.args(&agent.flags);
        if !dir.join("identity.pem").exists() {
            let said = self.verb(&["token", "create", "agent", &agent.name, "-o", "json"])?;
            let created: Created = read_answer("token create", &said)?;
            // By a variable: a command line can be read by everybody on the host.
            command.env("RUNYARD_JOIN", format!("{}@{}", created.token, self.address()));
        }
        let mut process = self.spawn(&agent.name, command)?;
        let identity = dir.join("identity.pem");
        let joined = self.wait_for(&agent.name, &mut process, || identity.exists().then_some(()));
        self.processes.insert(agent.name.clone(), Watched::new(process));
        joined
    }

    /// The gateway's port: what was written, else what was taken the first time.
    fn gateway_port(
        &mut self,
        agent: &AgentOptions,
        wanted: SocketAddr,
    ) -> Result<u16, ClusterError> {
        let known = self.ports.gateways.get(&agent.name).copied();
        let port = match (wanted.port(), known) {
            (0, Some(port)) => port,
            (0, None) => ports::free(wanted.ip())
                .map_err(ClusterError::io("take a port on", Path::new(&wanted.ip().to_string())))?,
            (port, _) => port,
        };
        self.ports.gateways.insert(agent.name.clone(), port);
        self.ports.save(&self.layout.ports())?;
        Ok(port)
    }

    /// The program with a log file for all that it prints.
    fn command(&self, name: &str) -> Result<Command, ClusterError> {
        let path = self.layout.log(name);
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(ClusterError::io("open", &path))
        };
        let mut command = self.bare();
        command.env("RUNYARD_LOG", &self.options.log);
        command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
        // Ctrl-C in a terminal is for the supervisor, which stops the others in order.
        command.process_group(0);
        Ok(command)
    }

    /// The program, with nothing of this process's own settings of Runyard.
    fn bare(&self) -> Command {
        let mut command = Command::new(&self.options.binary);
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("RUNYARD_")) {
            command.env_remove(name);
        }
        command.envs(&self.options.env).current_dir(&self.layout.root);
        command
    }

    fn spawn(&self, name: &str, mut command: Command) -> Result<Process, ClusterError> {
        let child = command.spawn().map_err(ClusterError::io("start", &self.options.binary))?;
        let process = Process::own(child);
        let text = serde_json::to_string(&process.identity).expect("numbers and a name are JSON");
        replace(&self.layout.pid(name), &text)?;
        Ok(process)
    }

    fn wait_for<T>(
        &self,
        name: &str,
        process: &mut Process,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, ClusterError> {
        let give_up = Instant::now() + READY;
        let log = self.layout.log(name);
        loop {
            if let Some(found) = ready() {
                return Ok(found);
            }
            let (name, tail) = (name.to_owned(), || tail(&log, TAIL));
            if let Some(how) = process.ended() {
                return Err(ClusterError::Ended { name, how, tail: tail(), log });
            }
            if Instant::now() >= give_up {
                let seconds = READY.as_secs();
                return Err(ClusterError::Slow { name, seconds, tail: tail(), log });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Runs a verb against the cluster and returns what it printed.
    pub(crate) fn verb(&self, args: &[&str]) -> Result<String, ClusterError> {
        let mut command = self.bare();
        command.args(args).stdin(Stdio::null());
        for (name, value) in self.client_env() {
            command.env(name, value);
        }
        let verb = || args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let done = command.output().map_err(ClusterError::io("start", &self.options.binary))?;
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
            false => {
                let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                Err(ClusterError::Verb { verb: verb(), said })
            }
        }
    }

    /// The variables with which the command line talks to this cluster.
    pub(crate) fn client_env(&self) -> Vec<(&'static str, OsString)> {
        let token = std::fs::read_to_string(self.layout.token()).unwrap_or_default();
        vec![
            ("RUNYARD_ADDRESS", self.address().into()),
            ("RUNYARD_CA", self.layout.ca().into()),
            ("RUNYARD_TOKEN", token.trim().into()),
        ]
    }
}

fn read_answer<'a, T: Deserialize<'a>>(verb: &str, text: &'a str) -> Result<T, ClusterError> {
    serde_json::from_str(text)
        .map_err(|error| ClusterError::Verb { verb: verb.into(), said: error.to_string() })
}
