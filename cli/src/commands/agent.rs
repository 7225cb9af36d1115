//! `runyard agent`: this host's devices, offered to a group.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use runyard_daemon::{AgentError, Config};
use runyard_transport::token::JoinToken;
use runyard_types::{ByteSize, CpuMilli, NodeName};

use super::dev::signals;
use super::server::state_dir;
use crate::context::{Env, split_addresses};
use crate::errors::{Context as _, Error, Exit, Kind, Result};

/// Flags of `agent`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's own directory [default: $XDG_STATE_HOME/runyard/agent]
    #[arg(long, value_name = "DIR", env = "RUNYARD_AGENT_DIR", hide_env_values = true)]
    dir: Option<PathBuf>,
    /// Join a group; needed once (`runyard token create agent`)
    #[arg(long, value_name = "TOKEN@HOST:PORT", env = "RUNYARD_JOIN", hide_env_values = true)]
    join: Option<String>,
    /// The node's name [default: the host's]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Offer so many simulated GPUs in place of the host's own
    #[arg(long, value_name = "N")]
    simulate_gpus: Option<u32>,
    /// CPUs to offer [default: all]
    #[arg(long, value_name = "N", value_parser = cpus)]
    cpus: Option<CpuMilli>,
    /// Memory to offer, e.g. 64GB [default: all]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<ByteSize>,
    /// A label shown with the node; stages cannot ask for it yet; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// A network that it shares with other nodes: a gang forms within one, and stages name it by
    /// `network:`; may be repeated [default: one that all nodes without a name share]
    #[arg(long = "network", value_name = "NAME")]
    networks: Vec<String>,
    /// Where other nodes reach this one [default: found from its way to the coordinators]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Answer requests to deployed models here
    #[arg(long, value_name = "IP:PORT")]
    gateway: Option<SocketAddr>,
    /// Folders below which `mount:` inputs may lie; may be repeated
    #[arg(long = "mount", value_name = "DIR")]
    mounts: Vec<PathBuf>,
    /// How much the cache of code and inputs may take, and again as much for Python environments
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "20GiB")]
    cache: ByteSize,
    /// Where Python environments are kept; agents of one host may share it [default: in the agent's directory]
    #[arg(long, value_name = "DIR", env = "RUNYARD_ENVIRONMENTS", hide_env_values = true)]
    environments: Option<PathBuf>,
}

fn cpus(text: &str) -> Result<CpuMilli, String> {
    CpuMilli::parse(text).map_err(|error| error.to_string())
}

fn size(text: &str) -> Result<ByteSize, String> {
    ByteSize::parse(text).map_err(|error| error.to_string())
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, _env: &Env) -> Result<Exit> {
    // Its workers are not its children: they go on whatever becomes of it.
    let stop = signals::stop_on_signals(true)?;
    let config = config(args)?;
    runyard_daemon::run(config, stop).await.map_err(explain)?;
    Ok(Exit::OK)
}

fn config(args: Args) -> Result<Config> {
    let dir = match args.dir {
        Some(dir) => dir,
        None => state_dir("agent")?,
    };
    let name = match args.node {
        Some(name) => name,
        None => host_name()?,
    };
    let node = NodeName::new(&name).map_err(|error| {
        Error::usage(format!("--node: {error}")).help("give a name with --node NAME")
    })?;
    let (join, addresses) = match &args.join {
        Some(text) => {
            let (token, addresses) = split_join(text)?;
            (Some(token), addresses)
        }
        None => (None, Vec::new()),
    };
    for mount in &args.mounts {
        if !mount.is_absolute() {
            return Err(Error::usage(format!("--mount {}: the path is relative", mount.display()))
                .help("name a folder of this host from its root"));
        }
    }
    let mut config = Config::new(dir, addresses, node);
    config.join = join;
    config.simulated_devices = args.simulate_gpus;
    config.cpu = args.cpus;
    config.memory = args.memory;
    config.labels = labels(&args.labels)?;
    config.networks = args.networks;
    config.address = args.advertise;
    config.gateway = args.gateway;
    config.mounts = args.mounts;
    config.cache_bytes = args.cache.get();
    config.environments = args.environments;
    Ok(config)
}

/// `TOKEN@HOST:PORT[,HOST:PORT]`; an error does not show the token.
fn split_join(text: &str) -> Result<(JoinToken, Vec<String>)> {
    let help = "write TOKEN@HOST:PORT with a token of `runyard token create agent`";
    let (token, addresses) = text
        .trim()
        .split_once('@')
        .ok_or_else(|| Error::usage("--join has no address").help(help))?;
    let token: JoinToken = token
        .parse()
        .context(Kind::Usage, || "--join has no join token".into())
        .map_err(|e| e.help(help))?;
    Ok((token, split_addresses(addresses)?))
}

fn labels(given: &[String]) -> Result<BTreeMap<String, String>> {
    let pairs =
        given.iter().map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Error::usage(format!("--label {text} has no value"))
                .help("write --label KEY=VALUE")),
        });
    pairs.collect()
}

/// The host's name up to its first dot, in lower case.
fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname()
        .context(Kind::Failed, || "this host's name is unknown".into())
        .map_err(|error| error.help("give one with --node NAME"))?;
    let name = name.to_string_lossy().to_lowercase();
    Ok(name.split('.').next().unwrap_or_default().to_owned())
}

fn explain(error: AgentError) -> Error {
    let (kind, help) = match &error {
        AgentError::Locked(_) => (Kind::Conflict, "--dir DIR names another directory"),
        AgentError::Io { .. } => {
            (Kind::Failed, "the directory must be writable by this user; --dir names another")
        }
        AgentError::NotJoined => {
            (Kind::Auth, "an admin makes one with `runyard token create agent`")
        }
        AgentError::Refused(_) => (
            Kind::Auth,
            "a join token is good once and for a short time; make a new one with `runyard token create agent`",
        ),
        AgentError::Gateway(_) => (Kind::Conflict, "--gateway IP:PORT names another address"),
        AgentError::Dial(_) => {
            (Kind::Unreachable, "is the coordinator running, and the address right?")
        }
        _ => (Kind::Failed, "`runyard doctor` checks this host"),
    };
    Error::new(kind, error.to_string()).because(error).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_text_is_a_token_and_addresses_and_never_shown() {
        let secret = "5a".repeat(20);
        let token = format!("ry1.{}.0123456789abcdef.{secret}", "00".repeat(32));
        for bad in [token.clone(), format!("{}@h:1", &token[1..]), format!("{token}@nowhere")] {
            let error = split_join(&bad).expect_err("is refused").render();
            assert!(!error.contains(&secret), "{error}");
        }
        if let Ok(parsed) = token.parse::<JoinToken>() {
            let (read, addresses) = split_join(&format!("{token}@a:7443,b:7443")).expect("reads");
            assert_eq!(read.hash(), parsed.hash());
            assert_eq!(addresses, ["a:7443", "b:7443"]);
        } else {
            panic!("the token of this test is none: {token}");
        }
    }

    #[test]
    fn labels_have_a_key_and_a_value() {
        let read = labels(&["a=b".into(), "c=".into()]).expect("reads");
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("a".into(), "b".into()), ("c".into(), String::new())]
        );
        assert!(labels(&["=x".into()]).is_err() && labels(&["x".into()]).is_err());
    }
}
