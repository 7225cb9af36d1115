//! `runyard dev`: a coordinator and agents on this host, kept up until Ctrl-C.

pub(crate) mod cluster;
mod local;
pub(crate) mod signals;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use runyard_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, is_over, retry};
use crate::context::{Connection, Env};
use crate::errors::{Context as _, Error, Exit, Kind, Result};
use crate::output::plain;
use cluster::{AgentOptions, COORDINATOR, Change, Cluster, ClusterError, Options};

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long nodes may take to be ready.
const NODES_READY: Duration = Duration::from_secs(20);
/// How long cancelled runs may take to end when `dev` ends.
const RUNS_END: Duration = Duration::from_secs(15);
/// What a worker gets between TERM and KILL when `dev` ends.
const GRACE: Duration = Duration::from_secs(5);

/// Flags of `dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cluster's directory
    #[arg(long, value_name = "DIR", default_value = ".runyard/dev")]
    dir: PathBuf,
    /// The coordinator's port [default: 7443, or a free one where that is taken]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The gateway's port [default: 7480, or a free one where that is taken]
    #[arg(long, value_name = "PORT")]
    gateway_port: Option<u16>,
    /// How many agents
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    agents: u8,
    /// Simulated GPUs of each agent
    #[arg(long, value_name = "N", default_value_t = 2)]
    gpus: u32,
    /// A folder below which `mount:` inputs may lie; may be repeated
    #[arg(long = "mount", value_name = "DIR")]
    mounts: Vec<PathBuf>,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let stop = signals::stop_on_signals()?;
    let options = options(&args, env)?;
    let mut cluster = blocking(move || Cluster::open(options)).await?;
    let (returned, started) = start(cluster).await?;
    cluster = returned;
    let adopted = match started {
        Ok(adopted) => adopted,
        Err(error) => {
            // What did start must not stay behind.
            let (_, stopped) = halt(cluster).await?;
            stopped.unwrap_or_else(|error| env.printer.warn(&format!("warning: {error}")));
            return Err(error.into());
        }
    };
    let outcome = keep(&mut cluster, env, &stop, &adopted).await;
    let client = connect(&cluster, env).await;
    if let Ok((mut kept, client)) = outcome.map(|kept| (kept, client)) {
        env.printer.note("stopping: runs, agents, replicas, coordinator");
        if let Ok(client) = client {
            cancel_runs(&client, env).await;
        }
        std::mem::swap(&mut cluster, &mut kept.0);
        let (_, stopped) = halt(kept.0).await?;
        stopped?;
        env.printer.note("everything is stopped; `runyard dev` goes on from here");
        return Ok(Exit::OK);
    }
    Ok(Exit::OK)
}
