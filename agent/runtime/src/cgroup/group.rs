//! The cgroups of one worker, as its shim (or the agent, after a lost shim) handles them.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::spec::Limits;

const CPU_PERIOD_US: u64 = 100_000;

/// The directories that were made for a worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerGroup {
    dirs: Vec<(String, PathBuf)>,
}

impl WorkerGroup {
    /// The directories as planned, whether they exist or not.
    pub(crate) fn planned(dirs: &[(String, PathBuf)]) -> Self {
        Self { dirs: dirs.to_vec() }
    }

    /// Makes the directories and sets the limits. Never fails: `words` says what was got
    /// (`memory`) and what was not (`no-memory:why`).
    pub(crate) fn create(
        dirs: &[(String, PathBuf)],
        limits: &Limits,
        words: &mut Vec<String>,
    ) -> Self {
        let mut group = Self::default();
        for (controller, dir) in dirs {
            match std::fs::create_dir(dir) {
                Ok(()) => group.dirs.push((controller.clone(), dir.clone())),
                // A name is used once; an empty leftover of a shim that was killed is as good.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    group.dirs.push((controller.clone(), dir.clone()));
                }
                Err(e) => words.push(format!("no-{controller}:{}", short(&e))),
            }
        }
        let mut said = |name: &str, wanted: Option<u64>, set: io::Result<()>| match (wanted, set) {
            (None, _) => {}
            (Some(_), Ok(())) => words.push(name.into()),
            (Some(_), Err(e)) => words.push(format!("no-{name}:{}", short(&e))),
        };
        said("memory", limits.memory_bytes, group.limit_memory(limits.memory_bytes));
        // Where no cgroup is planned for it, the stage's PID namespace is asked to hold it.
        let pids = limits.pids.filter(|_| holds_pids(dirs));
        said("pids", pids, group.limit_pids(pids));
        said("cpu", limits.cpu_milli, group.limit_cpu(limits.cpu_milli));
        group
    }

    fn dir(&self, controller: &str) -> Option<(&Path, bool)> {
        let find = |c: &str| self.dirs.iter().find(|(n, _)| n == c).map(|(_, p)| p.as_path());
        find(controller).map(|p| (p, false)).or_else(|| find("v2").map(|p| (p, true)))
    }

    fn set(&self, controller: &str, v1: &str, v2: &str, value: &str) -> io::Result<()> {
        let (dir, is_v2) = self.dir(controller).ok_or(io::ErrorKind::Unsupported)?;
        let file = dir.join(if is_v2 { v2 } else { v1 });
        // No create: a file that is missing is a controller that is missing.
        use std::io::Write;
        OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
    }

    fn limit_memory(&self, bytes: Option<u64>) -> io::Result<()> {
        let Some(bytes) = bytes else { return Ok(()) };
        let text = bytes.to_string();
        self.set("memory", "memory.limit_in_bytes", "memory.max", &text)?;
        // Swap would only make the limit slow. Kernels without swap accounting lack the file.
        let _ = self.set("memory", "memory.memsw.limit_in_bytes", "memory.swap.max", {
            if self.dirs.iter().any(|(c, _)| c == "memory") { &text } else { "0" }
        });
        Ok(())
    }

    fn limit_pids(&self, pids: Option<u64>) -> io::Result<()> {
        let Some(pids) = pids else { return Ok(()) };
        self.set("pids", "pids.max", "pids.max", &pids.to_string())
    }

    fn limit_cpu(&self, milli: Option<u64>) -> io::Result<()> {
        let Some(milli) = milli else { return Ok(()) };
        let quota = (milli.saturating_mul(CPU_PERIOD_US) / 1000).max(1000);
        let v2 = format!("{quota} {CPU_PERIOD_US}");
        let text =
            if self.dir("cpu").is_some_and(|(_, is_v2)| is_v2) { v2 } else { quota.to_string() };
        self.set("cpu", "cpu.cfs_quota_us", "cpu.max", &text)
    }

    /// The `cgroup.procs` files, open for writing, for the stage to enter by writing `0`.
    pub(crate) fn entrances(&self) -> Vec<(String, File)> {
        let open = |p: &Path| OpenOptions::new().write(true).open(p.join("cgroup.procs"));
        let opened = self.dirs.iter().map(|(c, p)| (c.clone(), open(p)));
        opened.filter_map(|(c, f)| f.ok().map(|f| (c, f))).collect()
    }

    /// How often the OOM killer struck in here.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some((dir, is_v2)) = self.dir("memory") else { return 0 };
        let file = if is_v2 { "memory.events" } else { "memory.oom_control" };
        keyed(&dir.join(file), "oom_kill").unwrap_or(0)
    }

    /// Peak memory in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> Option<u64> {
        let (dir, is_v2) = self.dir("memory")?;
        let file = if is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        std::fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
    }

    /// Processes that are in any of the cgroups.
    pub(crate) fn members(&self) -> Vec<i32> {
        let read = |p: &Path| std::fs::read_to_string(p.join("cgroup.procs")).unwrap_or_default();
        let all: Vec<String> = self.dirs.iter().map(|(_, p)| read(p)).collect();
        let mut pids: Vec<i32> =
            all.iter().flat_map(|t| t.lines()).filter_map(|l| l.parse().ok()).collect();
        pids.sort_unstable();
        pids.dedup();
        pids.retain(|p| *p > 0);
        pids
    }

    /// Kills all members: `cgroup.kill` on v2, freeze and kill on v1, else one by one.
    pub(crate) fn kill(&self) {
        if self.dirs.is_empty() {
            return;
        }
        let v2 = self.dirs.iter().find(|(c, _)| c == "v2").map(|(_, p)| p.join("cgroup.kill"));
        let killed = v2.is_some_and(|file| file.exists() && std::fs::write(file, "1").is_ok());
        if killed && self.dirs.len() == 1 {
            return;
        }
        let freezer =
            self.dirs.iter().find(|(c, _)| c == "freezer").map(|(_, p)| p.join("freezer.state"));
        if let Some(state) = &freezer {
            let _ = std::fs::write(state, "FROZEN");
            let until = Instant::now() + Duration::from_millis(200);
            while Instant::now() < until
                && std::fs::read_to_string(state).is_ok_and(|s| s.trim() != "FROZEN")
            {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // The members are read from the group at this moment, and the group is ours alone: no
        // number of a foreign process can be among them for longer than it takes to read it.
        for pid in self.members() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(state) = &freezer {
            let _ = std::fs::write(state, "THAWED");
        }
    }

    /// Removes the directories; waits a moment for the last members to go.
    pub(crate) fn remove(&self) {
        for (_, dir) in &self.dirs {
            for _ in 0..50 {
                match std::fs::remove_dir(dir) {
                    Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// True when one of a worker's planned cgroups is to hold its limit of processes.
pub(crate) fn holds_pids(dirs: &[(String, PathBuf)]) -> bool {
    dirs.iter().any(|(controller, _)| controller == "pids" || controller == "v2")
}

fn keyed(file: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// An error as one word.
pub(crate) fn short(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(n) => format!("{:?}", nix::errno::Errno::from_raw(n)),
        None => format!("{:?}", e.kind()),
    }
}
