//! The one mapping of the server's errors to gRPC.

use runyard_blobs::StoreError;
use runyard_consensus::ProposeError;
use runyard_state::Refusal;
use tonic::Status;

use crate::truth::Denied;

/// What a caller is told about a change that was not made.
pub(crate) fn status(denied: Denied) -> Status {
    match denied {
        Denied::Refused(refusal) => refused(&refusal),
        Denied::TooLarge { .. } => Status::invalid_argument(denied.to_string()),
        Denied::NoRoom { .. } => Status::resource_exhausted(denied.to_string()),
        Denied::Propose(error) => {
            let text = format!("cannot propose a change now: {error}");
            if matches!(error, ProposeError::TooLarge { .. }) {
                Status::invalid_argument(text)
            } else {
                Status::unavailable(text)
            }
        }
        Denied::Read(error) => {
            Status::unavailable(format!("cannot read the latest state now: {error}"))
        }
        Denied::Stopping => Status::unavailable("the coordinator is stopping; try again"),
    }
}

/// A refusal of the state as a status.
pub(crate) fn refused(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::NotFound { .. } => Status::not_found(text),
        Refusal::Conflict { .. } => Status::already_exists(text),
        Refusal::Precondition { .. } | Refusal::Stale { .. } => Status::failed_precondition(text),
        Refusal::Exhausted { .. } => Status::resource_exhausted(text),
        Refusal::Invalid { .. } => Status::invalid_argument(text),
        Refusal::Denied { .. } => Status::permission_denied(text),
    }
}

/// What a caller is told about the blob store.
pub(crate) fn store(error: StoreError) -> Status {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Status::internal(text)
}

/// The same for calls that share one sync, and its failure.
pub(crate) fn shared_store(error: std::sync::Arc<StoreError>) -> Status {
    Status::internal(error.to_string())
}
