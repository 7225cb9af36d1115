//! Logs whose agent no longer has them: sealed as they are, with the cut in them.
//!
//! A hello names every worker of which the agent has anything. A worker that ended, whose log is not whole
//! in the store and that the hello does not name, is on no disk any more (its folder was wiped, or kept in
//! vain for a day): without this its log would be `sealing` for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use runyard_blobs::segment::{Record, SegmentWriter};
use runyard_proto::agent::{Channel, SealRequest, ToAgent};
use runyard_state::State;
use runyard_state::entity::{Attempt, Worker, WorkerPhase};
use runyard_types::{NodeName, WorkerKey};
use tokio::sync::mpsc;
use tonic::Status;

use super::seal;
use crate::core::Core;

/// A session must have lasted so long before what it does not name is taken for lost: a copy of the
/// agent's directory, whose hello names less, has the session for one heartbeat at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// The workers of `node` that ended, whose logs are not whole and that the agent has no more.
pub(super) fn missing(
    state: &State,
    node: &NodeName,
    has: &BTreeSet<WorkerKey>,
) -> BTreeSet<WorkerKey> {
    let unsettled = state.unsettled.iter().filter_map(|key| Some((key, state.attempt(key)?.1)));
    unsettled
        .flat_map(|(key, attempt)| {
            let ranks = attempt.workers.iter().zip(0_u32..);
            ranks.map(|(worker, rank)| (WorkerKey { attempt: key.clone(), rank }, worker))
        })
        .filter(|(key, worker)| worker.node == *node && is_open(worker) && !has.contains(key))
        .map(|(key, _)| key)
        .collect()
}

/// What still has a process or a place in the desired set is the agent's to close.
fn is_open(worker: &Worker) -> bool {
    worker.phase == WorkerPhase::Released && !worker.log.complete
}

/// Seals the logs of `lost` as they are, each once its attempt has its result, while the session lasts.
pub(super) async fn settle(
    core: Core,
    node: NodeName,
    mut lost: BTreeSet<WorkerKey>,
    session: u64,
    open: mpsc::Sender<Result<ToAgent, Status>>,
) {
    let mut changes = core.truth.watch();
    tokio::select! {
        // Cancel-safe: a clock and a closed channel.
        () = tokio::time::sleep(PATIENCE) => {}
        () = open.closed() => return,
    }
    while !lost.is_empty() {
        changes.mark_unchanged();
        let view = core.truth.view();
        if core.live.session(&node).is_none_or(|newest| newest.id != session) {
            return;
        }
        lost.retain(|key| view.state.worker(key).is_some_and(|(_, worker)| is_open(worker)));
        for key in &lost {
            let Some((attempt, worker)) = view.state.worker(key) else { continue };
            // A gang's attempt may go on without this worker, and its result says where the log ends.
            if attempt.outcome.is_none() {
                continue;
            }
            match close(&core, &node, key, attempt, worker).await {
                Ok(end) => tracing::warn!(
                    %node, worker = %key, sealed_to = worker.log.to, end,
                    "the agent no longer has the rest of this log; it is closed with a cut"
                ),
                // Somebody sealed meanwhile, or there is no leader: the next look tells.
                Err(error) => tracing::warn!(%node, worker = %key, %error, "a lost log stays open"),
            }
        }
        tokio::select! {
            // Cancel-safe: both only observe.
            changed = changes.changed() => if changed.is_err() { return },
            () = open.closed() => return,
        }
    }
}

/// Ends a log with what is lost of it; the answer is where it ends.
async fn close(
    core: &Core,
    node: &NodeName,
    key: &WorkerKey,
    attempt: &Attempt,
    worker: &Worker,
) -> Result<u64, Status> {
    let from = worker.log.to;
    let request = SealRequest {
        project: key.attempt.task.project.to_string(),
        worker: key.to_string(),
        channel: Channel::Log as i32,
        from,
        to: from,
        last: true,
        ..SealRequest::default()
    };
    let known_end = end(core, key, attempt);
    let at_ms = attempt.ended_at.map_or(0, |at| at.0);
    let Some(record) = record(node, from, known_end, at_ms) else {
        seal::seal(core, node.clone(), request).await?;
        return Ok(from);
    };
    let to = record.end();
    let internal =
        |error: runyard_blobs::segment::SegmentError| Status::internal(error.to_string());
    let mut writer = SegmentWriter::new(from).map_err(internal)?;
    writer.push(&record).map_err(internal)?;
    let lines = writer.lines();
    let bytes = writer.finish().map_err(internal)?;
    let (store, project) = (core.store.clone(), key.attempt.task.project.clone());
    let digest = tokio::task::spawn_blocking(move || store.put_blob(&project, bytes))
        .await
        .map_err(|_| Status::internal("storing the cut was cut off"))?
        .map_err(crate::errors::shared_store)?;
    let segment = Bytes::copy_from_slice(digest.as_bytes());
    seal::seal(core, node.clone(), SealRequest { to, segment, lines, ..request }).await?;
    Ok(to)
}

/// Where the log ended, if anybody knows: the exit of an attempt of one worker says it, the worker's own
/// report as long as this leader remembers it.
fn end(core: &Core, key: &WorkerKey, attempt: &Attempt) -> Option<u64> {
    let alone = attempt.workers.len() == 1;
    let exit = attempt.exit.as_ref().filter(|_| alone).map(|exit| exit.log_end);
    let told = core.live.worker(key).filter(|report| report.exit.is_some());
    exit.or_else(|| told.map(|report| report.log_end))
}

/// What stands for the lost part: a cut of its length where that is known, else a line that says so.
/// `None`: nothing is lost.
fn record(node: &NodeName, from: u64, end: Option<u64>, at_ms: u64) -> Option<Record> {
    let cut = Record { offset: from, at_ms, stderr: true, data: Bytes::new(), cut_bytes: 0 };
    match end {
        Some(end) if end > from => Some(Record { cut_bytes: end - from, ..cut }),
        Some(_) => None,
        None => {
            let text = format!(
                "runyard: what this worker wrote from byte {from} on is lost; node {node} no longer has it\n"
            );
            Some(Record { data: Bytes::from(text), ..cut })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_part_has_its_length_or_a_line_that_says_so() {
        let node: NodeName = "gpu-7".parse().expect("a name");
        let known = record(&node, 100, Some(350), 9).expect("a cut");
        assert_eq!((known.offset, known.cut_bytes, known.end()), (100, 250, 350));
        assert!(known.data.is_empty());
        assert_eq!(record(&node, 100, Some(100), 9), None, "all of it is there");
        let unknown = record(&node, 100, None, 9).expect("a line");
        assert_eq!((unknown.offset, unknown.cut_bytes), (100, 0));
        let text = String::from_utf8(unknown.data.to_vec()).expect("text");
        assert!(text.contains("byte 100") && text.contains("gpu-7"), "{text}");
        assert!(text.ends_with('\n'));
    }
}
