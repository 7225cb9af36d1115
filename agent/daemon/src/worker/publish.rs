//! The end of a worker: its outputs into the store, its result into words.

use std::sync::Arc;
use std::time::{Duration, Instant};

use runyard_blobs::client::TransferError;
use runyard_blobs::files::FileError;
use runyard_blobs::{Published, RelPath, Uploader};
use runyard_proto::agent::{WorkerReport, WorkerSpec};
use runyard_proto::v1::Output;
use runyard_runtime::workspace::Workspace;
use runyard_types::Outcome;

use super::{Fault, Metrics, blocking, chain, folder, outcome, own_files, results, values};
use crate::core::Input;
use crate::shared::{Job, Shared};
use crate::transfer::transfer;

/// The name under which results files are published.
const RESULTS: &str = "results";
/// Bytes of a summary; what is beyond is cut.
const SUMMARY_BYTES_MAX: u64 = 64 << 10;
/// A store that fails for so long, while the group can be reached, is not waited for.
const STORE_PATIENCE: Duration = Duration::from_secs(600);
/// Between tries at a store that fails.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Takes the result of a worker that left nothing but its exit status, which is that of most small
/// ones, in four small looks at the disk. `None`: there is more to take, or it can't be known so.
pub(crate) fn publish_at_once(shared: &Shared, job: &Job, stopped: bool) -> Option<Input> {
    let (spec, mut report) = (job.spec(), WorkerReport::default());
    let outcome = ended(shared, job, &spec, &mut report).ok()?;
    if told_bytes(&job.workspace(&shared.paths)) != [0; 3] {
        return None;
    }
    let no_outputs = stopped || spec.serve.is_some() || !has_outputs(shared, job, &spec);
    if outcome == Outcome::Succeeded && !no_outputs {
        return None;
    }
    shared.board.later(&job.key, |board| merge(board, report));
    Some(Input::Published { key: job.key.clone(), outcome })
}

/// Takes a worker's result and says it.
pub(crate) async fn publish(shared: &Arc<Shared>, job: &Arc<Job>, stopped: bool) {
    let mut report = WorkerReport::default();
    let outcome = match take(shared, job, stopped, &mut report).await {
        Ok(()) => Outcome::Succeeded,
        Err(fault) => {
            report.outputs.clear();
            fault.outcome()
        }
    };
    if !report.outputs.is_empty() {
        keep(shared, job, &report).await;
    }
    shared.board.later(&job.key, |board| merge(board, report));
    shared.tell(Input::Published { key: job.key.clone(), outcome }).await;
}

/// What was found out at the end, into what was known before.
pub(super) fn merge(board: &mut WorkerReport, found: WorkerReport) {
    board.exit = found.exit;
    board.outputs = found.outputs;
    board.metrics = found.metrics;
    board.values = found.values;
    board.summary = found.summary;
    board.log_end = board.log_end.max(found.log_end);
    board.metrics_end = board.metrics_end.max(found.metrics_end);
    board.detail = found.detail;
    if found.started_ms > 0 {
        board.started_ms = found.started_ms;
    }
}

async fn take(
    shared: &Arc<Shared>,
    job: &Arc<Job>,
    stopped: bool,
    report: &mut WorkerReport,
) -> Result<(), Fault> {
    let spec = job.spec();
    let ended = ended(shared, job, &spec, report)?;
    // Metrics, values and summary help to see why something failed.
    let told = what_it_told(shared, job, report).await;
    if let Outcome::Ended { cause, reason } = ended {
        return Err(Fault { cause, reason });
    }
    told?;
    if stopped || spec.serve.is_some() {
        return Ok(());
    }
    if has_outputs(shared, job, &spec) {
        let (agent, one) = (shared.clone(), job.clone());
        let published = move || async move { outputs(&agent, &one, &spec).await };
        let cut = || Fault::error("publishing its outputs was cut off");
        report.outputs = transfer(&shared.stop, published).await.ok_or_else(cut)??;
    }
    Ok(())
}

/// How the stage ended, by its shim's word.
fn ended(
    shared: &Shared,
    job: &Job,
    spec: &WorkerSpec,
    report: &mut WorkerReport,
) -> Result<Outcome, Fault> {
    if let Some(why) = job.lost() {
        return Err(Fault::error(format!("shim lost: {why}")));
    }
    let gone = || Fault::error("its folder is gone from the node's state directory");
    let shim = job.shim(&shared.paths).map_err(|error| Fault::caused(&error))?.ok_or_else(gone)?;
    // One small file: not worth another thread.
    let status = shim.status().map_err(|error| Fault::caused(&error))?;
    let status = status.ok_or_else(|| Fault::error("shim lost: it left no status"))?;
    report.exit = Some(outcome::exit(&status));
    report.log_end = status.log_end;
    report.started_ms = status.started_ms;
    Ok(outcome::outcome(&status, spec))
}

/// Metrics, values and summary.
async fn what_it_told(
    shared: &Arc<Shared>,
    job: &Arc<Job>,
    report: &mut WorkerReport,
) -> Result<(), Fault> {
    let space = job.workspace(&shared.paths);
    let root = job.folder(&shared.paths).join("space");
    let told = blocking(move || {
        let [metrics, summaries, values] = told_bytes(&space);
        let mut told = WorkerReport::default();
        let mut refused = None;
        if metrics > 0 {
            match all_metrics(&root) {
                Ok((metrics, bytes)) => {
                    told.metrics = metrics.last().clone();
                    told.metrics_end = bytes;
                    told.detail = metrics.complaint().unwrap_or_default();
                }
                Err(why) => told.detail = format!("$RUNYARD_METRICS cannot be read: {why}"),
            }
        }
        if summaries > 0 {
            match summary(&root) {
                Ok(text) => told.summary = text,
                Err(why) => told.detail = format!("$RUNYARD_SUMMARY cannot be read: {why}"),
            }
        }
        if values > 0 {
            let read = own_files::read(&root, "run/output", values::FILE_BYTES_MAX);
            let read = read.map_err(|why| format!("$RUNYARD_OUTPUT cannot be read: {why}"));
            match read.and_then(|bytes| values::read(&bytes)) {
                Ok(values) => told.values = values,
                Err(why) => refused = Some(why),
            }
        }
        Ok((told, refused))
    });
    let (told, refused) = told.await?;
    report.metrics = told.metrics;
    report.metrics_end = told.metrics_end;
    report.values = told.values;
    report.summary = told.summary;
    report.detail = told.detail;
    refused.map_or(Ok(()), |why| Err(Fault::failure(why)))
}

/// How much stands in its metrics, its summary and its values: most stages tell nothing.
fn told_bytes(space: &Workspace) -> [u64; 3] {
    let size = |path: std::path::PathBuf| path.symlink_metadata().map_or(0, |meta| meta.len());
    [size(space.metrics()), size(space.summary()), size(space.output())]
}

fn all_metrics(root: &std::path::Path) -> Result<(Metrics, u64), String> {
    use std::io::Read as _;
    let mut file = own_files::open_own(root, "run/metrics.jsonl")?;
    let (mut metrics, mut bytes) = (Metrics::default(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let got = file.read(&mut buffer).map_err(|error| error.to_string())?;
        if got == 0 {
            metrics.finish();
            return Ok((metrics, bytes));
        }
        metrics.push(&buffer[..got]);
        bytes += got as u64;
    }
}

fn summary(root: &std::path::Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = own_files::open_own(root, "run/summary.md")?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    file.take(SUMMARY_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if size > SUMMARY_BYTES_MAX {
        text.push_str(&format!("\n\n… cut at {SUMMARY_BYTES_MAX} of {size} bytes\n"));
    }
    Ok(text)
}

fn has_outputs(shared: &Shared, job: &Job, spec: &WorkerSpec) -> bool {
    let declared = !spec.outputs.is_empty() && spec.collect_outputs;
    let results = !spec.results.is_empty() && spec.collect_results;
    declared || results || wrote_results(spec, &job.workspace(&shared.paths))
}

/// Something lies in `$RUNYARD_RESULTS` that is to be taken.
fn wrote_results(spec: &WorkerSpec, space: &Workspace) -> bool {
    let has_any = || std::fs::read_dir(space.results()).is_ok_and(|mut list| list.next().is_some());
    spec.results.is_empty() && (spec.collect_results || spec.collect_outputs) && has_any()
}

/// Publishes declared outputs and results.
async fn outputs(shared: &Shared, job: &Job, spec: &WorkerSpec) -> Result<Vec<Output>, Fault> {
    let mut published = Vec::new();
    let space = job.workspace(&shared.paths);
    let uploader = Uploader::new(shared.remote(&job.key.attempt.task.project));
    let work = space.work();
    for output in spec.outputs.iter().filter(|_| spec.collect_outputs) {
        let what = format!("output `{}`", output.name);
        let path = RelPath::parse(&output.path)
            .map_err(|error| Fault::failure(format!("{what}: `path`: {error}")))?;
        let tree = until_stored(shared, &what, async || uploader.publish_dir(&work, &path).await);
        published.push(wire(&output.name, &output.kind, &tree.await?));
    }
    if let Some(tree) = results_of(shared, spec, &space, &uploader).await? {
        published.push(wire(RESULTS, RESULTS, &tree));
    }
    Ok(published)
}

async fn results_of(
    shared: &Shared,
    spec: &WorkerSpec,
    space: &Workspace,
    uploader: &Uploader,
) -> Result<Option<Published>, Fault> {
    if spec.results.is_empty() {
        if !wrote_results(spec, space) {
            return Ok(None);
        }
        let folder = space.results();
        let path = RelPath::default();
        let publish = async || uploader.publish_dir(&folder, &path).await;
        return until_stored(shared, "the files in $RUNYARD_RESULTS", publish).await.map(Some);
    }
    if !spec.collect_results {
        return Ok(None);
    }
    let (work, patterns) = (space.work(), spec.results.clone());
    let found = blocking(move || results::matching(&work, &patterns).map_err(Fault::failure));
    let found = found.await?;
    if found.is_empty() {
        let patterns = spec.results.join("`, `");
        return Err(Fault::failure(format!(
            "no results: the stage left no file that `{patterns}` names in its working directory"
        )));
    }
    let work = space.work();
    let publish = async || uploader.publish_paths(&work, &found).await;
    until_stored(shared, "the results files", publish).await.map(Some)
}

/// Publishes until it works: an outage of the group is waited out, however long; a store that
/// fails though the group is there, for ten minutes.
async fn until_stored(
    shared: &Shared,
    what: &str,
    publish: impl AsyncFn() -> Result<Published, TransferError>,
) -> Result<Published, Fault> {
    let mut failing_since: Option<Instant> = None;
    loop {
        let error = match publish().await {
            Ok(published) => return Ok(published),
            Err(error) => error,
        };
        if let Some(fault) = users(what, &error) {
            return Err(fault);
        }
        let connected = *shared.connected.borrow();
        let since = *failing_since.get_or_insert_with(Instant::now);
        if !connected {
            failing_since = None;
        } else if since.elapsed() >= STORE_PATIENCE || !is_remote(&error) {
            return Err(Fault::error(format!("{what} could not be stored: {}", chain(&error))));
        }
        tracing::warn!(what, error = chain(&error), "not stored yet; trying again");
        tokio::time::sleep(STORE_PAUSE).await;
    }
}

fn is_remote(error: &TransferError) -> bool {
    matches!(error, TransferError::Remote { .. } | TransferError::Protocol)
}

/// What the stage left is no output: its own failure, by name.
fn users(what: &str, error: &TransferError) -> Option<Fault> {
    let text = match error {
        TransferError::File(FileError::Missing(path, _)) => format!(
            "{what} is missing: the stage left nothing at `{path}` in its working directory"
        ),
        TransferError::File(FileError::Io { .. }) => return None,
        TransferError::File(error) => format!("{what} is refused: {error}"),
        TransferError::Growing(_) | TransferError::Tree(_) => format!("{what} is refused: {error}"),
        _ => return None,
    };
    Some(Fault::failure(text))
}

fn wire(name: &str, kind: &str, tree: &Published) -> Output {
    Output {
        name: name.to_owned(),
        kind: kind.to_owned(),
        root: tree.root.to_string(),
        bytes: tree.bytes,
        files: tree.files,
    }
}

/// Keeps what would cost something to find out again, before it is told.
async fn keep(shared: &Shared, job: &Job, report: &WorkerReport) {
    let (folder, report) = (job.folder(&shared.paths), report.clone());
    let kept = blocking(move || {
        folder::keep_report(&folder, &report).map_err(|error| Fault::error(error.to_string()))
    });
    if let Err(fault) = kept.await {
        tracing::warn!(worker = %job.key, reason = fault.reason, "its result is not kept");
    }
}
