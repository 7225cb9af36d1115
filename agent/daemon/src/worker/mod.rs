//! A worker's life on this node, from its spec to its result.

mod environ;
mod folder;
mod inputs;
mod metrics;
mod outcome;
mod own_files;
mod prepare;
mod publish;
mod python;
mod results;
mod scan;
mod spare;
mod start;
mod supervise;
mod values;

pub(crate) use folder::remove;
pub(crate) use metrics::Metrics;
pub(crate) use own_files::open_own;
pub(crate) use prepare::{Prepared, prepare, prepare_at_once};
pub(crate) use publish::{publish, publish_at_once};
pub(crate) use scan::{is_expired, scan};
pub(crate) use spare::SpareSpaces;
pub(crate) use start::{start, stop};
pub(crate) use supervise::supervise;

use runyard_types::{Cause, Outcome};

/// A worker that did not get on: who is answerable, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) cause: Cause,
    pub(crate) reason: String,
}

impl Fault {
    /// The user's code or file is the cause.
    pub(crate) fn failure(reason: impl Into<String>) -> Self {
        Self { cause: Cause::Failure, reason: reason.into() }
    }
    /// The machine or Runyard is the cause.
    pub(crate) fn error(reason: impl Into<String>) -> Self {
        Self { cause: Cause::Error, reason: reason.into() }
    }
    /// As [`Self::error`], with the whole chain of causes.
    pub(crate) fn caused(error: &dyn std::error::Error) -> Self {
        Self::error(chain(error))
    }
    pub(crate) fn outcome(self) -> Outcome {
        Outcome::Ended { cause: self.cause, reason: self.reason }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// Runs something that blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Fault::error(format!("the agent failed on the way: {error}"))),
    }
}
