//! One segment into the store, and its acknowledgement.

use std::time::Duration;

use bytes::Bytes;
use runyard_blobs::client::TransferError;
use runyard_blobs::segment::{Record, SegmentError, SegmentWriter};
use runyard_proto::agent::agent_client::AgentClient;
use runyard_proto::agent::{Channel, SealRequest};
use runyard_transport::retry::{self, Backoff, Verdict, classify};
use runyard_types::WorkerKey;
use tonic::{Code, Status};

use crate::shared::Shared;
use crate::transfer::transfer;

/// A segment is built of about this much output.
pub(super) const SEGMENT_BYTES: usize = 8 << 20;
/// One call.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// A log waits for its group as long as it takes.
const PATIENCE: Backoff = Backoff {
    base: Duration::from_millis(50),
    max: Duration::from_secs(10),
    budget: Duration::from_secs(u32::MAX as u64),
};

/// Why a part was not sealed.
#[derive(Debug)]
pub(super) enum Refused {
    /// It does not follow what is sealed: ask how far that is.
    Elsewhere,
    /// Nobody knows the worker any more.
    Unknown,
}

/// A part of a log, ready to be sealed.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) lines: u64,
    pub(super) bytes: Bytes,
}

/// Builds a segment; `None` of no records.
pub(super) fn part(from: u64, records: &[Record]) -> Result<Option<Part>, SegmentError> {
    // A compressor is dear to make, and most short workers say nothing.
    if records.is_empty() {
        return Ok(None);
    }
    let mut writer = SegmentWriter::new(from)?;
    for record in records {
        writer.push(record)?;
    }
    let (to, lines) = (writer.end(), writer.lines());
    if to == from {
        return Ok(None);
    }
    Ok(Some(Part { from, to, lines, bytes: writer.finish()? }))
}

/// Stores a part and has it sealed; waits for the group as long as it takes.
pub(super) async fn ship(
    shared: &Shared,
    key: &WorkerKey,
    channel: Channel,
    part: &Part,
    last: bool,
) -> Result<u64, Refused> {
    let remote = shared.remote(&key.attempt.task.project);
    let mut failed = 0;
    let digest = loop {
        let (remote, bytes) = (remote.clone(), part.bytes.clone());
        match transfer(&shared.stop, move || async move { remote.put_blob(bytes).await }).await {
            Some(Ok(digest)) => break digest,
            Some(Err(error)) => pause(key, &mut failed, &status(&error)).await,
            None => pause(key, &mut failed, &Status::cancelled("the upload was cut off")).await,
        }
    };
    let request = SealRequest {
        project: key.attempt.task.project.to_string(),
        worker: key.to_string(),
        channel: channel as i32,
        from: part.from,
        to: part.to,
        segment: Bytes::copy_from_slice(digest.as_bytes()),
        last,
        lines: part.lines,
    };
    seal(shared, key, request).await
}

/// Says that there is nothing behind `at`.
pub(super) async fn close(
    shared: &Shared,
    key: &WorkerKey,
    channel: Channel,
    at: u64,
) -> Result<u64, Refused> {
    let request = SealRequest { from: at, to: at, last: true, ..empty(key, channel) };
    seal(shared, key, request).await
}

/// How far the worker is sealed.
pub(super) async fn sealed_to(
    shared: &Shared,
    key: &WorkerKey,
    channel: Channel,
) -> Result<u64, Refused> {
    // A seal of nothing at 0 is behind whatever is sealed, and is answered with how far that is.
    seal(shared, key, empty(key, channel)).await
}

fn empty(key: &WorkerKey, channel: Channel) -> SealRequest {
    SealRequest {
        project: key.attempt.task.project.to_string(),
        worker: key.to_string(),
        channel: channel as i32,
        ..SealRequest::default()
    }
}

async fn seal(shared: &Shared, key: &WorkerKey, request: SealRequest) -> Result<u64, Refused> {
    let mut failed = 0;
    loop {
        let client = AgentClient::new(shared.channels.calls());
        let answer = retry::retry(PATIENCE, || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.seal(retry::request(request, CALL_WITHIN)).await }
        });
        let status = match answer.await {
            Ok(answer) => return Ok(answer.into_inner().sealed_to),
            Err(status) => status,
        };
        match status.code() {
            Code::NotFound => return Err(Refused::Unknown),
            Code::FailedPrecondition | Code::AlreadyExists => {
                tracing::debug!(worker = %key, %status, "a seal does not follow");
                return Err(Refused::Elsewhere);
            }
            _ => pause(key, &mut failed, &status).await,
        }
    }
}

/// A log is never given up for an error: whatever is wrong may be put right.
async fn pause(key: &WorkerKey, failed: &mut u32, status: &Status) {
    let delay = PATIENCE.delay(*failed, rand::random());
    if matches!(classify(status), Verdict::Final) || *failed > 5 {
        tracing::warn!(worker = %key, %status, "its log cannot be sealed yet");
    }
    *failed += 1;
    tokio::time::sleep(delay).await;
}

fn status(error: &TransferError) -> Status {
    match error {
        TransferError::Remote { source, .. } => source.clone(),
        other => Status::unknown(other.to_string()),
    }
}
