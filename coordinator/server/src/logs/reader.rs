//! Reading a worker's log from an offset to its end, wherever its bytes are.

use std::time::Duration;

use runyard_blobs::segment::{Manifest, Record, Segment};
use runyard_proto::agent::{TailRequest, ToAgent, to_agent};
use runyard_proto::v1::LogRecord;
use runyard_state::entity::{Liveness, Sealed};
use runyard_types::WorkerKey;
use tokio::sync::mpsc;
use tonic::Status;

use crate::core::Core;

/// What a reader wants of one worker's log.
#[derive(Debug, Clone)]
pub(crate) struct LogPlan {
    pub(crate) worker: WorkerKey,
    pub(crate) from: u64,
    pub(crate) since_ms: u64,
    /// Wait for what is still to be written.
    pub(crate) follow: bool,
}

/// Where records go.
pub(crate) type Sink = mpsc::Sender<Result<LogRecord, Status>>;

/// How long a reader that cannot reach the agent waits before it looks again.
const RETRY: Duration = Duration::from_millis(500);
/// How long a live tail may be silent before it is asked whether it still is one.
const SILENCE: Duration = Duration::from_secs(2);

/// Sends a worker's records in order, without gap or duplicate, then `end` once the log is complete.
///
/// Returns false when the reader has left.
pub(crate) async fn follow(core: &Core, plan: &LogPlan, sink: &Sink) -> Result<bool, Status> {
    let mut at = plan.from;
    let mut changes = core.truth.watch();
    loop {
        changes.mark_unchanged();
        let view = core.truth.view();
        let Some((attempt, worker)) = view.state.worker(&plan.worker) else {
            return Err(Status::not_found(format!("there is no worker {}", plan.worker)));
        };
        let sealed = worker.log.clone();
        let (node, ended) = (worker.node.clone(), attempt.outcome.is_some());
        let lost = view.state.nodes.get(&node).is_none_or(|node| node.liveness == Liveness::Lost);
        drop(view);
        if !read_sealed(core, plan, &sealed, &mut at, sink).await? {
            return Ok(false);
        }
        if sealed.complete {
            let end = LogRecord {
                worker: plan.worker.to_string(),
                offset: at,
                end: true,
                ..Default::default()
            };
            return Ok(sink.send(Ok(end)).await.is_ok());
        }
        match core.live.session(&node) {
            Some(session) => {
                if !read_live(core, plan, &session.send, &mut at, sink).await? {
                    return Ok(false);
                }
                // Not "until nothing new came": of a stage that keeps writing, that is never.
                if !plan.follow && (ended || at >= sealed_to(core, plan)) {
                    return Ok(true);
                }
            }
            // What a lost node did not seal may never come.
            None if !plan.follow || ended && lost => return Ok(true),
            None => {}
        }
        tokio::select! {
            // Cancel-safe: it observes a value, a clock and a closed channel.
            changed = changes.changed() => if changed.is_err() { return Ok(false) },
            () = tokio::time::sleep(RETRY) => {}
            () = sink.closed() => return Ok(false),
        }
    }
}

/// How far the log is sealed now: what lies before it may have gone from the agent's spool.
fn sealed_to(core: &Core, plan: &LogPlan) -> u64 {
    core.truth.view().state.worker(&plan.worker).map_or(0, |(_, worker)| worker.log.to)
}

async fn read_sealed(
    core: &Core,
    plan: &LogPlan,
    sealed: &Sealed,
    at: &mut u64,
    sink: &Sink,
) -> Result<bool, Status> {
    let Some(digest) = sealed.manifest.filter(|_| *at < sealed.to) else { return Ok(true) };
    let project = plan.worker.attempt.task.project.clone();
    let bytes = core.store.get_blob(&project, &digest).map_err(crate::errors::store)?;
    let manifest =
        Manifest::decode(&bytes).map_err(|error| Status::data_loss(error.to_string()))?;
    for reference in manifest.from_offset(*at) {
        let store = core.store.clone();
        let (project, digest) = (project.clone(), reference.digest);
        let bytes = tokio::task::spawn_blocking(move || store.get_blob(&project, &digest))
            .await
            .map_err(|_| Status::internal("reading a log segment was cut off"))?
            .map_err(crate::errors::store)?;
        let segment = Segment::open(bytes).map_err(|error| Status::data_loss(error.to_string()))?;
        for record in segment.records_from(*at) {
            let record = record.map_err(|error| Status::data_loss(error.to_string()))?;
            let end = record.end();
            if !send(plan, record, *at, sink).await {
                return Ok(false);
            }
            *at = (*at).max(end);
        }
    }
    Ok(true)
}

async fn read_live(
    core: &Core,
    plan: &LogPlan,
    session: &mpsc::Sender<Result<ToAgent, Status>>,
    at: &mut u64,
    sink: &Sink,
) -> Result<bool, Status> {
    let mut tail = core.tails.open();
    let request = TailRequest {
        ticket: tail.ticket.clone(),
        project: plan.worker.attempt.task.project.to_string(),
        worker: plan.worker.to_string(),
        from: *at,
        follow: plan.follow,
    };
    let message = ToAgent { message: Some(to_agent::Message::Tail(request)) };
    if session.send(Ok(message)).await.is_err() {
        return Ok(true);
    }
    loop {
        tokio::select! {
            // Cancel-safe: a part that was not received stays in the channel.
            part = tail.parts.recv() => {
                let Some(part) = part else { return Ok(true) };
                let record = Record {
                    offset: part.offset,
                    at_ms: part.at_ms,
                    stderr: part.stderr,
                    data: part.data,
                    cut_bytes: part.cut_bytes,
                };
                let end = record.end();
                if !send(plan, record, *at, sink).await {
                    return Ok(false);
                }
                *at = (*at).max(end);
            }
            () = sink.closed() => return Ok(false),
            // An agent that never dialled, or died while it did, must not hold the reader for ever.
            () = tokio::time::sleep(SILENCE) => {
                let view = core.truth.view();
                let complete = view.state.worker(&plan.worker).is_none_or(|(_, worker)| worker.log.complete);
                if complete || session.is_closed() {
                    return Ok(true);
                }
            }
        }
    }
}

/// Sends what of a record lies at or behind `at`.
async fn send(plan: &LogPlan, mut record: Record, at: u64, sink: &Sink) -> bool {
    if record.at_ms < plan.since_ms || record.end() <= at && record.cut_bytes == 0 {
        return !sink.is_closed();
    }
    if record.offset < at && record.cut_bytes == 0 {
        let skip = usize::try_from(at - record.offset).unwrap_or(usize::MAX).min(record.data.len());
        record.data = record.data.slice(skip..);
        record.offset = at;
    }
    let record = LogRecord {
        worker: plan.worker.to_string(),
        offset: record.offset,
        at_ms: record.at_ms,
        stderr: record.stderr,
        data: record.data,
        cut_bytes: record.cut_bytes,
        end: false,
    };
    sink.send(Ok(record)).await.is_ok()
}
