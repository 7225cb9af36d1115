//! The agent's folder: who has it, what it remembers.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::AgentError;
use crate::core::Position;
use crate::position::PositionFile;

/// Where things lie.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) root: PathBuf,
    position: Arc<PositionFile>,
}

impl Paths {
    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("identity.pem")
    }
    /// Folders of shims, as they know them.
    pub(crate) fn workers(&self) -> PathBuf {
        self.root.join("workers")
    }
    /// What the agent keeps of each worker: its spec, its workspace, its result.
    pub(crate) fn spaces(&self) -> PathBuf {
        self.root.join("spaces")
    }
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }
    pub(crate) fn gateway(&self) -> PathBuf {
        self.root.join("gateway")
    }
    fn memory(&self) -> PathBuf {
        self.root.join("agent.json")
    }
    /// The highest position obeyed; the beginning if none is known.
    pub(crate) fn load_position(&self) -> Position {
        self.position.get()
    }
    /// Notes the highest position obeyed.
    pub(crate) fn save_position(&self, at: Position) -> std::io::Result<()> {
        self.position.set(at)
    }
}

/// The folder, taken for as long as this lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    pub(crate) paths: Paths,
    _lock: Flock<std::fs::File>,
}

/// What outlives the process, besides workers and identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Makes the names of this agent's workers differ from those of any other on the host.
    pub(crate) agent: String,
    /// The group's addresses, as it gave them when the agent joined.
    pub(crate) addresses: Vec<String>,
    pub(crate) session_counter: u64,
}

impl StateDir {
    /// Takes the folder; it is made if it is missing.
    pub(crate) fn open(root: &Path) -> Result<Self, AgentError> {
        use std::os::unix::fs::DirBuilderExt;
        let make = |path: &Path| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(AgentError::io("make the folder", path))
        };
        make(root)?;
        let root = root.canonicalize().map_err(AgentError::io("open", root))?;
        let path = root.join("lock");
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(AgentError::io("open", &path))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Err(AgentError::Locked(root)),
            Err((_, errno)) => return Err(AgentError::io("lock", &path)(errno.into())),
        };
        let path = root.join("position");
        let position = PositionFile::open(&path).map_err(AgentError::io("open", &path))?;
        let paths = Paths { root, position: Arc::new(position) };
        for folder in [paths.workers(), paths.spaces(), paths.cache()] {
            make(&folder)?;
        }
        Ok(Self { paths, _lock: lock })
    }
}

impl Memory {
    /// What was kept, or a beginning.
    ///
    /// # Errors
    /// It can't be read, and there are workers: by its agent's name they are known, and an agent of
    /// another name would take those that run for none.
    pub(crate) fn load(paths: &Paths) -> Result<Self, AgentError> {
        let fresh = || Self {
            agent: ulid::Ulid::generate().to_string(),
            addresses: Vec::new(),
            session_counter: 0,
        };
        let path = paths.memory();
        let kept = fs::read(&path);
        let why = match kept.and_then(|bytes| serde_json::from_slice(&bytes).map_err(Into::into)) {
            Ok(memory) => return Ok(memory),
            Err(error) => error,
        };
        let spaces = paths.spaces();
        let mut workers = fs::read_dir(&spaces).map_err(AgentError::io("look into", &spaces))?;
        // A spare folder is nobody's.
        let is_one = |entry: std::io::Result<fs::DirEntry>| {
            entry.map_or(true, |entry| !is_spare(&entry.file_name()))
        };
        if workers.any(is_one) {
            return Err(AgentError::Forgotten { path, spaces, why });
        }
        if why.kind() != std::io::ErrorKind::NotFound {
            tracing::warn!(error = %why, path = %path.display(), "unreadable; begun anew");
        }
        Ok(fresh())
    }

    pub(crate) fn save(&self, paths: &Paths) -> Result<(), AgentError> {
        let path = paths.memory();
        let text = serde_json::to_vec_pretty(self).expect("names and numbers are JSON");
        replace_durably(&path, &text).map_err(AgentError::io("write", &path))
    }
}

/// A folder without a worker: kept to be used again, or half made or removed.
pub(crate) fn is_spare(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Replaces a file whole; after a power cut, too, the old or the new one is there.
fn replace_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = fs::File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Replaces a file whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes)?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_on_a_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = StateDir::open(&folder.path().join("a")).expect("free");
        let second = StateDir::open(&folder.path().join("a")).expect_err("taken").to_string();
        assert!(second.contains("another agent uses") && second.contains("/a"), "{second}");
        drop(first);
        StateDir::open(&folder.path().join("a")).expect("free again");
    }

    #[test]
    fn what_is_kept_is_found_again_and_rubbish_is_a_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StateDir::open(folder.path()).expect("free");
        assert_eq!(dir.paths.load_position(), Position::default());
        let at = Position { generation: 2, index: 77 };
        dir.paths.save_position(at).expect("written");
        drop(dir);
        let dir = StateDir::open(folder.path()).expect("free again");
        assert_eq!(dir.paths.load_position(), at);
        let mut memory = Memory::load(&dir.paths).expect("a beginning");
        memory.session_counter = 9;
        memory.save(&dir.paths).expect("written");
        let again = Memory::load(&dir.paths).expect("kept");
        assert_eq!((again.session_counter, again.agent), (9, memory.agent));
    }

    #[test]
    fn f24_an_agent_that_forgot_its_name_does_not_start_over_its_workers() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StateDir::open(folder.path()).expect("free");
        fs::write(dir.paths.memory(), "{ torn").expect("written");
        fs::create_dir(dir.paths.spaces().join(".spare-1")).expect("a spare");
        Memory::load(&dir.paths).expect("nobody is lost: begun anew");
        fs::create_dir(dir.paths.spaces().join("train-1")).expect("a worker");
        let refused = Memory::load(&dir.paths).expect_err("torn").to_string();
        assert!(refused.contains("agent.json") && refused.contains("spaces"), "{refused}");
        fs::remove_file(dir.paths.memory()).expect("removed");
        Memory::load(&dir.paths).expect_err("gone");
        fs::create_dir(dir.paths.memory()).expect("made");
        Memory::load(&dir.paths).expect_err("not to be read");
    }
}
