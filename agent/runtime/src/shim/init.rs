//! The process between shim and stage: pid 1 of the stage's PID namespace.
//!
//! It reaps orphans, passes signals on, and dies with the shim: in a PID namespace that kills all
//! that is left in it. Without namespaces it is a subreaper that walks `/proc` instead.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::unistd::{Gid, Pid, Uid};

use super::mounts;
use crate::processes;
use crate::spec::{Isolate, WorkerSpec};
use crate::sys::{self, Fork, SingleThreaded, exit_now};

/// Which namespaces an init gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// PID and mount namespace, as root.
    Root,
    /// The same inside a user namespace.
    User,
    /// None.
    Bare,
}

impl Level {
    /// What to try, best first.
    pub(super) fn ladder(isolate: Isolate) -> &'static [Self] {
        match isolate {
            Isolate::Auto if Uid::effective().is_root() => &[Self::Root, Self::User, Self::Bare],
            Isolate::Auto | Isolate::User => &[Self::User, Self::Bare],
            Isolate::None => &[Self::Bare],
        }
    }

    fn flags(self) -> libc::c_int {
        let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS;
        match self {
            Self::Root => namespaces,
            Self::User => namespaces | libc::CLONE_NEWUSER,
            Self::Bare => 0,
        }
    }
}

/// What the shim tells its init, one packet each.
pub(super) enum Order {
    /// The user namespace's maps are written.
    Go,
    /// Send this signal to every process of the stage.
    All(Signal),
    /// Send this signal to the stage's process group.
    Group(i32),
}

/// What the init (or the stage before its exec) tells the shim, one packet each.
#[derive(Debug)]
pub(super) enum Report {
    /// Words of isolation obtained.
    Isolation(String),
    /// This level can't be had here.
    Degrade(String),
    /// A limit could not be entered.
    Warning(String),
    /// The stage could not be started.
    Failed(String),
    /// The stage's main process ended, with this wait status.
    Ended(i32),
}

/// What a stage needs, made ready before the fork.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) spec: &'a WorkerSpec,
    /// `NAME=VALUE`, secrets and marker included.
    pub(super) env: Vec<CString>,
    /// `cgroup.procs` files to enter.
    pub(super) entrances: Vec<(String, File)>,
}

/// The shim's end of a running init.
#[derive(Debug)]
pub(super) struct Init {
    pub(super) pid: Pid,
    pub(super) level: Level,
    ctl: OwnedFd,
    handle: Option<OwnedFd>,
}

impl Init {
    /// Forks an init at this level. `Err` says why the level can't be had.
    pub(super) fn spawn(
        proof: SingleThreaded,
        level: Level,
        stage: &Stage<'_>,
        stdout: &OwnedFd,
        stderr: &OwnedFd,
    ) -> Result<Self, String> {
        let said = |e: &dyn std::fmt::Display| format!("no-{}:{e}", level_word(level));
        let kind = SockType::SeqPacket;
        let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|e| said(&e))?;
        match sys::fork(proof, level.flags()).map_err(|e| said(&crate::cgroup::short(&e)))? {
            Fork::Child => be_init(proof, level, stage, &theirs, stdout, stderr),
            Fork::Parent(pid) => {
                let handle = sys::pidfd_open(pid).ok();
                let init = Self { pid, level, ctl: ours, handle };
                if level == Level::User {
                    if let Err(e) = map_ids(pid) {
                        init.kill();
                        let _ = sys::wait4(pid.as_raw(), 0);
                        return Err(said(&crate::cgroup::short(&e)));
                    }
                    init.order(&Order::Go);
                }
                Ok(init)
            }
        }
    }

    pub(super) fn ctl(&self) -> &OwnedFd {
        &self.ctl
    }

    /// Puts off the end of the init's mount namespace to our own, which nobody waits for: taking
    /// one down waits for a grace period of the kernel, and whoever lets go of it last waits. What
    /// is left then are mounts, and no process.
    pub(super) fn outlive_mounts(&self) {
        if let Ok(namespace) = File::open(format!("/proc/{}/ns/mnt", self.pid)) {
            std::mem::forget(namespace);
        }
    }

    /// Readable when the init can be reaped. `None` before Linux 5.3.
    pub(super) fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.handle.as_ref().map(|h| h.as_fd())
    }

    pub(super) fn order(&self, order: &Order) {
        let packet = match order {
            Order::Go => [b'G', 0],
            Order::All(s) => [b'A', *s as u8],
            Order::Group(n) => [b'S', *n as u8],
        };
        // A dead init needs no orders.
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let _ = send(self.ctl.as_raw_fd(), &packet, flags);
    }

    /// Kills the init itself, and with it its namespace.
    pub(super) fn kill(&self) {
        let _ = kill(self.pid, Signal::SIGKILL);
    }

    /// The next report; `None` when the init has gone.
    pub(super) fn report(&self) -> Option<Report> {
        let mut packet = [0; 4096];
        let n = loop {
            match recv(self.ctl.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                Ok(0) => return None,
                Ok(n) => break n,
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        };
        let text = || String::from_utf8_lossy(&packet[1..n]).into_owned();
        match packet[0] {
            b'I' => Some(Report::Isolation(text())),
            b'D' => Some(Report::Degrade(text())),
            b'W' => Some(Report::Warning(text())),
            b'F' => Some(Report::Failed(text())),
            _ => {
                let raw: [u8; 4] = packet[1..5].try_into().expect("four bytes");
                Some(Report::Ended(i32::from_le_bytes(raw)))
            }
        }
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Root => "root-namespaces",
        Level::User => "user-namespaces",
        Level::Bare => "process",
    }
}

/// The stage keeps its user and group: each is mapped onto itself.
fn map_ids(pid: Pid) -> std::io::Result<()> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let write = |file: &str, text: String| std::fs::write(format!("/proc/{pid}/{file}"), text);
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{uid} {uid} 1\n"))?;
    write("gid_map", format!("{gid} {gid} 1\n"))
}

fn tell(ctl: &OwnedFd, kind: u8, body: &[u8]) {
    let mut packet = vec![kind];
    packet.extend_from_slice(&body[..body.len().min(4000)]);
    let _ = send(ctl.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL);
}

fn be_init(
    proof: SingleThreaded,
    level: Level,
    stage: &Stage<'_>,
    ctl: &OwnedFd,
    stdout: &OwnedFd,
    stderr: &OwnedFd,
) -> ! {
    // First of all: the shim's lock must not live on in here.
    close_others(stage, &[ctl.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()]);
    let _ = prctl::set_name(c"runyard-init");
    if level == Level::User && !go(ctl) {
        exit_now(1);
    }
    if level == Level::Bare {
        let _ = prctl::set_child_subreaper(true);
    } else {
        // After the ids were mapped: a change of credentials would clear it.
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        let mut words = Vec::new();
        if let Err(why) = mounts::arrange(stage.spec, &mut words) {
            tell(ctl, b'D', why.as_bytes());
            exit_now(1);
        }
        if level == Level::User {
            words.push("user-namespace".into());
        }
        tell(ctl, b'I', words.join(" ").as_bytes());
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None);
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
    let main = match (signals, sys::fork_to_exec(proof, || be_stage(stage, ctl, stdout, stderr))) {
        (Ok(signals), Ok(pid)) => {
            // The pipes belong to the stage now: their end must be its end.
            sys::close_range(stdout.as_raw_fd(), stdout.as_raw_fd());
            sys::close_range(stderr.as_raw_fd(), stderr.as_raw_fd());
            watch(level, ctl, &signals, pid)
        }
        (Err(e), _) => Err(format!("signalfd: {e}")),
        (_, Err(e)) => Err(format!("cannot fork the stage: {e}")),
    };
    match main {
        Ok(status) => tell(ctl, b'X', &status.to_le_bytes()),
        Err(why) => tell(ctl, b'F', why.as_bytes()),
    }
    // The rest dies before we do, so that what it used is in our own accounts.
    kill_rest(level);
    exit_now(0)
}

/// Waits until the stage's main process has ended; returns its wait status.
fn watch(level: Level, ctl: &OwnedFd, signals: &SignalFd, main: Pid) -> Result<i32, String> {
    loop {
        let mut fds = [
            PollFd::new(ctl.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(format!("poll: {e}")),
        }
        let ordered = fds[0].any().unwrap_or(false);
        while let Ok(Some(_)) = signals.read_signal() {}
        while let Ok(Some(child)) = sys::wait4(-1, libc::WNOHANG) {
            if child.pid == main {
                return Ok(child.status);
            }
        }
        if !ordered {
            continue;
        }
        let mut packet = [0; 2];
        match recv(ctl.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            Ok(2) if packet[0] == b'S' => {
                if let Ok(s) = Signal::try_from(i32::from(packet[1])) {
                    let _ = killpg(main, s);
                }
            }
            Ok(2) if packet[0] == b'A' => {
                if let Ok(s) = Signal::try_from(i32::from(packet[1])) {
                    signal_all(level, s);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) | Ok(2) => {}
            // The shim is gone: nobody is left to own the stage.
            _ => {
                kill_rest(level);
                exit_now(1);
            }
        }
    }
}

fn signal_all(level: Level, signal: Signal) {
    match level {
        Level::Bare if signal == Signal::SIGKILL => processes::kill_descendants(Pid::this()),
        Level::Bare => {
            for p in processes::descendants(Pid::this()) {
                let _ = kill(p, signal);
            }
        }
        // In a PID namespace, pid 1 reaches all but itself and nothing outside.
        _ => drop(kill(Pid::from_raw(-1), signal)),
    }
}

fn kill_rest(level: Level) {
    loop {
        // First see whether anybody is left: the walk through `/proc` is dear.
        loop {
            match sys::wait4(-1, libc::WNOHANG) {
                Ok(Some(_)) => {}
                Err(_) => return,
                Ok(None) => break,
            }
        }
        signal_all(level, Signal::SIGKILL);
        // Dying, or in uninterruptible sleep: then we wait here as long as it takes.
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}

fn go(ctl: &OwnedFd) -> bool {
    let mut packet = [0; 2];
    matches!(recv(ctl.as_raw_fd(), &mut packet, MsgFlags::empty()), Ok(2) if packet[0] == b'G')
}

/// Closes all but 0, 1, 2, these and the entrances.
fn close_others(stage: &Stage<'_>, fds: &[RawFd]) {
    let mut keep: Vec<RawFd> = stage.entrances.iter().map(|(_, f)| f.as_raw_fd()).collect();
    keep.extend_from_slice(fds);
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep {
        sys::close_range(from, fd - 1);
        from = fd + 1;
    }
    sys::close_range(from, RawFd::MAX);
}

/// Becomes the stage. Returns only by `exit_now`.
fn be_stage(stage: &Stage<'_>, ctl: &OwnedFd, stdout: &OwnedFd, stderr: &OwnedFd) -> ! {
    let why = match prepare(stage, ctl, stdout, stderr) {
        Ok(()) => exec(stage),
        Err(why) => why,
    };
    tell(ctl, b'F', why.as_bytes());
    exit_now(127)
}

fn prepare(
    stage: &Stage<'_>,
    ctl: &OwnedFd,
    stdout: &OwnedFd,
    stderr: &OwnedFd,
) -> Result<(), String> {
    let spec = stage.spec;
    let _ = nix::unistd::setsid();
    for (controller, procs) in &stage.entrances {
        if let Err(e) = (&mut &*procs).write_all(b"0") {
            let word = format!("no-{controller}:entering-{}", crate::cgroup::short(&e));
            tell(ctl, b'W', word.as_bytes());
        }
    }
    for (resource, soft, hard) in &spec.rlimits {
        sys::set_rlimit(*resource, *soft, *hard)
            .map_err(|e| format!("cannot set resource limit {resource} to {soft}: {e}"))?;
    }
    sys::default_signals();
    nix::unistd::dup2_stdout(stdout).map_err(|e| format!("standard output: {e}"))?;
    nix::unistd::dup2_stderr(stderr).map_err(|e| format!("standard error: {e}"))?;
    if let Some(user) = &spec.user {
        let failed = |e: Errno| format!("cannot become user {}: {e}", user.uid);
        let groups: Vec<Gid> = user.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        nix::unistd::setgroups(&groups).map_err(failed)?;
        let (gid, uid) = (Gid::from_raw(user.gid), Uid::from_raw(user.uid));
        nix::unistd::setresgid(gid, gid, gid).map_err(failed)?;
        nix::unistd::setresuid(uid, uid, uid).map_err(failed)?;
        prctl::set_no_new_privs().map_err(failed)?;
    }
    nix::unistd::chdir(&spec.cwd)
        .map_err(|e| format!("working directory {}: {}", spec.cwd.display(), e.desc()))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    sys::cloexec_from(3).map_err(|e| format!("cannot close descriptors: {e}"))
}

/// Replaces this process, or says why not.
fn exec(stage: &Stage<'_>) -> String {
    if !stage.spec.direct.is_empty() {
        // What the shell would export. When it fails, the shell has the word, in its own way.
        let mut env = stage.env.clone();
        if let Ok(cwd) = std::env::current_dir()
            && !env.iter().any(|e| e.as_bytes().starts_with(b"PWD="))
        {
            env.extend(CString::new([b"PWD=", cwd.as_os_str().as_bytes()].concat()));
        }
        let _ = exec_one(&stage.spec.direct, &env);
    }
    exec_one(&stage.spec.argv, &stage.env)
}

fn exec_one(argv: &[OsString], env: &[CString]) -> String {
    let c = |s: &OsString| CString::new(s.as_bytes()).ok();
    let words: Vec<CString> = argv.iter().filter_map(c).collect();
    let (Some(program), Some(name)) = (words.first(), argv.first()) else {
        return "the command is empty".into();
    };
    if program.as_bytes().contains(&b'/') {
        let e = nix::unistd::execve(program, &words, env).unwrap_err_code();
        return format!("cannot execute {}: {}", name.display(), e.desc());
    }
    let path = env.iter().find_map(|e| e.as_bytes().strip_prefix(b"PATH="));
    let path = path.unwrap_or(b"/usr/local/bin:/usr/bin:/bin");
    let mut worst = Errno::ENOENT;
    for dir in path.split(|b| *b == b':') {
        let mut file = if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
        file.push(b'/');
        file.extend_from_slice(program.as_bytes());
        let Ok(file) = CString::new(file) else { continue };
        match nix::unistd::execve(&file, &words, env).unwrap_err_code() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // Something of that name is there: its error says more than "not found" further on.
            e => worst = e,
        }
    }
    let path = String::from_utf8_lossy(path);
    match worst {
        Errno::ENOENT => format!("command not found: {} (PATH={path})", name.display()),
        e => format!("cannot execute {}: {} (PATH={path})", name.display(), e.desc()),
    }
}

/// `execve` returns only to fail.
trait ExecError {
    fn unwrap_err_code(self) -> Errno;
}

impl<T> ExecError for Result<T, Errno> {
    fn unwrap_err_code(self) -> Errno {
        self.err().unwrap_or(Errno::UnknownErrno)
    }
}
