//! Where things lie in a cluster's directory.

use std::path::{Path, PathBuf};

/// A cluster's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    /// The supervisor's lock.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
    /// The coordinator's own directory.
    pub(crate) fn coordinator(&self) -> PathBuf {
        self.root.join("coordinator")
    }
    /// An agent's own directory.
    pub(crate) fn agent(&self, name: &str) -> PathBuf {
        self.root.join("agents").join(name)
    }
    /// The folders of an agent's workers.
    pub(crate) fn workers(&self, name: &str) -> PathBuf {
        self.agent(name).join("workers")
    }
    /// What a process wrote to stdout and stderr.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }
    /// Which process it is.
    pub(crate) fn pid(&self, name: &str) -> PathBuf {
        self.root.join("pids").join(format!("{name}.json"))
    }
    /// Ports that stay the same over restarts.
    pub(crate) fn ports(&self) -> PathBuf {
        self.root.join("ports.json")
    }
    /// Addresses, CA and the admin's token, for clients.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.root.join("credentials.toml")
    }
    /// The CA alone.
    pub(crate) fn ca(&self) -> PathBuf {
        self.root.join("ca.pem")
    }
    /// The admin's token alone.
    pub(crate) fn token(&self) -> PathBuf {
        self.coordinator().join("admin.token")
    }
}

/// The end of a file, for an error.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
