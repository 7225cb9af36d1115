//! Why a command was refused. A refusal changes nothing and makes no event.

use serde::{Deserialize, Serialize};

/// The answer to a command that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("there is no {what} `{name}`")]
    NotFound { what: String, name: String },
    #[error("{what}")]
    Conflict { what: String },
    #[error("{what}")]
    Precondition { what: String },
    /// An attempt that is not its task's current one tried to change it.
    #[error("attempt {attempt} is not the current one of its task (that is {current})")]
    Stale { attempt: String, current: String },
    #[error("{what}")]
    Exhausted { what: String },
    #[error("{what}")]
    Invalid { what: String },
    #[error("{what}")]
    Denied { what: String },
}

impl Refusal {
    pub(crate) fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        Self::NotFound { what: what.into(), name: name.to_string() }
    }
    pub(crate) fn precondition(what: impl Into<String>) -> Self {
        Self::Precondition { what: what.into() }
    }
    pub(crate) fn conflict(what: impl Into<String>) -> Self {
        Self::Conflict { what: what.into() }
    }
}
