//! What the agent keeps of a worker on disk: `worker` (what was wanted), `report` (its result, once
//! taken, where taking it again would cost something), `space/`.

use std::io::ErrorKind;
use std::path::Path;

use fs_err as fs;
use prost::Message as _;
use runyard_proto::agent::{DesiredWorker, WorkerReport};
use runyard_runtime::workspace::{Marks, Workspace};
use runyard_runtime::{WorkerDir, WorkerError};

use super::{Fault, SpareSpaces};
use crate::shared::{Job, Shared};
use crate::state_dir::replace;

pub(super) const WORKER: &str = "worker";
pub(super) const SPACE: &str = "space";
const REPORT: &str = "report";

/// A spare folder as the worker's, with the marks by which it can be seen at the end whether it was
/// used. `None`: there is none, or something is in its place. It costs a write and a rename, less
/// than handing it to another thread.
pub(super) fn take_spare(
    spares: &SpareSpaces,
    folder: &Path,
    wanted: &DesiredWorker,
) -> Option<(Workspace, Marks)> {
    let is_free = folder.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound);
    is_free.then(|| spares.take(folder, &wanted.encode_to_vec())).flatten()
}

/// Makes the worker's folder; what an earlier, unstarted preparation left is removed first.
pub(super) fn make(folder: &Path, wanted: &DesiredWorker) -> Result<Workspace, Fault> {
    let failed = |error: std::io::Error| Fault::error(format!("cannot make its folder: {error}"));
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_dir_all(folder).map_err(failed)?;
            fs::create_dir(folder).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    // Not synced: a worker that never ran is prepared anew, one that ran is not restarted.
    fs::write(folder.join(WORKER), wanted.encode_to_vec()).map_err(failed)?;
    Workspace::create(&folder.join(SPACE)).map_err(|error| Fault::caused(&error))
}

/// What was wanted of the worker whose folder this is; `None`: it is no worker's.
pub(super) fn wanted(folder: &Path) -> std::io::Result<Option<DesiredWorker>> {
    match fs::read(folder.join(WORKER)) {
        Ok(bytes) => Ok(DesiredWorker::decode(bytes.as_slice()).ok()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Keeps a result that is about to be told.
pub(super) fn keep_report(folder: &Path, report: &WorkerReport) -> std::io::Result<()> {
    replace(&folder.join(REPORT), &report.encode_to_vec())
}

/// The result that was kept.
pub(super) fn kept_report(folder: &Path) -> Option<WorkerReport> {
    WorkerReport::decode(fs::read(folder.join(REPORT)).ok()?.as_slice()).ok()
}

/// How old the kept state of the worker is.
pub(super) fn age(folder: &Path) -> Option<std::time::Duration> {
    let at = [REPORT, WORKER].iter().find_map(|name| fs::metadata(folder.join(name)).ok())?;
    at.modified().ok()?.elapsed().ok()
}

/// Removes all that is left of a worker, or keeps its folders for another where that is safe.
/// Blocks.
pub(crate) fn remove(shared: &Shared, job: &Job) {
    let (shim, folder) = (job.shim(&shared.paths), job.folder(&shared.paths));
    let uid = &job.uid;
    // Only what the kernel itself cleared: no process of the worker can hold anything of it. And a
    // shim that an earlier agent started may be of another version.
    let cleared = shared.isolation.pid_namespace && !job.is_adopted();
    let marks = job.take_marks().filter(|_| cleared);
    let over = |shim: WorkerDir| match cleared {
        true => shared.shims.take_back(&shim),
        false => shim.remove(),
    };
    match shim.and_then(|shim| shim.map(over).transpose()) {
        Ok(_) => {}
        // The next start looks at both again.
        Err(error @ WorkerError::Alive { .. }) => {
            let error = super::chain(&error);
            tracing::warn!(uid, error, "a worker's folder and workspace stay");
            return;
        }
        Err(error) => {
            tracing::warn!(uid, error = super::chain(&error), "a worker's folder stays");
        }
    }
    if marks.is_some_and(|marks| shared.spaces.keep(&folder, marks)) {
        return;
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(uid, %error, "a worker's workspace stays");
        }
        _ => {}
    }
    shared.spaces.fill();
}
