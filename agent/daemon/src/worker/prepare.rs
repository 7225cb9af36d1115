//! From a spec to a workspace that is ready to start in.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use runyard_blobs::client::OnProgress;
use runyard_blobs::{Downloader, Progress};
use runyard_proto::agent as wire;
use runyard_runtime::environment::Built;
use runyard_runtime::workspace::Workspace;
use runyard_types::{Digest, Outcome};

use super::{Fault, blocking, folder, inputs, python};
use crate::core::Input;
use crate::shared::{Job, Shared};
use crate::transfer::transfer;

/// What a worker is started with.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Inputs: name, absolute path.
    pub(super) inputs: Vec<(String, PathBuf)>,
    /// What of the host is only to be read: its path, and where the stage finds it.
    pub(super) mounts: Vec<(PathBuf, PathBuf)>,
    pub(super) venv: Option<PathBuf>,
    /// Keeps a built environment while the worker is here.
    pub(super) built: Option<Built>,
    /// The served model.
    pub(super) model: Option<PathBuf>,
    /// The port of a replica or of the rendezvous, held until the start.
    pub(super) port: u16,
    pub(super) holds_port: Option<TcpListener>,
}

/// Prepares a worker that needs nothing but a folder, if there is a spare one: a write and a rename.
/// `None`: it needs more, and nothing was done.
pub(crate) fn prepare_at_once(shared: &Shared, job: &Job) -> Option<Input> {
    let spec = job.spec();
    if needs_fetching(&spec) || spec.python.is_some() || job.cancel.is_cancelled() {
        return None;
    }
    let Ok(None) = job.shim(&shared.paths) else { return None };
    let (port, listener) = port(&spec, job.wanted().master_port).ok()?;
    let folder = job.folder(&shared.paths);
    let (_, marks) = folder::take_spare(&shared.spaces, &folder, &job.wanted())?;
    job.set_marks(Some(marks));
    Some(is_prepared(job, Prepared { port, holds_port: listener, ..Prepared::default() }))
}

fn is_prepared(job: &Job, prepared: Prepared) -> Input {
    let spec = job.spec();
    let told = spec.serve.is_some() || spec.nnodes > 1;
    let port = if told { prepared.port } else { 0 };
    job.set_prepared(prepared);
    Input::Prepared { key: job.key.clone(), port }
}

/// Prepares a worker and says how it went.
pub(crate) async fn prepare(shared: &Arc<Shared>, job: &Arc<Job>) {
    let key = job.key.clone();
    let stop = Fault { cause: runyard_types::Cause::Cancelled, reason: "stopped".into() };
    // Cancel-safe: what a dropped preparation leaves is removed with the worker's folder. Only the
    // build of an environment can't be dropped; it looks at the token itself.
    let prepared = tokio::select! {
        prepared = materialise(shared, job) => prepared,
        () = job.cancel.cancelled() => Err(stop),
    };
    match prepared {
        Ok(prepared) => {
            shared.tell(is_prepared(job, prepared)).await;
        }
        Err(fault) => {
            tracing::info!(worker = %key, reason = fault.reason, "not prepared");
            let outcome: Outcome = fault.outcome();
            shared.tell(Input::NotStarted { key, outcome }).await;
        }
    }
}

async fn materialise(shared: &Arc<Shared>, job: &Arc<Job>) -> Result<Prepared, Fault> {
    let spec = job.spec();
    let (folder, wanted) = (job.folder(&shared.paths), job.wanted());
    let old_shim = job.shim(&shared.paths).map_err(|error| Fault::caused(&error))?;
    let quick = match old_shim {
        None => folder::take_spare(&shared.spaces, &folder, &wanted),
        Some(_) => None,
    };
    let (space, marks) = match quick {
        Some((space, marks)) => (space, Some(marks)),
        None => {
            blocking(move || {
                // A shim's folder without a shim: an agent died between making and starting it.
                if let Some(shim) = old_shim {
                    shim.remove().map_err(|error| Fault::caused(&error))?;
                }
                folder::make(&folder, &wanted).map(|space| (space, None))
            })
            .await?
        }
    };
    job.set_marks(marks);
    let mut prepared = match needs_fetching(&spec) {
        true => {
            let (agent, one, own) = (shared.clone(), job.clone(), space.clone());
            let fetched = move || async move { fetch_all(&agent, &one, &own).await };
            let cut = || Fault::error("fetching its code and inputs was cut off");
            transfer(&job.cancel, fetched).await.ok_or_else(cut)??
        }
        false => Prepared::default(),
    };
    if let Some(python) = &spec.python {
        let environment = python::environment(shared, job, python, &space).await?;
        prepared.venv = Some(environment.path);
        prepared.built = environment.built;
    }
    let (port, listener) = port(&spec, job.wanted().master_port)?;
    (prepared.port, prepared.holds_port) = (port, listener);
    Ok(prepared)
}

fn needs_fetching(spec: &wire::WorkerSpec) -> bool {
    let model = spec.serve.as_ref().is_some_and(|serve| !serve.model_root.is_empty());
    !spec.code_root.is_empty() || !spec.inputs.is_empty() || model
}

/// Code, inputs and model into the workspace.
async fn fetch_all(shared: &Shared, job: &Job, space: &Workspace) -> Result<Prepared, Fault> {
    let spec = job.spec();
    let mut prepared = Prepared::default();
    if !spec.code_root.is_empty() {
        fetch(shared, job, "code", &spec.code_root, &space.work()).await?;
    }
    let placed = inputs::place(shared, job, &spec, space).await?;
    (prepared.inputs, prepared.mounts) = (placed.inputs, placed.mounts);
    if let Some(serve) = spec.serve.as_ref().filter(|serve| !serve.model_root.is_empty()) {
        let model = job.folder(&shared.paths).join("space/model");
        let what = format!("model {} version {}", serve.model, serve.model_version);
        fetch(shared, job, &what, &serve.model_root, &model).await?;
        prepared.model = Some(model);
    }
    Ok(prepared)
}

/// Fetches a tree into a folder, with its progress as the worker's detail.
pub(super) async fn fetch(
    shared: &Shared,
    job: &Job,
    what: &str,
    root: &str,
    dest: &std::path::Path,
) -> Result<(), Fault> {
    let downloader = downloader(shared, job, what);
    let root = digest(what, root)?;
    let fetched = downloader.fetch(root, dest).await;
    fetched.map(drop).map_err(|error| refused(what, &error))
}

/// What fetches for a worker.
pub(super) fn downloader(shared: &Shared, job: &Job, what: &str) -> Downloader {
    let project = &job.key.attempt.task.project;
    Downloader::new(shared.remote(project))
        .with_cache(shared.cache.clone())
        .with_progress(progress(job, what))
}

/// Rare enough that nobody is flooded.
const TELL_EVERY_BYTES: u64 = 16 << 20;

fn progress(job: &Job, what: &str) -> OnProgress {
    let told = std::sync::atomic::AtomicU64::new(0);
    let (key, what) = (job.key.clone(), what.to_owned());
    Arc::new(move |now: Progress| {
        let step = now.wire_bytes / TELL_EVERY_BYTES;
        if told.swap(step, std::sync::atomic::Ordering::Relaxed) != step {
            let (done, all) = (now.bytes >> 20, now.bytes_total >> 20);
            tracing::info!(worker = %key, what, done, all, "fetching, MiB");
        }
    })
}

pub(super) fn digest(what: &str, root: &str) -> Result<Digest, Fault> {
    Digest::parse(root).map_err(|error| Fault::error(format!("{what}: `{root}`: {error}")))
}

pub(super) fn refused(what: &str, error: &dyn std::error::Error) -> Fault {
    Fault::error(format!("cannot fetch {what}: {}", super::chain(error)))
}

/// A free port, held so that nobody else on this host is given it meanwhile. A gang's first worker
/// that was prepared before keeps the port that its group knows.
fn port(spec: &wire::WorkerSpec, known: u32) -> Result<(u16, Option<TcpListener>), Fault> {
    if spec.serve.is_none() && spec.rank != 0 {
        return Ok((0, None));
    }
    if let (true, Ok(port @ 1..)) = (spec.nnodes > 1, u16::try_from(known)) {
        return Ok((port, None));
    }
    let listener = TcpListener::bind(("0.0.0.0", 0))
        .map_err(|error| Fault::error(format!("cannot find a free port: {error}")))?;
    let port = listener.local_addr().map(|addr| addr.port());
    let port = port.map_err(|error| Fault::error(format!("cannot find a free port: {error}")))?;
    Ok((port, Some(listener)))
}
