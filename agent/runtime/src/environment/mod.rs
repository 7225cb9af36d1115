//! Python environments, built once per content and shared read-only by all stages of a node.
//!
//! `DIR/KEY/` is a virtual environment built in place (its scripts name their own path, so
//! it can't be moved); the file `.complete` in it says that it is whole, and its modification time
//! is the time of last use. `DIR/KEY.lock` serialises builders, and is held shared by users.

mod build;
mod evict;
mod key;
mod step;
mod tool;

pub use build::{Built, Environments, Pin};
pub use evict::Evicted;
pub use key::EnvironmentSpec;
pub use tool::{Python, find_python};

use std::io;
use std::path::PathBuf;

/// Milliseconds between two looks whether a build was called off.
const LOOK_EVERY_MS: u16 = 100;

/// Why an environment could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// No interpreter of that version.
    #[error("no Python {wanted} on PATH ({tried}); install it, or `uv`, which fetches it")]
    NoPython {
        /// The version asked for, or `3`.
        wanted: String,
        /// What was looked at.
        tried: String,
    },
    /// A step of the build failed; the last lines of its output are here.
    #[error("cannot build the Python environment {key}: `{step}` failed ({how}):\n{tail}")]
    Step {
        /// The content key.
        key: String,
        /// The command, shortened.
        step: String,
        /// Its exit status.
        how: String,
        /// The end of what it printed.
        tail: String,
    },
    /// The build was called off by its log callback.
    #[error("the build of the Python environment {key} was cancelled")]
    Cancelled {
        /// The content key.
        key: String,
    },
    /// The file system refused.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
