//! Why the read model has no answer.

use runyard_state::EventNumber;
use runyard_types::DecodeError;

/// Why the read model has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadModelError {
    /// It is behind, or being built anew; the truth is not touched.
    #[error("the read model is being built from the state; try again in a moment")]
    NotReady,
    /// The events asked for are no longer held anywhere.
    #[error("events up to {}.{} are no longer kept; list again and go on from there", floor.0, floor.1)]
    Compacted { floor: EventNumber },
    #[error("there is no run `{0}` to go on from; begin the list again")]
    Cursor(String),
    #[error("cannot use the read model's files")]
    Sled(#[from] sled::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its parts contradict each other.
    #[error("the read model is damaged: {0}")]
    Damaged(String),
    /// sled gave up on files that it did not understand.
    #[error("reading the read model's files failed: {0}")]
    Panicked(String),
}

impl ReadModelError {
    /// Whether the files are to blame.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::NotReady | Self::Compacted { .. } | Self::Cursor(_) => false,
            Self::Sled(_) | Self::Decode(_) | Self::Damaged(_) | Self::Panicked(_) => true,
        }
    }
}
