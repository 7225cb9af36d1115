//! Sealing parts of workers' logs and metrics.

use runyard_blobs::segment::{Manifest, SegmentRef};
use runyard_proto::agent::{Channel, SealRequest, SealResponse};
use runyard_state::{Command, Reply, Seal, SealChannel};
use runyard_types::{Digest, NodeName};
use tonic::Status;

use super::convert;
use crate::core::Core;
use crate::errors::status;

pub(super) async fn seal(
    core: &Core,
    node: NodeName,
    request: SealRequest,
) -> Result<SealResponse, Status> {
    let worker = convert::worker_key(&request.project, &request.worker)?;
    let channel = match Channel::try_from(request.channel) {
        Ok(Channel::Log) => SealChannel::Log,
        Ok(Channel::Metrics) => SealChannel::Metrics,
        _ => return Err(Status::invalid_argument("an unknown channel")),
    };
    let view = core.truth.view();
    let (_, known) = view
        .state
        .worker(&worker)
        .ok_or_else(|| Status::not_found(format!("there is no worker {worker}")))?;
    if known.node != node {
        return Err(Status::permission_denied(format!("worker {worker} is not on node {node}")));
    }
    let sealed = match channel {
        SealChannel::Log => &known.log,
        SealChannel::Metrics => &known.metrics,
    };
    // A repeated seal is answered with how far things are.
    if request.to <= sealed.to && (sealed.complete || !request.last) {
        return Ok(SealResponse { sealed_to: sealed.to });
    }
    let project = worker.attempt.task.project.clone();
    let manifest = if request.to > request.from {
        let segment = Digest::from_slice(&request.segment)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        if !core.store.find_missing(&project, &[segment]).is_empty() {
            return Err(Status::failed_precondition(format!(
                "segment {} is not in the store",
                segment.short()
            )));
        }
        let mut manifest = match sealed.manifest {
            Some(digest) => {
                let bytes = core.store.get_blob(&project, &digest).map_err(crate::errors::store)?;
                Manifest::decode(&bytes).map_err(|e| Status::data_loss(e.to_string()))?
            }
            None => Manifest::default(),
        };
        let segment = SegmentRef {
            from: request.from,
            to: request.to,
            digest: segment,
            lines: request.lines,
            last_at_ms: crate::clock::wall_ms(),
        };
        manifest
            .push(segment, request.last)
            .map_err(|e| Status::failed_precondition(e.to_string()))?;
        let bytes = manifest.encode();
        let store = core.store.clone();
        let digest = tokio::task::spawn_blocking(move || store.put_blob(&project, bytes))
            .await
            .map_err(|_| Status::internal("storing the manifest was cut off"))?
            .map_err(crate::errors::shared_store)?;
        Some(digest)
    } else {
        None
    };
    let command = Seal {
        node,
        worker,
        channel,
        from: request.from,
        to: request.to,
        manifest,
        complete: request.last,
    };
    match core.truth.propose(Command::Seal(command)).await.map_err(status)? {
        Reply::Sealed(to) => Ok(SealResponse { sealed_to: to }),
        _ => Ok(SealResponse { sealed_to: request.to }),
    }
}
