//! The agent's way to start shims.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use nix::unistd::pipe2;

use crate::secrets::{SECRETS_MAX, Secrets};
use crate::zygote::{PATH_MAX, ZYGOTE};

/// A worker that was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The binary could not be opened or started as a zygote.
    #[error("cannot start the zygote from {binary}")]
    Zygote {
        /// The binary.
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The zygote was there and did not answer, twice.
    #[error("no shim for {dir}: the zygote does not answer")]
    Silent {
        /// The worker's folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The shim refused its folder; nothing was started.
    #[error("the shim refused {dir}: {why}")]
    Refused {
        /// The worker's folder.
        dir: PathBuf,
        /// Its words.
        why: String,
    },
    /// Too long a path, or too many secrets.
    #[error("cannot launch {dir}: {why}")]
    Request {
        /// The worker's folder.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Starts shims through a zygote, and a new zygote when the old one is gone.
///
/// Calls from several threads may overlap; each blocks until its shim holds its lock (about half a
/// millisecond). In async code, call it on a blocking thread.
#[derive(Debug)]
pub struct Launcher {
    binary: PathBuf,
    /// Open from the start, so that shims keep coming from the binary that runs, whatever an
    /// upgrade puts in its place.
    executable: File,
    zygote: Mutex<Option<Zygote>>,
}

#[derive(Debug)]
struct Zygote {
    socket: OwnedFd,
    child: Child,
}

impl Launcher {
    /// A launcher that starts this very program, whose `main` calls [`crate::dispatch`] first.
    pub fn from_this_binary() -> Result<Self, LaunchError> {
        Self::new(Path::new("/proc/self/exe"))
    }

    /// A launcher that starts another binary, whose `main` calls [`crate::dispatch`] first.
    pub fn new(binary: &Path) -> Result<Self, LaunchError> {
        let failed = |source| LaunchError::Zygote { binary: binary.to_path_buf(), source };
        let executable = File::open(binary).map_err(failed)?;
        let launcher = Self { binary: binary.to_path_buf(), executable, zygote: Mutex::new(None) };
        let zygote = launcher.start_zygote()?;
        *launcher.lock() = Some(zygote);
        Ok(launcher)
    }

    /// Starts the shim of a worker's folder. `Ok`: it holds the lock and has read its spec; all
    /// that happens from now on is in its status.
    ///
    /// `secrets` go into the stage's environment and are masked in its output.
    pub fn launch(&self, dir: &Path, secrets: &[(String, String)]) -> Result<(), LaunchError> {
        let request = |why: String| LaunchError::Request { dir: dir.to_path_buf(), why };
        if dir.as_os_str().len() >= PATH_MAX || !dir.is_absolute() {
            return Err(request("its path is relative or longer than 4095 bytes".into()));
        }
        for attempt in 0.. {
            let secrets = secret_pipe(secrets).map_err(&request)?;
            match self.ask(dir, secrets.as_ref()) {
                Ok(answer) if answer == "ok\n" => return Ok(()),
                Ok(answer) if !answer.is_empty() => {
                    let why = answer.trim_start_matches("error ").trim_end().to_string();
                    return Err(LaunchError::Refused { dir: dir.to_path_buf(), why });
                }
                // An end without an answer: the zygote, or the shim, died. A folder can be started
                // only once, so asking again is safe.
                Ok(_) if attempt == 0 => {}
                Ok(_) => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(LaunchError::Silent { dir: dir.to_path_buf(), source });
                }
                Err(_) if attempt == 0 => {}
                Err(source) => return Err(LaunchError::Silent { dir: dir.to_path_buf(), source }),
            }
            self.replace_zygote()?;
        }
        unreachable!("the second attempt returns")
    }

    /// The zygote's process number, for tests and `doctor`.
    pub fn zygote_pid(&self) -> Option<u32> {
        self.lock().as_ref().map(|z| z.child.id())
    }

    fn ask(&self, dir: &Path, secrets: Option<&OwnedFd>) -> io::Result<String> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        {
            let zygote = self.lock();
            let socket = &zygote.as_ref().ok_or(io::ErrorKind::NotConnected)?.socket;
            let mut fds: Vec<RawFd> = vec![write.as_raw_fd()];
            fds.extend(secrets.map(AsRawFd::as_raw_fd));
            let slices = [IoSlice::new(dir.as_os_str().as_bytes())];
            let rights = [ControlMessage::ScmRights(&fds)];
            sendmsg::<()>(socket.as_raw_fd(), &slices, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        }
        drop(write);
        let mut answer = String::new();
        File::from(read).read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Zygote>> {
        // Nothing panics while it is held; a poisoned one is as good.
        self.zygote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a new zygote when the present one is dead.
    fn replace_zygote(&self) -> Result<(), LaunchError> {
        let mut slot = self.lock();
        if let Some(zygote) = slot.as_mut()
            && matches!(zygote.child.try_wait(), Ok(None))
        {
            return Ok(());
        }
        tracing::warn!("the zygote has died; starting another");
        *slot = None;
        *slot = Some(self.start_zygote()?);
        Ok(())
    }

    fn start_zygote(&self) -> Result<Zygote, LaunchError> {
        let failed = |source| LaunchError::Zygote { binary: self.binary.clone(), source };
        let kind = SockType::SeqPacket;
        let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|e| failed(e.into()))?;
        let child = Command::new(format!("/proc/self/fd/{}", self.executable.as_raw_fd()))
            .arg(ZYGOTE)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Zygote { socket: ours, child })
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It would leave by itself once the socket closes; killing it first spares the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that holds the secrets, its writing end closed.
fn secret_pipe(secrets: &[(String, String)]) -> Result<Option<OwnedFd>, String> {
    if secrets.is_empty() {
        return Ok(None);
    }
    for (name, value) in secrets {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("{name:?} is not the name of a variable"));
        }
        if value.contains('\0') {
            return Err(format!(
                "the secret {name} contains a NUL byte, which no variable can hold"
            ));
        }
    }
    let mut bytes = Secrets::encode(secrets);
    if bytes.len() > SECRETS_MAX {
        return Err(format!("its secrets have {} bytes, 1 MiB fit", bytes.len()));
    }
    let filled = (|| {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        if bytes.len() > 65_536 {
            fcntl(&write, FcntlArg::F_SETPIPE_SZ(SECRETS_MAX as i32))?;
        }
        File::from(write).write_all(&bytes)?;
        Ok::<_, io::Error>(read)
    })();
    bytes.fill(0);
    std::hint::black_box(&mut bytes);
    filled.map(Some).map_err(|e| format!("cannot pass its secrets: {e}"))
}
