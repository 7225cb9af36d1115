//! Why a cluster's process was not started or stopped.

use std::io;
use std::path::PathBuf;

/// Why a cluster is not as it was asked to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// Another supervisor has the directory.
    #[error("another `runyard dev` works on `{}`; stop it, or use another directory with --dir", .0.display())]
    Locked(PathBuf),
    /// The file system or the kernel refused.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A helper call of the binary failed.
    #[error("`runyard {verb}` failed: {said}")]
    Verb { verb: String, said: String },
    /// A process ended instead of serving.
    #[error("the {name} ended before it was ready ({how}); the end of `{}`:\n{tail}", log.display())]
    Ended { name: String, how: String, log: PathBuf, tail: String },
    /// A process does not get ready.
    #[error("the {name} is not ready after {seconds} s; the end of `{}`:\n{tail}", log.display())]
    Slow { name: String, seconds: u64, log: PathBuf, tail: String },
    /// A file of the directory is not what was written there.
    #[error("`{}` is damaged: {why}; remove the directory to begin anew", path.display())]
    Damaged { path: PathBuf, why: String },
    /// It outlived a SIGKILL.
    #[error("process {pid} ({name}) does not end, not even by SIGKILL")]
    Undying { name: String, pid: i32 },
}

impl ClusterError {
    pub(super) fn io(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}
