//! The agent's handle on one worker: its folder, and the shim that may live in it.

mod call;
mod remove;
mod spare;

pub use call::ShimAnswer;
pub use remove::sync_file_system;
pub use spare::Spares;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};

use crate::cgroup::WorkerGroup;
use crate::clock::boot_id;
use crate::processes::{self, Remain};
use crate::spec::{SpecError, WorkerSpec};
use crate::spool::SpoolReader;
use crate::status::{ExitStatus, StatusError};

/// A wait looks at the state this often whatever the shim says.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What went wrong with a worker's folder.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The file system refused; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The spec is not one, or can't be carried out.
    #[error("worker {uid}")]
    Spec {
        /// The worker.
        uid: String,
        /// What is wrong.
        source: SpecError,
    },
    /// The status file is damaged.
    #[error("worker {uid}")]
    Status {
        /// The worker.
        uid: String,
        /// What is wrong.
        source: StatusError,
    },
    /// The shim refused a command.
    #[error("the shim of worker {uid} refused `{command}`: {why}")]
    Refused {
        /// The worker.
        uid: String,
        /// The command.
        command: String,
        /// Its words.
        why: String,
    },
    /// It still has processes.
    #[error("worker {uid} is {state:?}: stop it first")]
    Alive {
        /// The worker.
        uid: String,
        /// Its state.
        state: State,
    },
}

/// Where a worker stands, as its folder tells; true whoever was restarted meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The folder is made; no shim has begun.
    Prepared,
    /// Its shim lives and the stage has no result yet.
    Running,
    /// It has a result; some process of it still lives.
    Finished,
    /// It has a result, and no process of it is left.
    Released,
    /// Its shim died without a result: killed, or (`rebooted`) the machine went down.
    Lost {
        /// The shim ran in an earlier boot, so nothing of it can be left.
        rebooted: bool,
    },
}

/// A worker's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerDir {
    path: PathBuf,
    uid: String,
}

impl WorkerDir {
    /// Makes `ROOT/UID` with its spec. The folder appears whole, by rename.
    pub fn create(root: &Path, spec: &WorkerSpec) -> Result<Self, WorkerError> {
        let refused = |source| WorkerError::Spec { uid: spec.uid.clone(), source };
        spec.check().map_err(refused)?;
        let path = root.join(&spec.uid);
        let making = root.join(format!(".{}.new", spec.uid));
        let _ = fs::remove_dir_all(&making);
        make_private(&making)?;
        make_private(&making.join("spool"))?;
        fs::write(making.join("spec"), spec.encode())?;
        fs::rename(&making, &path)?;
        Ok(Self { path, uid: spec.uid.clone() })
    }

    /// Takes over a folder that exists, whoever made it.
    pub fn adopt(path: &Path) -> Result<Self, WorkerError> {
        let uid = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        crate::spec::check_uid(&uid)
            .map_err(|source| WorkerError::Spec { uid: uid.clone(), source })?;
        fs::metadata(path.join("spec"))?;
        Ok(Self { path: path.to_path_buf(), uid })
    }

    /// All workers below `root`, by name. What is no worker's folder is passed over.
    pub fn scan(root: &Path) -> Result<Vec<Self>, WorkerError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root)? {
            found.extend(Self::adopt(&entry?.path()).ok());
        }
        found.sort_by(|a, b| a.uid.cmp(&b.uid));
        Ok(found)
    }

    /// The worker's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was told to run.
    pub fn spec(&self) -> Result<WorkerSpec, WorkerError> {
        let bytes = fs::read(self.path.join("spec"))?;
        WorkerSpec::decode(&bytes)
            .map_err(|source| WorkerError::Spec { uid: self.uid.clone(), source })
    }

    /// A reader at the start of its output.
    pub fn output(&self) -> SpoolReader {
        SpoolReader::open(self.path.join("spool"))
    }

    /// True while its shim lives: it holds the lock. No process number is asked (F30).
    pub fn is_alive(&self) -> Result<bool, WorkerError> {
        let Some(file) = self.lock_file()? else { return Ok(false) };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(false),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, e)) => Err(io::Error::from(e).into()),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> Result<State, WorkerError> {
        // The lock first: a shim writes its status before it lets go, so a free lock without a
        // status afterwards can't be a race.
        let alive = self.is_alive()?;
        let has_status = self.path.join("status").exists();
        Ok(match (alive, has_status) {
            (true, false) => State::Running,
            (true, true) => State::Finished,
            (false, true) => State::Released,
            (false, false) => match self.lock_words()? {
                None => State::Prepared,
                Some((_, boot)) => State::Lost { rebooted: boot != boot_id() },
            },
        })
    }

    /// How it ended; `None` when it hasn't. After a reboot or a lost shim there may be none ever:
    /// see [`Self::state`].
    pub fn status(&self) -> Result<Option<ExitStatus>, WorkerError> {
        let text = match fs::read_to_string(self.path.join("status")) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let refused = |source| WorkerError::Status { uid: self.uid.clone(), source };
        ExitStatus::decode(&text).map(Some).map_err(refused)
    }

    /// Blocks until no process of it is left, or it is lost, or the time has passed; returns its
    /// state then.
    pub fn wait(&self, patience: Duration) -> Result<State, WorkerError> {
        let until = Instant::now() + patience;
        loop {
            let state = self.state()?;
            let left = until.saturating_duration_since(Instant::now());
            let over = matches!(state, State::Released | State::Lost { .. });
            if over || left.is_zero() {
                return Ok(state);
            }
            // Not by an inotify instance of our own: closing one waits for all processors of the
            // machine, some ten milliseconds.
            if !self.until_hung_up(left.min(LOOK_AGAIN)) {
                std::thread::sleep(left.min(Duration::from_micros(200)));
            }
        }
    }

    /// Kills what a lost shim has left behind, waits for it, and returns what is still there.
    /// Empty: released. For workers whose shim lives it does nothing but look.
    pub fn clean_up(&self, patience: Duration) -> Result<Vec<Remain>, WorkerError> {
        let group = WorkerGroup::planned(&self.spec()?.cgroups);
        let until = Instant::now() + patience;
        loop {
            // A shim that lives owns its processes; and an earlier boot's left none.
            let lost = match self.state()? {
                State::Lost { rebooted: true } => return Ok(Vec::new()),
                State::Lost { rebooted: false } => true,
                _ => false,
            };
            if lost {
                group.kill();
                processes::kill_marked(&self.uid);
            }
            let left = processes::remains(&self.uid, &group.members());
            if left.is_empty() && lost {
                group.remove();
            }
            if left.is_empty() || Instant::now() >= until {
                return Ok(left);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The processes that are alive of it now, by their mark and cgroup.
    pub fn remains(&self) -> Result<Vec<Remain>, WorkerError> {
        let group = WorkerGroup::planned(&self.spec()?.cgroups);
        Ok(processes::remains(&self.uid, &group.members()))
    }

    fn lock_file(&self) -> Result<Option<File>, WorkerError> {
        match fs::File::open(self.path.join("lock")) {
            Ok(file) => Ok(Some(file.into_parts().0)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// When its shim began, UTC ms; `None` when none has.
    pub fn started_ms(&self) -> Result<Option<u64>, WorkerError> {
        let Some(mut file) = self.lock_file()? else { return Ok(None) };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text.split_ascii_whitespace().nth(2).and_then(|word| word.parse().ok()))
    }

    /// (pid, boot id) of the shim that began here.
    fn lock_words(&self) -> Result<Option<(u32, String)>, WorkerError> {
        let Some(mut file) = self.lock_file()? else { return Ok(None) };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut words = text.split_ascii_whitespace();
        let pid = words.next().and_then(|w| w.parse().ok());
        Ok(pid.map(|pid| (pid, words.next().unwrap_or_default().to_string())))
    }

    /// The shim's process number when it began. For people: nothing is ever signalled by it.
    pub fn shim_pid(&self) -> Result<Option<u32>, WorkerError> {
        Ok(self.lock_words()?.map(|(pid, _)| pid))
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path).map_err(|e| {
        io::Error::new(e.kind(), format!("cannot make the folder {}: {e}", path.display()))
    })
}
