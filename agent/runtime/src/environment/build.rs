//! Building an environment, once, whoever asks at the same time.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::step::{self, Ended};
use super::tool::{Python, find_python, find_uv};
use super::{EnvironmentError, EnvironmentSpec, LOOK_EVERY_MS};
use crate::worker::sync_file_system;

const COMPLETE: &str = ".complete";

/// The environments of a node's cache.
#[derive(Debug, Clone)]
pub struct Environments {
    pub(super) dir: PathBuf,
}

/// An environment that is there and in use.
#[derive(Debug)]
pub struct Built {
    /// Its content key.
    pub key: String,
    /// Its folder; programs are in `bin` below it.
    pub path: PathBuf,
    /// The interpreter it was made of.
    pub python: Python,
    /// It was there already.
    pub cached: bool,
    /// Keeps it from eviction.
    pub pin: Pin,
}

/// While it lives, an environment is not evicted, neither by this process nor by another.
#[derive(Debug)]
pub struct Pin(#[expect(dead_code, reason = "held for its lock")] Flock<File>);

impl Environments {
    /// The environments in this folder; it is made when needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The environment for this spec: found, or built, with every line of the build's output given
    /// to `log`, and an empty one now and then while there is none; a `Break` from it cancels the build. Blocks,
    /// also on another process that builds the same.
    pub fn get(
        &self,
        spec: &EnvironmentSpec,
        mut log: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Built, EnvironmentError> {
        let python = find_python(spec.python.as_deref())?;
        let host_index = std::env::var("PIP_INDEX_URL").unwrap_or_default();
        let interpreter = format!("{} {}", python.version, python.path.display());
        let key = spec.key(&interpreter, &host_index);
        let path = self.dir.join(&key);
        std::fs::create_dir_all(&self.dir).map_err(failed("make", &self.dir))?;
        loop {
            let built = |pin, cached| Built {
                key: key.clone(),
                path: path.clone(),
                python: python.clone(),
                cached,
                pin: Pin(pin),
            };
            let lock = self.wait(&key, FlockArg::LockSharedNonblock, &mut log)?;
            if is_complete(&path, &python) {
                touch(&path.join(COMPLETE)).map_err(failed("stamp", &path))?;
                return Ok(built(lock, true));
            }
            drop(lock);
            let lock = self.wait(&key, FlockArg::LockExclusiveNonblock, &mut log)?;
            if is_complete(&path, &python) {
                continue;
            }
            if path.exists() {
                std::fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
            }
            let result =
                Build { key: &key, path: &path, python: &python, spec, lock: &lock, log: &mut log }
                    .run();
            if let Err(e) = result {
                let _ = std::fs::remove_dir_all(&path);
                return Err(e);
            }
            // From builder to user without a moment in which it could be evicted: flock converts
            // in place at the price of a gap, in which only another asker can slip in.
            lock.relock(FlockArg::LockShared)
                .map_err(|e| failed("lock", &path)(io::Error::from(e)))?;
            if is_complete(&path, &python) {
                return Ok(built(lock, false));
            }
        }
    }

    /// The lock, once it is free, unless `log` calls that off.
    fn wait(
        &self,
        key: &str,
        how: FlockArg,
        log: &mut impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Flock<File>, EnvironmentError> {
        loop {
            if let Some(lock) = self.lock(key, how)? {
                return Ok(lock);
            }
            if log("").is_break() {
                return Err(EnvironmentError::Cancelled { key: key.to_owned() });
            }
            std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS.into()));
        }
    }

    /// The lock, if it is free.
    pub(super) fn lock(
        &self,
        key: &str,
        how: FlockArg,
    ) -> Result<Option<Flock<File>>, EnvironmentError> {
        let path = self.dir.join(format!("{key}.lock"));
        // It is read by a step, whose standard input it is: it is empty.
        let file = File::options().create(true).read(true).append(true).open(&path);
        match Flock::lock(file.map_err(failed("open", &path))?, how) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => Ok(None),
            Err((_, e)) => Err(failed("lock", &path)(e.into())),
        }
    }
}

/// One build under its lock.
struct Build<'a, L> {
    key: &'a str,
    path: &'a Path,
    python: &'a Python,
    spec: &'a EnvironmentSpec,
    lock: &'a File,
    log: &'a mut L,
}

impl<L: FnMut(&str) -> ControlFlow<()>> Build<'_, L> {
    fn run(&mut self) -> Result<(), EnvironmentError> {
        let uv = find_uv();
        let bin = self.path.join("bin").join("python");
        let mut make = match &uv {
            Some(uv) => {
                let mut c = Command::new(uv);
                c.args(["venv", "--no-project", "--python"]).arg(&self.python.path);
                c
            }
            None => {
                let mut c = Command::new(&self.python.path);
                c.args(["-m", "venv"]);
                c
            }
        };
        self.step(make.arg(self.path), "venv")?;
        let list = self.path.join("requirements.txt");
        std::fs::write(&list, &self.spec.requirements).map_err(failed("write", &list))?;
        if has_requirements(&self.spec.requirements) {
            let mut install = match &uv {
                Some(uv) => {
                    let mut c = Command::new(uv);
                    // Copies, not links: a stage could write through a link into uv's own cache.
                    c.args(["pip", "install", "--link-mode", "copy", "--compile-bytecode"]);
                    c.arg("--python").arg(&bin);
                    // uv reads its own variables; those of pip are what people have set.
                    for (pip, own) in [
                        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
                        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
                        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
                    ] {
                        if let (Some(value), None) = (std::env::var_os(pip), std::env::var_os(own))
                        {
                            c.env(own, value);
                        }
                    }
                    if std::env::var_os("PIP_NO_INDEX").is_some_and(|v| v != "0") {
                        c.arg("--no-index");
                    }
                    c
                }
                None => {
                    let mut c = Command::new(&bin);
                    c.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
                    c.args(["--no-color", "--progress-bar", "off", "--compile"]);
                    c
                }
            };
            if let Some(index) = &self.spec.index {
                install.args(["--index-url", index]);
            }
            self.step(install.arg("-r").arg(&list), "install")?;
        }
        // Stages can't write here, so what is not compiled now would be compiled at every import.
        let mut compile = Command::new(&bin);
        let lib = self.path.join("lib");
        self.step(compile.args(["-m", "compileall", "-q", "-j", "0"]).arg(lib), "compile")
            .or_else(
                // Some packages ship files that no Python compiles (templates, other versions).
                |e| if matches!(e, EnvironmentError::Cancelled { .. }) { Err(e) } else { Ok(()) },
            )?;
        // Nothing looks into it again: the mark must not outlive what it stands for.
        sync_file_system(self.path).map_err(failed("write out", self.path))?;
        let mark = self.path.join(COMPLETE);
        let text = format!("{}\n{}\n", self.python.version, self.python.path.display());
        std::fs::write(&mark, text).map_err(failed("write", &mark))
    }

    /// Runs a command, giving its lines to the log as they come.
    fn step(&mut self, command: &mut Command, name: &str) -> Result<(), EnvironmentError> {
        let program = PathBuf::from(command.get_program());
        command
            .env_remove("PYTHONDONTWRITEBYTECODE")
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONPATH");
        command.env_remove("VIRTUAL_ENV").env("PYTHONUNBUFFERED", "1");
        let (status, tail) = match step::run(command, self.lock, self.log)? {
            Ended::Status(status, tail) => (status, tail),
            Ended::Cancelled => {
                return Err(EnvironmentError::Cancelled { key: self.key.into() });
            }
        };
        if status.success() {
            return Ok(());
        }
        let step = match name {
            "install" => format!("{} install -r requirements.txt", program.display()),
            _ => format!("{} ({name})", program.display()),
        };
        Err(EnvironmentError::Step { key: self.key.into(), step, how: status.to_string(), tail })
    }
}

/// Anything but blank lines and comments.
fn has_requirements(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.lines().any(|l| !l.trim().is_empty() && !l.trim().starts_with('#'))
}

/// Whole, and its interpreter is still where it was.
fn is_complete(path: &Path, python: &Python) -> bool {
    path.join(COMPLETE).exists() && python.path.exists() && path.join("bin/python").exists()
}

fn touch(path: &Path) -> io::Result<()> {
    File::options().append(true).open(path)?.set_modified(SystemTime::now())
}

pub(super) fn failed<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> EnvironmentError + 'a {
    move |source| EnvironmentError::Io { what, path: path.to_path_buf(), source }
}
