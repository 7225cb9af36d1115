//! `runyard dev`: a coordinator and agents on this host, kept up until Ctrl-C.

pub(crate) mod cluster;
pub(crate) mod handle;
mod local;
pub(crate) mod signals;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use runyard_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, is_over, once, retry};
use crate::context::Env;
use crate::errors::{Context as _, Error, Exit, Kind, Result};
use crate::output::plain;
use cluster::{AgentOptions, Change, Options};
use handle::{Handle, nodes_ready};

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long nodes may take to be ready.
const NODES_READY: Duration = Duration::from_secs(20);
/// How long cancelled runs may take to end when `dev` ends.
const RUNS_END: Duration = Duration::from_secs(15);
/// What a worker gets between TERM and KILL when a cluster ends.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

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
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(1..=16))]
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
    let stop = signals::stop_on_signals(false)?;
    let handle = Handle::open(options(&args, env)?).await?;
    let outcome = keep(&handle, &args, env, &stop).await;
    // Whatever went wrong: what was started does not stay behind.
    let stopped = halt(&handle, env).await;
    outcome?;
    stopped?;
    env.printer.note("everything is stopped; the next `runyard dev` here goes on from this state");
    Ok(Exit::OK)
}

/// Starts, tells where everything is, and watches until the signal.
async fn keep(handle: &Handle, args: &Args, env: &Env, stop: &CancellationToken) -> Result<()> {
    let starting = handle.with(cluster::Cluster::start);
    let adopted = tokio::select! {
        adopted = starting => adopted??,
        // What is being started is stopped by the caller, who waits for its turn at the cluster.
        () = stop.cancelled() => return Ok(()),
    };
    let client = handle.client(env).await?;
    let nodes = nodes_ready(&client, usize::from(args.agents), NODES_READY).await?;
    local::write(handle, env).await?;
    tell(handle, &client, env, &nodes, &adopted).await?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
        for change in handle.with(cluster::Cluster::watch).await? {
            env.printer.warn(&match change {
                Change::Died { name, how, pause } => {
                    format!("✗ {name} died ({how}); starting it again in {} ms", pause.as_millis())
                }
                Change::Restarted { name } => format!("✓ {name} runs again"),
                Change::Failed { name, error } => format!("✗ {name} did not start: {error}"),
            });
        }
    }
}

/// Ends runs, then processes.
async fn halt(handle: &Handle, env: &Env) -> Result<()> {
    env.printer.note("\nstopping: runs, agents, replicas, coordinator");
    if let Ok(Ok(client)) = tokio::time::timeout(Duration::from_secs(2), handle.client(env)).await
        && let Err(error) = tokio::time::timeout(RUNS_END, cancel_runs(&client, env))
            .await
            .unwrap_or_else(|_| Err(Error::failed("runs did not end in time; they are killed")))
    {
        env.printer.warn(&format!("warning: {}", error.message()));
    }
    handle.with(|cluster| cluster.stop(GRACE)).await??;
    Ok(())
}

/// Cancels what is under way, and waits for its end.
async fn cancel_runs(client: &Client, env: &Env) -> Result<()> {
    let (_, runs) = tokio::time::timeout(Duration::from_secs(3), client.list(false, 0))
        .await
        .map_err(|_| Error::new(Kind::Unreachable, "the coordinator does not answer"))??;
    for run in runs.iter().filter(|run| !is_over(&run.state)) {
        let request = v1::CancelRequest {
            project: client.project.clone(),
            run: run.name.clone(),
            reason: "`runyard dev` was stopped".into(),
        };
        once(client.runs().cancel(request)).await?;
        env.printer.note(&format!("{}: cancelled", plain(&run.name)));
    }
    for run in runs {
        client.wait(&run.name, None).await?;
    }
    Ok(())
}

async fn tell(
    handle: &Handle,
    client: &Client,
    env: &Env,
    nodes: &[v1::Node],
    adopted: &[String],
) -> Result<()> {
    let status = retry(|| {
        let mut fleet = client.fleet();
        async move { fleet.status(v1::StatusRequest {}).await }
    })
    .await?;
    let (address, gateway, root) = handle
        .with(|cluster| (cluster.address(), cluster.gateway(), cluster.layout().root.clone()))
        .await?;
    let mut text = format!("coordinator  {address}\nstatus page  {}\n", status.page);
    if let Some(gateway) = gateway {
        text.push_str(&format!("gateway      http://{gateway}/DEPLOYMENT/\n"));
    }
    for node in nodes {
        text.push_str(&format!(
            "node         {}: {} CPUs, {} simulated GPUs\n",
            plain(&node.name),
            crate::output::number(node.cpu_milli as f64 / 1_000.0),
            node.devices.len()
        ));
    }
    text.push_str(&format!("directory    {}\n", root.display()));
    if env.printer.structured() {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        env.printer.answer(&serde_json::json!({
            "address": address,
            "page": status.page,
            "gateway": gateway.map(|gateway| gateway.to_string()),
            "nodes": names,
            "directory": root.display().to_string(),
            "adopted": adopted,
        }))?;
    } else {
        env.printer.data(text.as_bytes())?;
    }
    if !adopted.is_empty() {
        env.printer.note(&format!("adopted what was left running: {}", adopted.join(", ")));
    }
    env.printer.note("Ctrl-C stops it all. In another terminal here:");
    env.printer.next("runyard run");
    Ok(())
}

fn options(args: &Args, env: &Env) -> Result<Options> {
    let binary = std::env::current_exe()
        .context(Kind::Failed, || "cannot find this program's own file".into())?;
    let known = args.dir.join("ports.json").exists();
    let mounts = args.mounts.iter().map(|mount| {
        fs_err::canonicalize(mount)
            .context(Kind::NotFound, || format!("--mount: there is no `{}`", mount.display()))
    });
    let mounts = mounts.collect::<Result<Vec<_>>>()?;
    let gateway = local_address(args.gateway_port, 7480, known);
    let agents = agents(args.agents.into(), args.gpus, Some(gateway), &mounts);
    Ok(Options {
        binary,
        dir: args.dir.clone(),
        listen: local_address(args.port, 7443, known),
        agents,
        environments: env.paths.cache.join("envs"),
        log: std::env::var("RUNYARD_LOG").unwrap_or_else(|_| "info".into()),
        env: Default::default(),
    })
}

/// So many agents that share this host's CPUs, the first with the gateway.
pub(crate) fn agents(
    count: u64,
    gpus: u32,
    gateway: Option<SocketAddr>,
    mounts: &[PathBuf],
) -> Vec<AgentOptions> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    (1..=count)
        .map(|number| AgentOptions {
            name: format!("node-{number}"),
            cpu_milli: Some(cpus * 1_000 / count),
            simulated_gpus: gpus,
            gateway: gateway.filter(|_| number == 1),
            mounts: mounts.to_vec(),
            flags: Vec::new(),
        })
        .collect()
}

/// The port asked for; else the one that was taken before; else the usual one; else a free one.
fn local_address(asked: Option<u16>, usual: u16, known: bool) -> SocketAddr {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let port = match asked {
        Some(port) => port,
        None if known => 0,
        None if TcpListener::bind((ip, usual)).is_ok() => usual,
        None => 0,
    };
    SocketAddr::new(ip, port)
}
