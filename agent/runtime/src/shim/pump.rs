//! The shim's one loop: output into the spool, commands, timers, and the end.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::pipe2;

use super::control::{Command, Control};
use super::init::{Init, Level, Order, Report, Stage};
use super::start::{not_started, write_status};
use crate::cgroup::{WorkerGroup, holds_pids};
use crate::clock::{boot_id, boottime_ms, utc_ms};
use crate::processes::{MARK, kill_descendants};
use crate::secrets::{Mask, Secrets};
use crate::spec::WorkerSpec;
use crate::spool::{SpoolWriter, Stream};
use crate::status::{ExitStatus, Reason};
use crate::sys::{self, Reaped, SingleThreaded};

/// One read of a pipe, so one record of the spool, at most.
const BUFFER: usize = 256 << 10;
/// A stage that writes again within this is busy: then its output is left to gather for a millisecond, so that
/// one that writes line by line wakes us a thousand times a second, not for every line.
const BUSY: Duration = Duration::from_millis(2);
const GATHER_MS: u16 = 1;
/// What the kernel may hold between stage and shim; fewer, larger reads.
const PIPE: libc::c_int = 1 << 20;
/// After the end, how long output is awaited from pipes that somebody still holds open.
const DRAIN_MS: u64 = 2_000;
/// After KILL was ordered, how long the init has to carry it out itself.
const FORCE_MS: u64 = 200;

/// Owns one worker while it runs.
#[derive(Debug)]
pub(super) struct Pump<'a> {
    proof: SingleThreaded,
    dir: PathBuf,
    spec: &'a WorkerSpec,
    secrets: Secrets,
    control: Control,
    spool: SpoolWriter,
    started_ms: u64,
    started_boottime_ms: u64,
    outputs: Vec<Output>,
    words: Vec<String>,
    failed: Option<String>,
    ended: Option<(i32, u64)>,
    reason: Reason,
    deadline: Option<u64>,
    kill_at: Option<u64>,
    force_at: Option<u64>,
    timer: Option<(TimerFd, u64)>,
    /// When output was read last.
    read_at: Option<Instant>,
    /// The last read found much.
    full: bool,
}

#[derive(Debug)]
struct Output {
    stream: Stream,
    pipe: File,
    mask: Option<Mask>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        proof: SingleThreaded,
        dir: &Path,
        spec: &'a WorkerSpec,
        secrets: Secrets,
        control: Control,
        started_ms: u64,
    ) -> Self {
        Self {
            proof,
            dir: dir.to_path_buf(),
            spec,
            secrets,
            control,
            spool: SpoolWriter::new(&dir.join("spool"), spec.spool),
            started_ms,
            started_boottime_ms: boottime_ms(),
            outputs: Vec::new(),
            words: Vec::new(),
            failed: None,
            ended: None,
            reason: Reason::Exit,
            deadline: None,
            kill_at: None,
            force_at: None,
            timer: None,
            read_at: None,
            full: false,
        }
    }

    /// Runs the stage to its end. The status is written as soon as the worker has finished; this
    /// returns when it is released: no process of it is left.
    pub(super) fn run(mut self) -> ExitStatus {
        let limits = &self.spec.limits;
        let group = WorkerGroup::create(&self.spec.cgroups, limits, &mut self.words);
        let init = match self.spawn(&group) {
            Ok(init) => init,
            Err(why) => {
                group.remove();
                self.spool.finish(utc_ms());
                return not_started(why, self.started_ms);
            }
        };
        // From here on nobody of the same user may trace us or read our memory (A29). Not before:
        // the id maps of a user namespace can only be written by a dumpable process.
        let _ = nix::sys::prctl::set_dumpable(false);
        if self.spec.timeout_ms.is_some() {
            self.set_timer();
        }
        let mut buffer = vec![0; BUFFER];
        let mut drain_until = None;
        let mut reaped = None;
        let mut init_gone = false;
        loop {
            if init_gone && reaped.is_none() {
                reaped = sys::wait4(init.pid.as_raw(), libc::WNOHANG).unwrap_or(Some(NOBODY));
            }
            let now = boottime_ms();
            if init_gone || self.ended.is_some() {
                let until = *drain_until.get_or_insert(now + DRAIN_MS);
                if (self.outputs.is_empty() && reaped.is_some()) || now >= until {
                    break;
                }
            }
            let blind = init_gone && reaped.is_none() && init.handle().is_none();
            self.control.bind_if_due(now);
            let tick = if blind { Some(1) } else { drain_until.map(|u| u - now) };
            let tick = [tick, self.control.due_in(now)].into_iter().flatten().min();
            self.turn(&init, &mut init_gone, &mut buffer, tick);
        }
        let status = self.finish(&group, reaped);
        self.release(&init, &group, reaped.is_some());
        status
    }

    /// Makes the pipes and an init at the best level that works here.
    fn spawn(&mut self, group: &WorkerGroup) -> Result<Init, String> {
        let stage =
            Stage { spec: self.spec, env: self.environment(), entrances: group.entrances() };
        for level in Level::ladder(self.spec.isolation) {
            let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("cannot make a pipe: {e}"));
            let (out_read, out_write) = pipe()?;
            let (err_read, err_write) = pipe()?;
            for end in [&out_read, &err_read] {
                // A user who is over the limit of pipe pages keeps the 64 KiB.
                let _ = fcntl(end, FcntlArg::F_SETPIPE_SZ(PIPE));
            }
            let init = match Init::spawn(self.proof, *level, &stage, &out_write, &err_write) {
                Ok(init) => init,
                Err(why) => {
                    self.words.push(why);
                    continue;
                }
            };
            if *level != Level::Bare {
                match init.report() {
                    Some(Report::Isolation(words)) => {
                        self.words.push(words);
                        init.outlive_mounts();
                    }
                    other => {
                        let _ = sys::wait4(init.pid.as_raw(), 0);
                        self.words.push(match other {
                            Some(Report::Degrade(why)) => why,
                            _ => "no-pid-namespace:init-died".into(),
                        });
                        continue;
                    }
                }
            } else {
                let _ = nix::sys::prctl::set_child_subreaper(true);
                if self.spec.limits.pids.is_some() && !holds_pids(&self.spec.cgroups) {
                    self.words.push("no-pids:no-pid-namespace".into());
                }
            }
            let output = |stream, pipe: std::os::fd::OwnedFd| Output {
                stream,
                pipe: File::from(pipe),
                mask: self.secrets.mask(),
            };
            self.outputs = vec![output(Stream::Stdout, out_read), output(Stream::Stderr, err_read)];
            return Ok(init);
        }
        Err(format!("cannot fork the stage's processes: {}", self.words.join(" ")))
    }

    fn environment(&self) -> Vec<CString> {
        let mut env = Vec::new();
        for (k, v) in &self.spec.env {
            let mut pair = k.as_bytes().to_vec();
            pair.push(b'=');
            pair.extend_from_slice(v.as_bytes());
            env.extend(CString::new(pair));
        }
        env.extend(self.secrets.pairs().filter_map(|p| CString::new(p).ok()));
        env.extend(CString::new(format!("{MARK}={}", self.spec.uid)));
        env
    }

    /// Waits for something to happen, and handles it.
    fn turn(&mut self, init: &Init, init_gone: &mut bool, buffer: &mut [u8], tick: Option<u64>) {
        let (outputs, ctl_ready, timer_ready, control_ready) = {
            let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(8);
            let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
            fds.extend(self.outputs.iter().map(|o| on(o.pipe.as_fd())));
            // While it lives, its socket; then its handle, which tells that it can be reaped. (The
            // socket of a dead one would report its end for ever.)
            let last_word = if *init_gone { init.handle() } else { Some(init.ctl().as_fd()) };
            let at_ctl = fds.len();
            fds.extend(last_word.map(on));
            let at_timer = fds.len();
            fds.extend(self.timer.as_ref().map(|(t, _)| on(t.as_fd())));
            let at_control = fds.len();
            fds.extend(self.control.fds().map(on));
            let timeout = tick.map_or(PollTimeout::NONE, |ms| {
                PollTimeout::try_from(ms.min(60_000) as i32).unwrap_or(PollTimeout::ZERO)
            });
            match poll(&mut fds, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => return,
                // Out of memory: nothing of ours can be wrong with the descriptors.
                Err(_) => return std::thread::sleep(std::time::Duration::from_millis(10)),
            }
            let ready = |f: &PollFd<'_>| f.any().unwrap_or(false);
            let outputs: Vec<bool> = fds[..at_ctl].iter().map(ready).collect();
            let ctl_ready = !*init_gone && fds[at_ctl..at_timer].iter().any(ready);
            let timer_ready = fds[at_timer..at_control].iter().any(ready);
            (outputs, ctl_ready, timer_ready, fds[at_control..].iter().any(ready))
        };
        self.read(&outputs, buffer);
        if outputs.contains(&true) && self.ended.is_none() && !*init_gone {
            self.gather(init);
        }
        if ctl_ready {
            self.hear(init, init_gone);
        }
        if timer_ready {
            self.on_timer(init);
        }
        if control_ready {
            self.obey(init);
        }
    }

    fn read(&mut self, ready: &[bool], buffer: &mut [u8]) {
        let now = utc_ms();
        let spool = &mut self.spool;
        let mut ready = ready.iter();
        let mut full = false;
        self.outputs.retain_mut(|o| {
            if !ready.next().copied().unwrap_or(false) {
                return true;
            }
            let got = o.pipe.read(buffer);
            full |= matches!(got, Ok(n) if n > buffer.len() / 2);
            match got {
                Ok(0) => {
                    if let Some(mask) = &mut o.mask {
                        spool.write(o.stream, now, &mask.finish());
                    }
                    false
                }
                Ok(n) => {
                    match &mut o.mask {
                        Some(mask) => spool.write(o.stream, now, &mask.push(&buffer[..n])),
                        None => spool.write(o.stream, now, &buffer[..n]),
                    }
                    true
                }
                Err(e) => e.kind() == io::ErrorKind::Interrupted,
            }
        });
        self.full = full;
    }

    /// Lets output gather in the pipe while the stage is busy; not when there is much already, since a full
    /// pipe would hold the stage up.
    fn gather(&mut self, init: &Init) {
        let busy = self.read_at.is_some_and(|before| before.elapsed() < BUSY);
        if busy && !self.full {
            // The end is heard at once all the same.
            let _ = poll(&mut [PollFd::new(init.ctl().as_fd(), PollFlags::POLLIN)], GATHER_MS);
        }
        self.read_at = Some(Instant::now());
    }

    fn hear(&mut self, init: &Init, init_gone: &mut bool) {
        match init.report() {
            Some(Report::Ended(status)) => self.ended = Some((status, utc_ms())),
            Some(Report::Failed(why)) => self.failed = Some(why),
            Some(Report::Isolation(words) | Report::Warning(words) | Report::Degrade(words)) => {
                self.words.push(words);
            }
            None => *init_gone = true,
        }
    }

    fn obey(&mut self, init: &Init) {
        let mut commands = Vec::new();
        let state = if self.ended.is_some() { "ended" } else { "running" };
        let answer = format!("ok {} {} {state}", std::process::id(), self.spool.offset());
        self.control.serve(|command| {
            commands.push(command);
            match command {
                Command::Ping => answer.clone(),
                _ => "ok".into(),
            }
        });
        for command in commands {
            match command {
                Command::Ping => {}
                Command::Stop { grace_ms } => self.stop(init, Reason::Stopped, grace_ms),
                Command::Deadline { boottime_ms } => {
                    self.deadline = Some(boottime_ms);
                    self.set_timer();
                }
                Command::Signal(n) => init.order(&Order::Group(n)),
            }
        }
    }

    /// TERM now, KILL after the grace. A second stop may only shorten it.
    fn stop(&mut self, init: &Init, reason: Reason, grace_ms: u64) {
        if self.ended.is_some() {
            return;
        }
        let kill_at = boottime_ms().saturating_add(grace_ms);
        if self.kill_at.is_none() {
            self.reason = reason;
            // What is stopped can't hear TERM.
            init.order(&Order::All(Signal::SIGTERM));
            init.order(&Order::All(Signal::SIGCONT));
        }
        self.kill_at = Some(self.kill_at.map_or(kill_at, |at| at.min(kill_at)));
        self.set_timer();
    }

    fn on_timer(&mut self, init: &Init) {
        if let Some((timer, _)) = &self.timer {
            let _ = timer.wait();
        }
        self.timer = self.timer.take().map(|(t, _)| (t, 0));
        let now = boottime_ms();
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if due(self.time_limit()) && self.kill_at.is_none() {
            self.stop(init, Reason::Timeout, self.spec.grace_ms);
        }
        if due(self.deadline) && self.kill_at.is_none() {
            self.stop(init, Reason::Deadline, self.spec.grace_ms);
        }
        if due(self.force_at) {
            self.force_at = None;
            match init.level {
                Level::Bare => kill_descendants(nix::unistd::Pid::this()),
                _ => init.kill(),
            }
        }
        if due(self.kill_at) && self.force_at.is_none() && self.ended.is_none() {
            init.order(&Order::All(Signal::SIGKILL));
            self.force_at = Some(now + FORCE_MS);
        }
        self.set_timer();
    }

    fn time_limit(&self) -> Option<u64> {
        Some(self.started_boottime_ms.saturating_add(self.spec.timeout_ms?))
    }

    /// Arms the timer for the next of our times. On the boot-time clock, which also counts the
    /// time asleep: a poll's timeout would not.
    fn set_timer(&mut self) {
        let stopping = self.kill_at.is_some();
        let kill = if self.force_at.is_some() { self.force_at } else { self.kill_at };
        let by_self = [self.deadline, self.time_limit()];
        let by_self = by_self.into_iter().flatten().filter(|_| !stopping);
        let Some(at) = by_self.chain(kill).min() else { return };
        if self.ended.is_some() {
            return;
        }
        let timer = match self.timer.take() {
            Some((timer, armed)) if armed == at => Some((timer, at)),
            Some((timer, _)) => arm(timer, at),
            None => TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC)
                .ok()
                .and_then(|timer| arm(timer, at)),
        };
        self.timer = timer;
    }

    /// The last record, then the status.
    fn finish(&mut self, group: &WorkerGroup, reaped: Option<Reaped>) -> ExitStatus {
        for o in &mut self.outputs {
            if let Some(mask) = &mut o.mask {
                self.spool.write(o.stream, utc_ms(), &mask.finish());
            }
        }
        self.outputs.clear();
        self.spool.finish(utc_ms());
        // An init that was killed with its namespace took the stage's own status with it.
        let (raw, ended_ms) = self.ended.unwrap_or((libc::SIGKILL, utc_ms()));
        let exited = libc::WIFEXITED(raw);
        let used = reaped.unwrap_or(NOBODY);
        let status = ExitStatus {
            code: exited.then(|| libc::WEXITSTATUS(raw)),
            signal: (!exited).then(|| libc::WTERMSIG(raw)),
            reason: if self.failed.is_some() { Reason::NotStarted } else { self.reason },
            error: self.failed.take(),
            oom_kills: group.oom_kills(),
            peak_memory_bytes: group.peak_memory_bytes().unwrap_or(used.max_rss_bytes),
            cpu_ms: used.cpu_ms,
            log_end: self.spool.offset(),
            log_dropped: self.spool.dropped(),
            boot_id: boot_id(),
            started_ms: self.started_ms,
            ended_ms,
            isolation: self.words.join(" "),
        };
        // The reserve makes this succeed on a full disk; should it fail all the same, the agent
        // sees a free lock without a status and says that the shim was lost, which is true.
        let _ = write_status(&self.dir, &status);
        status
    }

    /// Waits until the last process is gone. What is in uninterruptible sleep keeps us here, and
    /// the lock taken: finished, not released.
    fn release(&mut self, init: &Init, group: &WorkerGroup, mut gone: bool) {
        while !gone {
            init.kill();
            group.kill();
            gone = !matches!(sys::wait4(init.pid.as_raw(), libc::WNOHANG), Ok(None));
            if !gone {
                self.control.bind_if_due(boottime_ms());
                self.control.serve(|_| "ok 0 0 ended".into());
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        if init.level == Level::Bare {
            loop {
                while matches!(sys::wait4(-1, libc::WNOHANG), Ok(Some(_))) {}
                if sys::wait4(-1, libc::WNOHANG).is_err() {
                    break;
                }
                group.kill();
                kill_descendants(nix::unistd::Pid::this());
                self.control.bind_if_due(boottime_ms());
                self.control.serve(|_| "ok 0 0 ended".into());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        group.remove();
    }
}

/// Accounts of an init that somebody else reaped, which can't be.
const NOBODY: Reaped = Reaped {
    pid: nix::unistd::Pid::from_raw(0),
    status: libc::SIGKILL,
    cpu_ms: 0,
    max_rss_bytes: 0,
};

fn arm(timer: TimerFd, at: u64) -> Option<(TimerFd, u64)> {
    let at = at.max(1);
    let when = TimeSpec::new((at / 1000) as i64, ((at % 1000) * 1_000_000) as i64);
    timer.set(Expiration::OneShot(when), TimerSetTimeFlags::TFD_TIMER_ABSTIME).ok()?;
    Some((timer, at))
}
