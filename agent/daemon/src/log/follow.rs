//! A worker's log, from its spool to the store: sealed at 8 MiB, after 30 s with data, or at its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runyard_blobs::segment::Record;
use runyard_proto::agent::Channel;
use runyard_runtime::WorkerError;
use runyard_runtime::spool::{Body, SpoolReader, Stream};
use runyard_types::WorkerKey;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ship::{self, Part, Refused, SEGMENT_BYTES};
use crate::shared::{Job, Shared};
use crate::worker::{Fault, blocking, chain};

/// Output is in the store at the latest so long after it was written.
const SEAL_AFTER: Duration = Duration::from_secs(30);
/// How often the size of a growing spool is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A look whatever was heard: notices may be dropped.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Seals a worker's log until all of it is in the store. False: it was never acknowledged as
/// complete, because nobody knows the worker any more.
pub(crate) async fn follow(shared: &Arc<Shared>, job: &Arc<Job>) -> bool {
    let mut log = Log {
        shared: shared.clone(),
        job: job.clone(),
        spool: job.shim_path(&shared.paths).join("spool"),
        at: 0,
        reader: None,
        prune_to: 0,
        head: job.spec().log_quota_bytes / 2,
    };
    // A worker that was adopted may have been sealed in part.
    if job.is_adopted() {
        match ship::sealed_to(shared, &job.key, Channel::Log).await {
            Ok(at) => log.move_to(at),
            Err(Refused::Unknown) => return false,
            Err(Refused::Elsewhere) => {}
        }
    }
    loop {
        log.wait().await;
        let over = job.is_over(&shared.paths);
        match log.seal(over).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(Refused::Unknown) => return false,
            Err(Refused::Elsewhere) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Closes the log of a worker that has none here.
pub(crate) async fn close(shared: &Arc<Shared>, key: &WorkerKey) {
    loop {
        let at = match ship::sealed_to(shared, key, Channel::Log).await {
            Ok(at) => at,
            Err(Refused::Elsewhere) => 0,
            Err(Refused::Unknown) => return,
        };
        match ship::close(shared, key, Channel::Log, at).await {
            Ok(_) | Err(Refused::Unknown) => return,
            Err(Refused::Elsewhere) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

struct Log {
    shared: Arc<Shared>,
    job: Arc<Job>,
    spool: PathBuf,
    /// Sealed up to here.
    at: u64,
    /// Between rounds without a pause: it goes on where it was, instead of through its segment again.
    reader: Option<SpoolReader>,
    /// Sealed by an earlier round than the last: a reader that asked before it may still need the
    /// last one's bytes from the spool.
    prune_to: u64,
    /// What lies beyond waits for the end: then the quota has decided what is kept. 0: no quota.
    head: u64,
}

impl Log {
    fn move_to(&mut self, at: u64) {
        self.at = at;
        self.job.set_sealed_to(at);
    }

    /// Until there is something to seal.
    async fn wait(&self) {
        let mut output = self.job.heard.output.subscribe();
        let mut state = self.job.heard.state.subscribe();
        let mut deadline: Option<Instant> = None;
        loop {
            output.mark_unchanged();
            state.mark_unchanged();
            let over = self.job.is_over(&self.shared.paths);
            if over {
                return;
            }
            // Beyond the head of a log with a quota, the end decides.
            let may_seal = self.head == 0 || self.at < self.head;
            let size = self.spool_bytes();
            if may_seal && size > 0 {
                let due = *deadline.get_or_insert_with(|| Instant::now() + SEAL_AFTER);
                if size >= SEGMENT_BYTES as u64 || Instant::now() >= due {
                    return;
                }
            }
            let has_data = deadline.is_some();
            let until = deadline.unwrap_or_else(|| Instant::now() + LOOK_AGAIN);
            let until = until.min(Instant::now() + LOOK_AGAIN);
            // Cancel-safe: they observe counters and a clock.
            tokio::select! {
                () = changed(&mut state) => {}
                () = grown(&mut output, has_data) => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// About how much lies in the spool beyond what is sealed, its frames included.
    fn spool_bytes(&self) -> u64 {
        let Ok(list) = std::fs::read_dir(&self.spool) else { return 0 };
        let mut segments: Vec<(u64, u64)> = list
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let start = name.to_str()?.strip_suffix(".seg")?.parse().ok()?;
                Some((start, entry.metadata().ok()?.len()))
            })
            .collect();
        segments.sort_unstable();
        // All that begins behind what is sealed, and the rest of the one that holds it.
        let beyond: u64 = segments.iter().filter(|(start, _)| *start >= self.at).map(|s| s.1).sum();
        let holding = segments.iter().rev().find(|(start, _)| *start < self.at);
        beyond + holding.map_or(0, |(start, len)| (start + len).saturating_sub(self.at) / 2)
    }

    /// Seals what is there; with `over`, all of it. True: complete and acknowledged.
    async fn seal(&mut self, over: bool) -> Result<bool, Refused> {
        // Its shim has counted: there is no record to look for.
        if over && self.at == 0 && self.status_in_order().is_some_and(|status| status.log_end == 0)
        {
            return Ok(true);
        }
        loop {
            let round = match self.read(over).await {
                Ok(round) => round,
                Err(fault) => {
                    tracing::warn!(worker = %self.job.key, reason = fault.reason, "spool");
                    tokio::time::sleep(LOOK_AGAIN).await;
                    return Ok(false);
                }
            };
            let Round { part, ended } = round;
            let sealed = match part {
                Some(part) => {
                    ship::ship(&self.shared, &self.job.key, Channel::Log, &part, ended).await
                }
                None if ended => return self.close().await,
                None => return Ok(false),
            };
            match sealed {
                Ok(to) => self.advance(to).await,
                Err(Refused::Elsewhere) => {
                    let at = ship::sealed_to(&self.shared, &self.job.key, Channel::Log).await?;
                    self.move_to(at);
                    return Err(Refused::Elsewhere);
                }
                Err(unknown) => return Err(unknown),
            }
            if ended {
                return Ok(true);
            }
            if !over && self.head > 0 && self.at >= self.head {
                return Ok(false);
            }
        }
    }

    /// The end, with nothing behind what is sealed. A worker that ended in order with an empty log
    /// says so in its report; that spares a call.
    async fn close(&mut self) -> Result<bool, Refused> {
        if self.at == 0 && self.status_in_order().is_some() {
            return Ok(true);
        }
        ship::close(&self.shared, &self.job.key, Channel::Log, self.at).await.map(|_| true)
    }

    /// How it ended, if that was by itself.
    fn status_in_order(&self) -> Option<runyard_runtime::ExitStatus> {
        let worker = self.job.shim(&self.shared.paths).ok().flatten()?;
        let status = worker.status().ok().flatten()?;
        (status.reason == runyard_runtime::Reason::Exit).then_some(status)
    }

    async fn read(&mut self, over: bool) -> Result<Round, Fault> {
        let at = self.at;
        let kept = self.reader.take().filter(|reader| reader.offset() == at);
        let reader = kept.unwrap_or_else(|| SpoolReader::open(&self.spool).read_from(at));
        let shim = self.job.shim(&self.shared.paths).map_err(|error| Fault::caused(&error))?;
        let status = match shim.map(|worker| worker.status()).transpose() {
            Ok(status) => status.flatten(),
            // How long the log is stands there: to end it without would cut it.
            Err(error @ WorkerError::Io(_)) => return Err(Fault::caused(&error)),
            // A damaged one stays so: the spool itself says how long it is.
            Err(_) => None,
        };
        let log_end = status.map(|status| status.log_end);
        let (round, reader) = blocking(move || read(reader, at, over, log_end)).await?;
        // One that waits for more keeps no buffer.
        self.reader = round.part.is_some().then_some(reader);
        Ok(round)
    }

    async fn advance(&mut self, to: u64) {
        let prune_to = std::mem::replace(&mut self.prune_to, to);
        self.move_to(to);
        self.shared.board.later(&self.job.key, |report| report.log_end = report.log_end.max(to));
        let spool = self.spool.clone();
        let pruned = blocking(move || {
            SpoolReader::open(spool).prune(prune_to).map_err(|error| Fault::caused(&error))
        });
        if let Err(fault) = pruned.await {
            tracing::warn!(worker = %self.job.key, reason = fault.reason, "spool not pruned");
        }
    }
}

struct Round {
    part: Option<Part>,
    ended: bool,
}

fn read(
    mut reader: SpoolReader,
    at: u64,
    over: bool,
    log_end: Option<u64>,
) -> Result<(Round, SpoolReader), Fault> {
    let records = match over {
        true => reader.poll_final(SEGMENT_BYTES, log_end),
        false => reader.poll_new(SEGMENT_BYTES),
    };
    let records = records.map_err(|error| Fault::caused(&error))?;
    let records: Vec<Record> = records.into_iter().map(record).collect();
    let part = ship::part(at, &records).map_err(|error| Fault::error(chain(&error)))?;
    // Only a log whose writer is gone has an end that nothing can follow.
    Ok((Round { part, ended: over && reader.ended() }, reader))
}

/// A record of the spool as one of a segment.
pub(super) fn record(record: runyard_runtime::spool::Record) -> Record {
    let (data, cut_bytes) = match record.body {
        Body::Data(data) => (Bytes::from(data), 0),
        Body::Cut { len, .. } => (Bytes::new(), len),
        Body::End => (Bytes::new(), 0),
    };
    Record {
        offset: record.offset,
        at_ms: record.at_ms,
        stderr: record.stream == Stream::Stderr,
        data,
        cut_bytes,
    }
}

/// Until the counter moves.
pub(super) async fn changed(counter: &mut watch::Receiver<u64>) {
    if counter.changed().await.is_err() {
        // Its sender lives as long as the job that we hold.
        std::future::pending::<()>().await;
    }
}

/// Until it has grown; with `later`, at the earliest after a while: a spool that grows all the time
/// is not looked at all the time.
async fn grown(counter: &mut watch::Receiver<u64>, later: bool) {
    if later {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    changed(counter).await;
}
