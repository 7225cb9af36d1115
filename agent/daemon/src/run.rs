//! Putting the parts together, and taking them down.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_blobs::Cache;
use runyard_devices::Devices;
use runyard_gateway::{Gateway, Options};
use runyard_runtime::environment::Environments;
use runyard_runtime::{Isolation, Launcher, Spares};
use runyard_transport::Target;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::board::Board;
use crate::core::{Core, Input};
use crate::link::{self, Inventory, Joined, Session};
use crate::shared::Shared;
use crate::signals::Signals;
use crate::state_dir::{Memory, Paths, StateDir};
use crate::worker::SpareSpaces;
use crate::{AgentError, Config, reconciler, telemetry, worker};

/// Time for what is under way to notice the stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Between looks for what nobody has asked for in a day.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Runs an agent until `stop`. Its workers run on then, and are adopted by the next start.
///
/// # Errors
/// Only what keeps it from starting: a folder that another agent uses, a refused token, a binary
/// that can't be a shim. Once it runs, an unreachable group is waited for.
pub async fn run(mut config: Config, stop: CancellationToken) -> Result<(), AgentError> {
    let dir = StateDir::open(&config.state_dir)?;
    let paths = dir.paths.clone();
    let mut memory = Memory::load(&paths)?;
    let Joined { identity, addresses } = tokio::select! {
        // Cancel-safe: a token that was sent may be used up; the stop was asked for.
        joined = link::identity(&config, &paths, &mut memory) => joined?,
        () = stop.cancelled() => return Ok(()),
    };
    memory.save(&paths)?;
    if config.address.is_none() {
        config.address = Some(link::own_address(&addresses));
    }
    let target = Target::agent(&addresses, &identity)?;
    let host = blocking({
        let (config, paths) = (config.clone(), paths.clone());
        move || Host::open(&config, &paths)
    })
    .await?;
    let gateway = match config.gateway {
        Some(address) => Some(Gateway::start(Options::new(address, paths.gateway())).await?),
        None => None,
    };
    let (inbox, inputs) = mpsc::channel::<Input>(reconciler::INPUTS_MAX);
    let core = Core::new(paths.load_position());
    let shared = Arc::new(Shared {
        signals: Signals::new(&paths.workers())?,
        environments: host.environments,
        agent: memory.agent.clone(),
        launcher: host.launcher,
        shims: host.shims,
        spaces: host.spaces,
        isolation: host.isolation,
        cache: host.cache,
        devices: host.devices,
        gateway,
        board: Board::default(),
        jobs: Mutex::default(),
        holders: Mutex::default(),
        inbox,
        channels: link::Channels::new(&target),
        connected: watch::Sender::new(false),
        unknown: Notify::new(),
        stop: stop.child_token(),
        tracker: TaskTracker::new(),
        config,
        paths,
    });
    let found = blocking({
        let shared = shared.clone();
        move || {
            let path = shared.paths.spaces();
            worker::scan(&shared).map_err(AgentError::io("look for workers in", &path))
        }
    })
    .await?;
    tracing::info!(workers = found.len(), node = %shared.config.node, "agent started");
    // The first hello names them all: what it leaves out the group takes for gone.
    for one in &found {
        shared.board.later(&one.key, |_| {});
    }
    shared.spawn("renewal", link::renew(shared.clone(), target.clone(), identity));
    start(&shared, core, found, inputs, target, memory, host.inventory)?;
    stop.cancelled().await;
    tracing::info!("agent stops; its workers run on");
    shared.stop.cancel();
    shared.tracker.close();
    if tokio::time::timeout(STOP_WITHIN, shared.tracker.wait()).await.is_err() {
        tracing::debug!(left = shared.tracker.len(), "tasks outlast the agent");
    }
    if let Some(shared) = Arc::into_inner(shared)
        && let Some(gateway) = shared.gateway
    {
        gateway.shutdown(STOP_WITHIN).await;
    }
    drop(dir);
    Ok(())
}

/// What of the host is opened by calls that block.
struct Host {
    launcher: Launcher,
    shims: Spares,
    spaces: SpareSpaces,
    isolation: Isolation,
    cache: Arc<Cache>,
    environments: Environments,
    devices: Devices,
    inventory: Inventory,
}

impl Host {
    fn open(config: &Config, paths: &Paths) -> Result<Self, AgentError> {
        let launcher = match &config.exe {
            Some(exe) => Launcher::new(exe)?,
            None => Launcher::from_this_binary()?,
        };
        let probe: PathBuf = paths.root.join("probe");
        let _ = fs_err::remove_dir_all(&probe);
        fs_err::create_dir(&probe).map_err(AgentError::io("make the folder", &probe))?;
        let isolation = Isolation::probe(&launcher, &probe)?;
        let _ = fs_err::remove_dir_all(&probe);
        if !isolation.missing.is_empty() {
            tracing::info!(missing = isolation.missing.join("; "), "isolation");
        }
        let mut devices = runyard_devices::Config::from_environment(config.node.as_str());
        devices.simulated = config.simulated_devices;
        let (shims, spaces) = (paths.workers(), paths.spaces());
        Ok(Self {
            launcher,
            shims: Spares::open(&shims).map_err(AgentError::io("look into", &shims))?,
            spaces: SpareSpaces::open(&spaces).map_err(AgentError::io("look into", &spaces))?,
            isolation,
            cache: Cache::open(&paths.cache().join("files"), config.cache_bytes)?,
            environments: environments(config, paths)?,
            devices: Devices::open(&devices)?,
            inventory: Inventory::look(config),
        })
    }
}

/// The folder by its real path: a stage with a `/tmp` of its own sees no link that lies in the host's.
fn environments(config: &Config, paths: &Paths) -> Result<Environments, AgentError> {
    let dir = config.environments.clone().unwrap_or_else(|| paths.cache().join("envs"));
    fs_err::create_dir_all(&dir).map_err(AgentError::io("make the folder", &dir))?;
    let dir = dir.canonicalize().map_err(AgentError::io("open the folder", &dir))?;
    Ok(Environments::new(dir))
}

fn start(
    shared: &Arc<Shared>,
    core: Core,
    found: Vec<crate::core::Found>,
    inputs: mpsc::Receiver<Input>,
    target: Target,
    memory: Memory,
    inventory: Inventory,
) -> Result<(), AgentError> {
    shared.spawn("reconciler", reconciler::run(shared.clone(), core, found, inputs));
    let signals = shared.clone();
    shared.spawn("signals", async move {
        if let Err(error) = signals.signals.run().await {
            // Workers are looked at every few seconds all the same.
            tracing::error!(%error, "workers are no longer watched");
        }
    });
    let (beats, beating) = watch::channel(None);
    link::start_heartbeat(shared, target.clone(), beating)?;
    let (latest, devices) = watch::channel(Vec::new());
    shared.spawn("telemetry", telemetry::sample(shared.clone(), latest));
    shared.spawn("expiry", expire(shared.clone()));
    let nonce = rand::random();
    let session =
        Session { shared: shared.clone(), target, memory, inventory, beats, devices, nonce };
    shared.spawn("session", link::run(session));
    Ok(())
}

/// Lets go of workers that ended more than a day ago and whose logs nobody takes, and of environments that
/// there is no room for.
async fn expire(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(EXPIRE_EVERY);
    loop {
        tick.tick().await;
        evict_environments(&shared).await;
        for (key, uid) in shared.ended() {
            let one = shared.clone();
            let old = task_blocking(move || worker::is_expired(&one, &uid)).await;
            if old {
                shared.tell(Input::Expired { key }).await;
            }
        }
    }
}

/// Keeps the Python environments within their bytes; those in use stay.
async fn evict_environments(shared: &Shared) {
    let (environments, limit) = (shared.environments.clone(), shared.config.cache_bytes);
    let done = tokio::task::spawn_blocking(move || environments.evict(limit)).await;
    match done {
        Ok(Ok(evicted)) if evicted.keys.is_empty() => {}
        Ok(Ok(evicted)) => tracing::info!(
            environments = evicted.keys.len(),
            freed_bytes = evicted.freed_bytes,
            left_bytes = evicted.left_bytes,
            "Python environments that were not used lately were removed"
        ),
        Ok(Err(error)) => tracing::warn!(%error, "Python environments cannot be evicted"),
        Err(error) => tracing::error!(%error, "evicting Python environments failed"),
    }
}

async fn task_blocking(work: impl FnOnce() -> bool + Send + 'static) -> bool {
    tokio::task::spawn_blocking(work).await.unwrap_or(false)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(AgentError::Refused(error.to_string())),
    }
}
