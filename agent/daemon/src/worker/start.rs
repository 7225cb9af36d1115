//! Starting and stopping a worker's shim.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runyard_runtime::{
    Isolate, LaunchError, Limits, PIDS_BY_NAMESPACE_MIN, SpoolLimits, State, WorkerDir, WorkerSpec,
};

use super::environ::{Here, argv, direct, variables};
use super::prepare::Prepared;
use super::{Fault, blocking};
use crate::core::Input;
use crate::shared::{Job, Shared};

/// Processes and threads of one worker; a fork bomb ends here.
const PIDS_MAX: u64 = 32_768;
/// Until a stop that a shim did not hear is said again.
const STOP_AGAIN: Duration = Duration::from_secs(2);

/// Starts a prepared worker and says how it went.
pub(crate) async fn start(shared: &Arc<Shared>, job: &Arc<Job>) {
    let (one, agent) = (job.clone(), shared.clone());
    let started = blocking(move || launch(&agent, &one)).await;
    let key = job.key.clone();
    let input = match started {
        Ok(()) => {
            let at = runyard_runtime::clock::utc_ms();
            shared.board.later(&key, |report| {
                report.started_ms = at;
                report.detail.clear();
            });
            Input::Started { key }
        }
        Err(fault) => {
            tracing::warn!(worker = %key, reason = fault.reason, "not started");
            Input::NotStarted { key, outcome: fault.outcome() }
        }
    };
    shared.tell(input).await;
}

fn launch(shared: &Shared, job: &Job) -> Result<(), Fault> {
    let mut prepared = job
        .take_prepared()
        .ok_or_else(|| Fault::error("the agent lost what it had prepared; try again"))?;
    let spec = shim_spec(shared, job, &prepared)?;
    let worker = shared.shims.create(&spec).map_err(|error| Fault::caused(&error))?;
    shared.signals.watch(&worker).map_err(|error| Fault::error(error.to_string()))?;
    job.keep_environment(prepared.built.take());
    // The port is the stage's to take now.
    drop(prepared);
    shared.launcher.launch(worker.path(), &[]).map_err(|error| match error {
        LaunchError::Refused { why, .. } => {
            Fault::error(format!("its shim refused to start: {why}"))
        }
        other => Fault::caused(&other),
    })
}

fn shim_spec(shared: &Shared, job: &Job, prepared: &Prepared) -> Result<WorkerSpec, Fault> {
    let (spec, wanted) = (job.spec(), job.wanted());
    let space = job.workspace(&shared.paths);
    let private_tmp = shared.isolation.private_tmp;
    let address = shared.config.address.as_deref().unwrap_or("127.0.0.1");
    let here = Here {
        private_tmp,
        address,
        master_addr: &wanted.master_addr,
        master_port: u16::try_from(wanted.master_port).unwrap_or(0),
    };
    let env = variables(&spec, &space, prepared, &here)?;
    let limits = limits(shared, &spec);
    let to_kill = !shared.isolation.pid_namespace;
    let half = spec.log_quota_bytes / 2;
    let spool = SpoolLimits::default();
    // A cgroup only for what nothing else can hold: making and entering one costs the most.
    let in_cgroups = Limits { pids: limits.pids.filter(|n| !by_namespace(shared, *n)), ..limits };
    let shim = WorkerSpec {
        uid: job.uid.clone(),
        argv: argv(&spec),
        direct: direct(&spec),
        env,
        cwd: space.work(),
        isolation: Isolate::Auto,
        tmp: private_tmp.then(|| space.tmp()),
        private_shm: true,
        keep: keep(shared, job, prepared),
        read_only: prepared.mounts.clone(),
        spool: if half == 0 {
            spool
        } else {
            SpoolLimits { head_bytes: half, tail_bytes: half, ..spool }
        },
        cgroups: shared.isolation.cgroups.plan(&job.uid, &in_cgroups, to_kill),
        limits,
        grace_ms: spec.grace_ms,
        timeout_ms: Some(spec.timeout_ms).filter(|ms| *ms > 0),
        ..WorkerSpec::default()
    };
    // What the kernel could not carry is the user's to change, by its name.
    shim.check().map_err(|error| Fault::failure(error.to_string()))?;
    Ok(shim)
}

fn limits(shared: &Shared, spec: &runyard_proto::agent::WorkerSpec) -> Limits {
    let cgroups = &shared.isolation.cgroups;
    let asked = spec.resources.as_ref().map_or(0, |resources| resources.memory_bytes);
    let memory_bytes = Some(asked).filter(|bytes| *bytes > 0 && cgroups.limits("memory"));
    let holds_pids = cgroups.limits("pids") || by_namespace(shared, PIDS_MAX);
    let pids = holds_pids.then_some(PIDS_MAX);
    // Cores are a share, not a limit: what others leave idle may be used.
    Limits { memory_bytes, pids, cpu_milli: None }
}

/// The stage's PID namespace can hold this limit of processes by itself.
fn by_namespace(shared: &Shared, pids: u64) -> bool {
    shared.isolation.pids_by_namespace && pids >= PIDS_BY_NAMESPACE_MIN
}

/// What must stay visible although the worker gets a `/tmp` of its own.
fn keep(shared: &Shared, job: &Job, prepared: &Prepared) -> Vec<PathBuf> {
    let mut keep = vec![job.folder(&shared.paths).join("space")];
    keep.extend(prepared.venv.clone());
    keep.extend(prepared.inputs.iter().filter_map(|(_, path)| path.canonicalize().ok()));
    keep.retain(|path| path.starts_with("/tmp") || path.starts_with("/var/tmp"));
    keep
}

/// Asks a worker's shim to stop it, until it has heard.
pub(crate) async fn stop(shared: &Arc<Shared>, job: &Arc<Job>, grace_ms: u64) {
    let grace = Duration::from_millis(grace_ms);
    loop {
        let shim = match job.shim(&shared.paths) {
            Ok(None) => return,
            Ok(Some(worker)) => Ok(worker),
            Err(error) => Err(Fault::caused(&error)),
        };
        let heard = match shim {
            Ok(worker) => blocking(move || said(&worker, grace)).await,
            Err(fault) => Err(fault),
        };
        match heard {
            Ok(true) => return,
            Ok(false) => {}
            Err(fault) => {
                tracing::warn!(worker = %job.key, reason = fault.reason, "its shim does not answer");
            }
        }
        tokio::time::sleep(STOP_AGAIN).await;
    }
}

fn said(worker: &WorkerDir, grace: Duration) -> Result<bool, Fault> {
    let failed = |error: runyard_runtime::WorkerError| Fault::caused(&error);
    match worker.state().map_err(failed)? {
        State::Running | State::Finished => {}
        State::Prepared | State::Released | State::Lost { .. } => return Ok(true),
    }
    worker.stop(grace).map(|()| true).map_err(failed)
}
