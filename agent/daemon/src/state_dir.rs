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

/// By what a folder is told from a copy of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    boot_id: String,
    inode: u64,
    path: String,
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
        check_place(&root)?;
        let path = root.join("position");
        let position = PositionFile::open(&path).map_err(AgentError::io("open", &path))?;
        let paths = Paths { root, position: Arc::new(position) };
        for folder in [paths.workers(), paths.spaces(), paths.cache()] {
            make(&folder)?;
        }
        Ok(Self { paths, _lock: lock })
    }
}

/// Refuses a copy of a folder of this very host: what is dead in the copy may live in the original, under
/// the same names. A copy on another host, or after a restart of this one, can't harm what runs; that two
/// agents answer as one node is then the group's to notice.
fn check_place(root: &Path) -> Result<(), AgentError> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(root).map_err(AgentError::io("look at", root))?;
    let now = Place {
        boot_id: runyard_runtime::clock::boot_id(),
        inode: metadata.ino(),
        path: root.display().to_string(),
    };
    let mark = root.join("place");
    let kept = fs::read(&mark).ok().and_then(|text| serde_json::from_slice::<Place>(&text).ok());
    match kept {
        Some(kept) if kept == now => return Ok(()),
        Some(kept) if kept.boot_id == now.boot_id && kept.inode != now.inode => {
            return Err(AgentError::Copied { path: root.to_path_buf(), original: kept.path, mark });
        }
        // Another start of the host, or the folder has another name: it is written anew.
        Some(_) | None => {}
    }
    let text = serde_json::to_vec_pretty(&now).expect("names and numbers are JSON");
    replace_durably(&mark, &text).map_err(AgentError::io("write", &mark))
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
    fn f29_a_copy_of_a_folder_of_this_host_is_refused_and_a_moved_or_foreign_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, copy) = (folder.path().join("a"), folder.path().join("b"));
        drop(StateDir::open(&first).expect("free"));
        drop(StateDir::open(&first).expect("the same again"));
        fs::create_dir(&copy).expect("made");
        fs::copy(first.join("place"), copy.join("place")).expect("copied");
        let refused = StateDir::open(&copy).expect_err("a copy").to_string();
        for part in ["/b` is a copy of", "/a`", "join token of its own", "/b/place`"] {
            assert!(refused.contains(part), "`{part}` is missing in {refused}");
        }
        // The remedy.
        fs::remove_file(copy.join("place")).expect("removed");
        drop(StateDir::open(&copy).expect("taken as it is"));
        // Renamed, it is the same folder.
        let moved = folder.path().join("c");
        fs::rename(&first, &moved).expect("moved");
        drop(StateDir::open(&moved).expect("the same folder"));
        // From another host, or from before a restart.
        let text = fs::read_to_string(moved.join("place")).expect("read");
        let boot = runyard_runtime::clock::boot_id();
        assert!(text.contains(&boot), "{text}");
        fs::write(copy.join("place"), text.replace(&boot, "another")).expect("written");
        drop(StateDir::open(&copy).expect("nothing of it runs here"));
        fs::write(copy.join("place"), "torn").expect("written");
        drop(StateDir::open(&copy).expect("rubbish says nothing"));
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
