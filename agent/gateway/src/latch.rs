//! Rollbacks that outlive the process: `latches.json` in the gateway's folder.

use std::collections::BTreeMap;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err as fs;
use runyard_types::{DeploymentName, ProjectName};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

const FILE: &str = "latches.json";
const VERSION: u32 = 1;

/// The file of latches can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LatchError {
    #[error("can't read or write the record of rollbacks")]
    Io(#[from] io::Error),
    /// Starting without it could put a revision back that was rolled back for cause.
    #[error(
        "{path} is not a record of rollbacks of version {VERSION}; restore it, or remove it to let \
         the revisions named in it serve again"
    )]
    Unreadable {
        path: PathBuf,
        #[source]
        source: Option<serde_json::Error>,
    },
}

/// A revision that this host's gateway took out of service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latch {
    pub(crate) project: ProjectName,
    pub(crate) deployment: DeploymentName,
    pub(crate) revision: u32,
    /// The revision that serves instead.
    pub(crate) to: u32,
    pub(crate) reason: String,
    pub(crate) affected: u64,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    latches: Vec<Latch>,
}

type Key = (ProjectName, DeploymentName);

/// The newest latch of each deployment.
#[derive(Debug)]
pub(crate) struct Latches {
    path: PathBuf,
    known: Mutex<Known>,
    /// Wakes the task that writes.
    pub(crate) unwritten: Notify,
}

#[derive(Debug, Default)]
struct Known {
    latches: BTreeMap<Key, Latch>,
    /// Counts changes; those up to `written` are on disk.
    changes: u64,
    written: u64,
    tried: u64,
    changed_at: BTreeMap<Key, u64>,
}

impl Latches {
    /// Reads the file; none is no latch, an unreadable one is an error.
    pub(crate) fn open(folder: &Path) -> Result<Self, LatchError> {
        fs::create_dir_all(folder)?;
        let path = folder.join(FILE);
        let latches = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
            Ok(bytes) => match serde_json::from_slice::<Contents>(&bytes) {
                Ok(contents) if contents.version == VERSION => contents.latches,
                Ok(_) => return Err(LatchError::Unreadable { path, source: None }),
                Err(error) => return Err(LatchError::Unreadable { path, source: Some(error) }),
            },
        };
        let latches = latches
            .into_iter()
            .map(|latch| ((latch.project.clone(), latch.deployment.clone()), latch))
            .collect();
        let known = Mutex::new(Known { latches, ..Known::default() });
        Ok(Self { path, known, unwritten: Notify::new() })
    }

    pub(crate) fn get(&self, project: &ProjectName, deployment: &DeploymentName) -> Option<Latch> {
        self.lock().latches.get(&(project.clone(), deployment.clone())).cloned()
    }

    /// Adds a latch and wakes the writer.
    pub(crate) fn set(&self, latch: Latch) {
        let mut known = self.lock();
        known.changes += 1;
        let key = (latch.project.clone(), latch.deployment.clone());
        let change = known.changes;
        known.changed_at.insert(key.clone(), change);
        known.latches.insert(key, latch);
        drop(known);
        self.unwritten.notify_one();
    }

    /// Whether the latch of the deployment may be told: it is on disk, or the disk refused it.
    pub(crate) fn may_be_said(&self, project: &ProjectName, deployment: &DeploymentName) -> bool {
        let known = self.lock();
        let key = (project.clone(), deployment.clone());
        known.changed_at.get(&key).is_none_or(|change| *change <= known.tried)
    }

    /// Writes what is not on disk yet: temp, fsync, rename, fsync the folder.
    pub(crate) fn write(&self) -> io::Result<()> {
        let (change, contents) = {
            let known = self.lock();
            if known.written == known.changes {
                return Ok(());
            }
            let latches = known.latches.values().cloned().collect();
            (known.changes, Contents { version: VERSION, latches })
        };
        let result = self.replace(&contents);
        let mut known = self.lock();
        known.tried = known.tried.max(change);
        if result.is_ok() {
            known.written = known.written.max(change);
        }
        result
    }

    fn replace(&self, contents: &Contents) -> io::Result<()> {
        let temp = self.path.with_extension("json.new");
        let mut file = fs::File::create(&temp)?;
        file.write_all(&serde_json::to_vec_pretty(contents)?)?;
        file.sync_all()?;
        fs::rename(&temp, &self.path)?;
        match self.path.parent() {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latch(revision: u32) -> Latch {
        Latch {
            project: ProjectName::default_project(),
            deployment: DeploymentName::new("digits").expect("a name"),
            revision,
            to: 1,
            reason: "errors".into(),
            affected: 4,
        }
    }

    #[test]
    fn a_latch_survives_and_is_said_only_after_the_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let latches = Latches::open(folder.path()).expect("no file yet");
        let (project, deployment) = (latch(2).project, latch(2).deployment);
        assert_eq!(latches.get(&project, &deployment), None);
        latches.set(latch(2));
        assert!(!latches.may_be_said(&project, &deployment));
        latches.write().expect("room on the disk");
        assert!(latches.may_be_said(&project, &deployment));
        let again = Latches::open(folder.path()).expect("its own file");
        assert_eq!(again.get(&project, &deployment), Some(latch(2)));
    }

    #[test]
    fn a_broken_record_stops_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["{", "{\"version\":9,\"latches\":[]}", ""] {
            fs::write(folder.path().join(FILE), text).expect("a file");
            let error = Latches::open(folder.path()).expect_err("unreadable").to_string();
            assert!(error.contains(FILE) && error.contains("restore it"), "{error}");
        }
    }
}
