//! The folders a stage works in, its environment variables, and the safe way to take its outputs.
//!
//! `ROOT/work` is the working directory (the code snapshot, inputs placed in it), `ROOT/tmp` its
//! `/tmp`, `ROOT/run` what Runyard reads back: `results/`, `checkpoint/`, `metrics.jsonl`,
//! `output`, `summary.md`.

mod beneath;
mod collect;
mod environment;
mod place;
mod untouched;

pub use collect::{Bounds, CollectError, Collected, Entry};
pub use environment::{EnvError, Gang, StageEnv, host_environment, variable_name};
pub use place::Placed;
pub use untouched::Marks;

use std::io;
use std::path::{Path, PathBuf};

use crate::spec::User;

/// A workspace that could not be made or filled.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A path that is no path inside the working directory.
    #[error("`{path}` is not a path inside the working directory: {why}")]
    Path {
        /// As given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
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

/// A stage's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Makes the folders below `root`, which must not exist yet.
    pub fn create(root: &Path) -> Result<Self, WorkspaceError> {
        let this = Self::open(root);
        for dir in [
            root.to_path_buf(),
            this.work(),
            this.tmp(),
            root.join("run"),
            this.results(),
            this.checkpoint(),
        ] {
            std::fs::create_dir(&dir).map_err(failed("make", &dir))?;
        }
        for file in [this.metrics(), this.output(), this.summary()] {
            std::fs::File::create_new(&file).map_err(failed("make", &file))?;
        }
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(this.tmp(), open).map_err(failed("open up", &this.tmp()))?;
        Ok(this)
    }

    /// A workspace that exists.
    pub fn open(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The working directory: the code snapshot goes here.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// What the stage sees as `/tmp`.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// `$RUNYARD_RESULTS`: results files of an evaluation.
    pub fn results(&self) -> PathBuf {
        self.root.join("run/results")
    }

    /// `$RUNYARD_CHECKPOINT_DIR` where the pipeline names no path of its own.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("run/checkpoint")
    }

    /// `$RUNYARD_METRICS`: JSON lines of metrics.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("run/metrics.jsonl")
    }

    /// `$RUNYARD_OUTPUT`: `key=value` lines for later stages.
    pub fn output(&self) -> PathBuf {
        self.root.join("run/output")
    }

    /// `$RUNYARD_SUMMARY`: markdown for the run's page.
    pub fn summary(&self) -> PathBuf {
        self.root.join("run/summary.md")
    }

    /// Gives all of it to a user, links themselves and not what they point at. Needs root.
    pub fn give_to(&self, user: &User) -> Result<(), WorkspaceError> {
        give(&self.root, user)
    }

    /// Removes all of it.
    pub fn remove(&self) -> Result<(), WorkspaceError> {
        match std::fs::remove_dir_all(&self.root) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &self.root)(e)),
            _ => Ok(()),
        }
    }
}

fn give(path: &Path, user: &User) -> Result<(), WorkspaceError> {
    std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))
        .map_err(failed("give away", path))?;
    if path.symlink_metadata().map_err(failed("look at", path))?.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed("list", path))? {
            give(&entry.map_err(failed("list", path))?.path(), user)?;
        }
    }
    Ok(())
}

/// Cleans a path of the pipeline file: relative, no `..`, no NUL. `.` is the directory itself.
pub(crate) fn inside(path: &str) -> Result<Vec<&str>, WorkspaceError> {
    let refuse = |why| Err(WorkspaceError::Path { path: path.into(), why });
    if path.starts_with('/') {
        return refuse("it is absolute");
    }
    if path.contains('\0') {
        return refuse("it contains a NUL byte");
    }
    if path.is_empty() {
        return refuse("it is empty");
    }
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.contains(&"..") {
        return refuse("it contains `..`");
    }
    Ok(parts)
}

pub(crate) fn failed<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> WorkspaceError + 'a {
    move |source| WorkspaceError::Io { what, path: path.to_path_buf(), source }
}
