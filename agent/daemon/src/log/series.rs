//! A worker's metrics while it runs: the last values into its report, all lines into the store.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runyard_blobs::segment::Record;
use runyard_proto::agent::Channel;
use runyard_runtime::clock;
use tokio::time::Instant;

use super::ship::{self, Refused, SEGMENT_BYTES};
use crate::shared::{Job, Shared};
use crate::worker::{Fault, Metrics, blocking, open_own};

/// How often the file's size is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Lines are in the store at the latest so long after they were written.
const SEAL_AFTER: Duration = Duration::from_secs(30);

/// Follows a worker's metrics to their end.
pub(crate) async fn follow(shared: &Arc<Shared>, job: &Arc<Job>) {
    let file = job.workspace(&shared.paths).metrics();
    let mut state = job.heard.state.subscribe();
    let mut series = Series::new(shared, job);
    loop {
        state.mark_unchanged();
        let over = job.is_over(&shared.paths);
        let size = file.symlink_metadata().map_or(0, |meta| meta.len());
        if size > series.read_to && !series.read().await {
            return;
        }
        if series.seal(over).await.is_err() || over {
            return;
        }
        // Cancel-safe: it observes a counter and a clock.
        let _ = tokio::time::timeout(LOOK_EVERY, state.changed()).await;
    }
}

struct Series {
    shared: Arc<Shared>,
    job: Arc<Job>,
    metrics: Metrics,
    read_to: u64,
    /// Sealed up to here; `None`: not asked yet.
    sealed_to: Option<u64>,
    /// Read and not sealed.
    waiting: Vec<Record>,
    waiting_bytes: usize,
    waiting_since: Option<Instant>,
}

impl Series {
    fn new(shared: &Arc<Shared>, job: &Arc<Job>) -> Self {
        Self {
            shared: shared.clone(),
            job: job.clone(),
            metrics: Metrics::default(),
            read_to: 0,
            sealed_to: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            waiting_since: None,
        }
    }

    /// Takes in what was written. False: the file is no longer one.
    async fn read(&mut self) -> bool {
        if self.sealed_to.is_none() {
            match ship::sealed_to(&self.shared, &self.job.key, Channel::Metrics).await {
                Ok(at) => self.sealed_to = Some(at),
                Err(_) => return false,
            }
        }
        let sealed = self.sealed_to.unwrap_or(0);
        let root = self.job.folder(&self.shared.paths).join("space");
        loop {
            let (root, from) = (root.clone(), self.read_to);
            let bytes = match blocking(move || chunk(&root, from)).await {
                Ok(bytes) => bytes,
                Err(fault) => {
                    tracing::info!(worker = %self.job.key, reason = fault.reason, "metrics");
                    return false;
                }
            };
            if bytes.is_empty() {
                break;
            }
            self.metrics.push(&bytes);
            let end = self.read_to + bytes.len() as u64;
            self.keep(&bytes, sealed);
            self.read_to = end;
            if self.waiting_bytes >= SEGMENT_BYTES && self.seal_waiting(false).await.is_err() {
                return false;
            }
        }
        let last = self.metrics.last().clone();
        let end = self.read_to;
        self.shared.board.later(&self.job.key, |report| {
            // At the end, all of it is read once more and stands.
            if report.exit.is_none() {
                report.metrics = last;
                report.metrics_end = end;
            }
        });
        true
    }

    /// Keeps what lies behind `sealed`, to be sealed.
    fn keep(&mut self, bytes: &Bytes, sealed: u64) {
        let skip = usize::try_from(sealed.saturating_sub(self.read_to)).unwrap_or(usize::MAX);
        if skip >= bytes.len() {
            return;
        }
        let data = bytes.slice(skip..);
        self.waiting_bytes += data.len();
        self.waiting_since.get_or_insert_with(Instant::now);
        self.waiting.push(Record {
            offset: self.read_to + skip as u64,
            at_ms: clock::utc_ms(),
            stderr: false,
            data,
            cut_bytes: 0,
        });
    }

    async fn seal(&mut self, over: bool) -> Result<(), Refused> {
        let due = self.waiting_since.is_some_and(|since| since.elapsed() >= SEAL_AFTER);
        if over && self.read_to > 0 || due {
            return self.seal_waiting(over).await;
        }
        Ok(())
    }

    async fn seal_waiting(&mut self, last: bool) -> Result<(), Refused> {
        let (shared, key) = (&self.shared, &self.job.key);
        let records = std::mem::take(&mut self.waiting);
        (self.waiting_bytes, self.waiting_since) = (0, None);
        let from = records.first().map_or(self.read_to, |record| record.offset);
        let part = match ship::part(from, &records) {
            Ok(part) => part,
            Err(error) => {
                tracing::warn!(worker = %key, %error, "metrics cannot be sealed");
                return Err(Refused::Elsewhere);
            }
        };
        let sealed = match part {
            Some(part) => ship::ship(shared, key, Channel::Metrics, &part, last).await?,
            None if last => ship::close(shared, key, Channel::Metrics, from).await?,
            None => return Ok(()),
        };
        self.sealed_to = Some(sealed);
        Ok(())
    }
}

/// What stands at `from`, up to 1 MiB. The stage owns the file: it may be gone, or something else.
fn chunk(root: &Path, from: u64) -> Result<Bytes, Fault> {
    let mut file = open_own(root, "run/metrics.jsonl").map_err(Fault::failure)?;
    let read = |file: &mut std::fs::File| {
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    read(&mut file).map(Bytes::from).map_err(|error| Fault::error(error.to_string()))
}
