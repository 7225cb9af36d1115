//! Adoption: what the folders of an earlier agent say.

use std::path::Path;
use std::sync::Arc;

use runyard_proto::agent as wire;
use runyard_runtime::{State, WorkerDir, WorkerError};
use runyard_types::{ProjectName, WorkerKey};

use super::{folder, publish};
use crate::core::{Found, FoundStep};
use crate::reconciler::outcome;
use crate::shared::{Shared, shim_at, uid};
use crate::state_dir::is_spare;

/// Looks at all workers' folders, takes them up, and says where each stands. What was never
/// started is removed: it is prepared anew when it is still wanted.
pub(crate) fn scan(shared: &Shared) -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(shared.paths.spaces())? {
        let path = entry?.path();
        if path.file_name().is_some_and(is_spare) {
            continue;
        }
        // Without it nobody can say whose folder this is: better no agent than one that takes a
        // worker that runs for none.
        let known = folder::wanted(&path)?.and_then(|wanted| Some((key(&wanted)?, wanted)));
        let Some((key, wanted)) = known.filter(|(key, _)| is_own(shared, key, &path)) else {
            if may_live(&shared.paths.workers().join(path.file_name().unwrap_or_default())) {
                tracing::warn!(path = %path.display(), "not a worker's folder; a shim of its name may live, so it stays");
                continue;
            }
            tracing::warn!(path = %path.display(), "not a worker's folder; removed");
            let _ = fs_err::remove_dir_all(&path);
            continue;
        };
        match step(shared, &key, &path, wanted) {
            Some(step) => found.push(Found { key, step }),
            None => {
                let _ = fs_err::remove_dir_all(&path);
            }
        }
    }
    remove_strays(shared)?;
    Ok(found)
}

/// Shims' folders without a worker of ours: made, and then the agent died.
fn remove_strays(shared: &Shared) -> std::io::Result<()> {
    let Ok(all) = WorkerDir::scan(&shared.paths.workers()) else { return Ok(()) };
    for worker in all {
        // What can't be looked at may be there.
        if shared.paths.spaces().join(worker.uid()).try_exists().unwrap_or(true) {
            continue;
        }
        match worker.state() {
            Ok(State::Prepared | State::Released) => {
                if let Err(error) = worker.remove() {
                    tracing::warn!(uid = worker.uid(), error = super::chain(&error), "stays");
                }
            }
            state => tracing::warn!(uid = worker.uid(), ?state, "a shim that nobody knows"),
        }
    }
    Ok(())
}

/// A shim may live there: whoever is not known to be dead.
fn may_live(shim: &Path) -> bool {
    match shim_at(shim).and_then(|shim| shim.map(|one| one.state()).transpose()) {
        Ok(None | Some(State::Prepared | State::Released | State::Lost { .. })) => false,
        Ok(Some(State::Running | State::Finished)) | Err(_) => true,
    }
}

fn key(wanted: &wire::DesiredWorker) -> Option<WorkerKey> {
    let project = ProjectName::new(&wanted.project).ok()?;
    WorkerKey::parse(&project, &wanted.key).ok()
}

fn is_own(shared: &Shared, key: &WorkerKey, path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy() == uid(&shared.agent, key))
}

fn step(
    shared: &Shared,
    key: &WorkerKey,
    path: &Path,
    wanted: wire::DesiredWorker,
) -> Option<FoundStep> {
    let shim = shim_at(&shared.paths.workers().join(uid(&shared.agent, key)));
    let (worker, state) =
        match shim.and_then(|shim| shim.map(|one| Ok((one.state()?, one))).transpose()) {
            Ok(None) => return None,
            Ok(Some((State::Prepared, worker))) => match worker.remove() {
                // A launch that was under way finds the folder gone, and starts nothing.
                Ok(()) => return None,
                Err(WorkerError::Alive { .. }) => (Some(worker), State::Running),
                Err(error) => {
                    tracing::warn!(%key, error = super::chain(&error), "stays");
                    return None;
                }
            },
            Ok(Some((state, worker))) => (Some(worker), state),
            // Its shim may live. Who watches it looks again.
            Err(error) => {
                let error = super::chain(&error);
                tracing::warn!(%key, error, "cannot be looked at; taken for one that runs");
                (None, State::Running)
            }
        };
    let port = wanted.master_port;
    let job = shared.take_up(key, Arc::new(wanted));
    job.set_adopted();
    if let Some(worker) = &worker
        && let Err(error) = shared.signals.watch(worker)
    {
        // It is looked at now and then all the same.
        tracing::warn!(%key, %error, "not watched");
    }
    let spec = worker.as_ref().and_then(|worker| worker.spec().ok());
    let spec_port = spec.and_then(|spec| port_of(&spec));
    let kept = folder::kept_report(path);
    // By its shim's own word: the folder's files may be older than the worker.
    let started_ms = worker.as_ref().and_then(|worker| worker.started_ms().ok().flatten());
    let started_ms = started_ms.unwrap_or(0);
    shared.board.later(key, |report| {
        report.started_ms = started_ms;
        if job.spec().serve.is_some() {
            report.port = spec_port.unwrap_or(0);
        } else if job.spec().nnodes > 1 && job.spec().rank == 0 {
            report.port = port;
        }
        if let Some(kept) = &kept {
            publish::merge(report, kept.clone());
        }
    });
    Some(match (state, kept) {
        // Outputs are kept only when all went well.
        (State::Released, Some(_)) => {
            FoundStep::Finished(outcome(&wire::Result { succeeded: true, ..Default::default() }))
        }
        (State::Released, None) => FoundStep::Ended,
        (State::Running | State::Finished | State::Lost { .. } | State::Prepared, _) => {
            FoundStep::Running
        }
    })
}

/// The port that a replica was given.
fn port_of(spec: &runyard_runtime::WorkerSpec) -> Option<u32> {
    let (_, port) = spec.env.iter().find(|(name, _)| name == "PORT")?;
    port.to_str()?.parse().ok()
}

/// Workers whose kept state is older than this: nobody has asked for their logs.
pub(crate) fn is_expired(shared: &Shared, uid: &str) -> bool {
    const KEPT: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
    folder::age(&shared.paths.spaces().join(uid)).is_some_and(|age| age >= KEPT)
}
