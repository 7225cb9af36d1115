//! `runyard demo`: the main job from end to end, on a cluster of its own, with real parts only.

mod crash;
mod files;
mod prerequisites;
mod scene;
mod steps;
mod telling;
mod traffic;
mod voice;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runyard_proto::v1;
use tokio_util::sync::CancellationToken;

use super::dev::cluster::{COORDINATOR, Options};
use super::dev::handle::{Handle, nodes_ready};
use super::dev::{agents, signals};
use crate::client::retry;
use crate::context::Env;
use crate::errors::{Context as _, Error, Exit, Kind, Result};
use crate::output::{Cell, Column, Table, number, plain};
use scene::{MODEL, Scene};
use steps::Seen;
use traffic::Asker;
use voice::Voice;

const AGENTS: u64 = 2;
const GPUS: u32 = 2;
/// How long nodes may take to be ready.
const NODES_READY: Duration = Duration::from_secs(20);
/// What a worker gets between TERM and KILL at the end.
const GRACE: Duration = Duration::from_secs(2);

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to put the demo's folder [default: $XDG_CACHE_HOME/runyard/demo]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the cluster running at the end, until Ctrl-C
    #[arg(long)]
    stay: bool,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let stop = signals::stop_on_signals(false)?;
    // Not in /tmp: workers get one of their own, and what it hides could not be shared with them.
    let parent = args.dir.clone().unwrap_or_else(|| env.paths.cache.join("demo"));
    prerequisites::check(&parent, &env.paths.cache).await?;
    if args.dir.is_none() {
        // Never in a folder that others can write to: what lies there says which processes to stop.
        sweep(&parent, env).await;
    }
    let dir = fresh(&parent)?;
    let voice = Voice::new(&env.printer);
    let handle = match Handle::open(options(&dir, env)?).await {
        Ok(handle) => handle,
        Err(error) => {
            let _ = fs_err::remove_dir_all(&dir);
            return Err(error);
        }
    };
    let outcome = tokio::select! {
        // Boxed: the story is long. Dropping it is safe: what it started is stopped below.
        outcome = Box::pin(story(&handle, &dir, env, &voice, &args, &stop)) => outcome,
        () = stop.cancelled() => Err(Error::new(Kind::Interrupted, "interrupted")),
    };
    env.printer.note("stopping what the demo started");
    let stopped = handle.with(|cluster| cluster.stop(GRACE)).await?;
    let interrupted = matches!(&outcome, Err(error) if error.kind == Kind::Interrupted);
    if outcome.is_ok() || interrupted {
        let _ = fs_err::remove_dir_all(&dir);
    }
    stopped?;
    match outcome {
        Ok(()) => Ok(Exit::OK),
        Err(error) if interrupted => {
            env.printer.warn(&format!("{}: nothing is left of the demo", error.message()));
            Ok(Exit::of(Kind::Interrupted))
        }
        Err(error) => Err(error.help(format!(
            "the logs of its processes are in `{}`",
            dir.join("cluster/logs").display()
        ))),
    }
}

/// Stops and removes what demos left that were killed, or that failed and kept their logs. A demo that
/// runs holds its lock, and is passed over; so is what can't be removed, for it hinders nobody.
async fn sweep(parent: &Path, env: &Env) {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    for dir in entries.map(|entry| entry.path()) {
        let ours = dir.join("cluster").join("coordinator").join("admin.token").exists();
        let Ok(options) = options(&dir, env) else { return };
        if !ours {
            continue;
        }
        let Ok(handle) = Handle::open(options).await else { continue };
        if let Ok(Ok(())) = handle.with(|cluster| cluster.stop(GRACE)).await {
            let _ = fs_err::remove_dir_all(&dir);
        }
    }
}

fn fresh(parent: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let name = ulid::Ulid::generate().to_string().to_lowercase();
    let dir = parent.join(name);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .context(Kind::Failed, || format!("cannot make the folder `{}`", dir.display()))?;
    fs_err::canonicalize(&dir).context(Kind::Failed, || "cannot find the demo's own folder".into())
}

fn options(dir: &Path, env: &Env) -> Result<Options> {
    let binary = std::env::current_exe()
        .context(Kind::Failed, || "cannot find this program's own file".into())?;
    let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    Ok(Options {
        binary,
        dir: dir.join("cluster"),
        listen: any_port,
        agents: agents(AGENTS, GPUS, Some(any_port), &[]),
        environments: env.paths.cache.join("envs"),
        log: std::env::var("RUNYARD_LOG").unwrap_or_else(|_| "info".into()),
        env: Default::default(),
    })
}

async fn story(
    handle: &Handle,
    dir: &Path,
    env: &Env,
    voice: &Voice,
    args: &Args,
    stop: &CancellationToken,
) -> Result<()> {
    voice.heading("Runyard: a change to a model is trained, judged, deployed, and rolled back when it misbehaves")?;
    voice.say("Everything below is real: real processes, real training, real statistics, real requests.\nOnly the GPUs are simulated, and say so.")?;
    let file = files::write(dir).await?;
    handle.with(super::dev::cluster::Cluster::start).await??;
    let client = handle.client(env).await?;
    let nodes = nodes_ready(&client, AGENTS as usize, NODES_READY).await?;
    let status = retry(|| {
        let mut fleet = client.fleet();
        async move { fleet.status(v1::StatusRequest {}).await }
    })
    .await?;
    introduce(handle, voice, &nodes, &status).await?;
    let gateway = handle
        .with(|cluster| cluster.gateway())
        .await?
        .ok_or_else(|| Error::new(Kind::Internal, "the demo's cluster has no gateway"))?;
    let asker = Asker::new(gateway, MODEL, files::request()?)?;
    let scene = Scene { env, handle: handle.clone(), client, voice: voice.clone(), asker, file };
    let seen = [
        Box::pin(steps::first(&scene)).await?,
        Box::pin(steps::better(&scene)).await?,
        Box::pin(steps::worse(&scene)).await?,
        Box::pin(steps::broken(&scene)).await?,
    ];
    finish(&scene, &seen, &status.page, args.stay).await?;
    if args.stay {
        voice.say("The cluster stays up until Ctrl-C.")?;
        stop.cancelled().await;
    }
    Ok(())
}

async fn introduce(
    handle: &Handle,
    voice: &Voice,
    nodes: &[v1::Node],
    status: &v1::StatusResponse,
) -> Result<()> {
    let (address, pid) =
        handle.with(|cluster| (cluster.address(), cluster.pid(COORDINATOR))).await?;
    voice.event(
        "ready",
        &format!(
            "coordinator on {address}, process {}, status page {}",
            pid.unwrap_or_default(),
            status.page
        ),
    )?;
    for node in nodes {
        let simulated = node.devices.iter().filter(|device| device.simulated).count();
        let pid = {
            let name = node.name.clone();
            handle.with(move |cluster| cluster.pid(&name)).await?
        };
        voice.event(
            "ready",
            &format!(
                "agent {}, process {}: {} CPUs, {simulated} simulated GPUs",
                plain(&node.name),
                pid.unwrap_or_default(),
                number(node.cpu_milli as f64 / 1_000.0)
            ),
        )?;
    }
    Ok(())
}

async fn finish(scene: &Scene<'_>, seen: &[Seen], page: &str, stay: bool) -> Result<()> {
    let voice = &scene.voice;
    voice.heading("What was seen")?;
    let mut table =
        Table::new([Column::new("STEP"), Column::new("WHAT"), Column::new("CAME OF IT")], "");
    for (number, seen) in seen.iter().enumerate() {
        table.row([
            Cell::new((number + 1).to_string()),
            Cell::new(seen.what),
            Cell::new(&seen.came),
        ]);
    }
    voice.raw(&table.render(&scene.env.printer.look()))?;
    voice.heading("runyard why digits@champion")?;
    let why = scene.handle.with(|cluster| cluster.verb(&["why", "digits@champion"])).await??;
    voice.raw(&why)?;
    voice.heading("Next")?;
    let while_up = if stay { "" } else { "  (while it is up; `runyard demo --stay` keeps it)" };
    voice.raw(&format!(
        "  status page  {page}{while_up}\n  \
         runyard dev       a cluster for pipelines of your own\n  \
         runyard init      writes a runyard.yaml for the repository you are in\n  \
         runyard run       runs it\n"
    ))?;
    voice.raw(&format!("\n{}\n", voice.dim(&format!("The demo took {:.0} s.", voice.seconds()))))
}
