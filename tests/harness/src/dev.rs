//! `runyard dev` as a person starts it: one process in a folder, and verbs called beside it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Said;

/// What `dev` says last when it is ready.
const READY: &str = "Ctrl-C stops it all";

/// A `runyard dev` that is ready. Dropped, it is stopped in order.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    home: Home,
    said: String,
}

/// A folder with a person's own settings and caches, from which the binary is called.
#[derive(Debug, Clone)]
pub struct Home {
    binary: PathBuf,
    folder: PathBuf,
    cache: PathBuf,
}

impl Home {
    /// Verbs of `binary` are run in `folder`; settings lie there as well, caches below `cache`.
    pub fn new(
        binary: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
        cache: impl Into<PathBuf>,
    ) -> Self {
        Self { binary: binary.into(), folder: folder.into(), cache: cache.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A call of the binary, with nothing of the settings of whoever runs the tests.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RUNYARD_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(&self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join(".config"))
            .env("XDG_CACHE_HOME", &self.cache)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end.
    ///
    /// # Panics
    /// When the binary does not start.
    pub fn cli(&self, args: &[&str]) -> Said {
        let output = self.command().args(args).output().expect("the binary starts");
        Said::new(format!("runyard {}", args.join(" ")), output)
    }

    /// Starts `dev` on free ports with further flags, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends instead; what it said is in the message.
    #[track_caller]
    pub fn dev(&self, flags: &[&str]) -> Dev {
        let mut child = self
            .command()
            .args(["dev", "--port", "0", "--gateway-port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = String::new();
        while !said.contains(READY) {
            let read = lines.read_line(&mut said).expect("text");
            assert!(read > 0, "dev ended: {said}");
        }
        // What it says later must not fill the pipes; its data was written before it was ready.
        let mut data = child.stdout.take().expect("piped");
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let mut first = [0; 8 << 10];
        let read = data.read(&mut first).unwrap_or_default();
        said.push_str(&String::from_utf8_lossy(&first[..read]));
        std::thread::spawn(move || std::io::copy(&mut data, &mut std::io::sink()));
        Dev { child, home: self.clone(), said }
    }
}

impl Dev {
    /// All that it said until it was ready.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// The word behind a label of what it said, such as `status page`.
    ///
    /// # Panics
    /// When it said no such thing.
    #[track_caller]
    pub fn told(&self, label: &str) -> &str {
        let lines = self.said.lines();
        let mut found = lines.filter_map(|line| line.strip_prefix(label));
        found.next().unwrap_or_else(|| panic!("no `{label}` in {}", self.said)).trim()
    }

    /// The number of one of its processes, as it wrote it down.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn pid_of(&self, name: &str) -> i32 {
        let path = self.home.folder.join(format!(".runyard/dev/pids/{name}.json"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let value: serde_json::Value = serde_json::from_str(&text).expect("json");
        value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a number")
    }

    /// Kills it with -9; its processes run on.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn kill(mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it ends");
    }

    /// Stops it as Ctrl-C does.
    ///
    /// # Panics
    /// When it can't be waited for.
    pub fn stop(mut self) -> ExitStatus {
        self.interrupt();
        self.child.wait().expect("it ends")
    }

    fn interrupt(&self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT);
    }
}

impl Drop for Dev {
    /// Of a test that failed, nothing stays behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
            let _ = self.child.wait();
        }
    }
}
