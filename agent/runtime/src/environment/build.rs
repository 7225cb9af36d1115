//! Building an environment, once, whoever asks at the same time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

use super::tool::{Python, find_python, find_uv};
use super::{EnvironmentError, EnvironmentSpec};

/// Lines of a failed step's output that its error carries.
const TAIL_LINES: usize = 30;
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
    /// to `log`; a `Break` from it cancels the build. Blocks, also on another process that builds
    /// the same.
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
            let lock = self.lock(&key, FlockArg::LockShared)?;
            if is_complete(&path, &python) {
                touch(&path.join(COMPLETE)).map_err(failed("stamp", &path))?;
                return Ok(built(lock, true));
            }
            drop(lock);
            let lock = self.lock(&key, FlockArg::LockExclusive)?;
            if is_complete(&path, &python) {
                continue;
            }
            if path.exists() {
                std::fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
            }
            let result =
                Build { key: &key, path: &path, python: &python, spec, log: &mut log }.run();
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

    pub(super) fn lock(&self, key: &str, how: FlockArg) -> Result<Flock<File>, EnvironmentError> {
        let path = self.dir.join(format!("{key}.lock"));
        loop {
            let file = File::options().create(true).append(true).open(&path);
            let file = file.map_err(failed("open", &path))?;
            match Flock::lock(file, how) {
                Ok(lock) => return Ok(lock),
                Err((_, nix::errno::Errno::EINTR)) => {}
                Err((_, e)) => return Err(failed("lock", &path)(e.into())),
            }
        }
    }
}

/// One build under its lock.
struct Build<'a, L> {
    key: &'a str,
    path: &'a Path,
    python: &'a Python,
    spec: &'a EnvironmentSpec,
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
        let mark = self.path.join(COMPLETE);
        let text = format!("{}\n{}\n", self.python.version, self.python.path.display());
        std::fs::write(&mark, text).map_err(failed("write", &mark))
    }

    /// Runs a command, giving its lines to the log as they come.
    fn step(&mut self, command: &mut Command, step: &str) -> Result<(), EnvironmentError> {
        let program = PathBuf::from(command.get_program());
        let (reader, writer) = io::pipe().map_err(failed("make a pipe for", &program))?;
        let again = writer.try_clone().map_err(failed("make a pipe for", &program))?;
        command.stdin(Stdio::null()).stdout(writer).stderr(again);
        command
            .env_remove("PYTHONDONTWRITEBYTECODE")
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONPATH");
        command.env_remove("VIRTUAL_ENV").env("PYTHONUNBUFFERED", "1");
        let mut child = command.spawn().map_err(failed("run", &program))?;
        // The command holds the writing ends; the reader's end comes with the child's.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut tail: VecDeque<String> = VecDeque::new();
        let mut cancelled = false;
        let mut lines = BufReader::new(reader);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_string();
            line.clear();
            if (self.log)(&text).is_break() {
                cancelled = true;
                let _ = child.kill();
                break;
            }
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(text);
        }
        let status = child.wait().map_err(failed("wait for", &program))?;
        if cancelled {
            return Err(EnvironmentError::Cancelled { key: self.key.into() });
        }
        if status.success() {
            return Ok(());
        }
        let step = match step {
            "install" => format!("{} install -r requirements.txt", program.display()),
            _ => format!("{} ({step})", program.display()),
        };
        let tail = tail.make_contiguous().join("\n");
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
