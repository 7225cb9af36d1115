//! The system calls that nix has no safe form of. All `unsafe` of this crate is here.
#![expect(unsafe_code, reason = "raw system calls, each with its own SAFETY note")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Proof that this process had one thread when it was made. A child forked from it may therefore
/// allocate and lock as it likes: nobody else can have held a lock at the moment of the fork.
///
/// Invariant: whoever holds one starts no threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SingleThreaded(());

impl SingleThreaded {
    /// Counts the threads in `/proc/self/task`. Fails when there is more than one, or no `/proc`.
    pub(crate) fn check() -> io::Result<Self> {
        match std::fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self(())),
            n => Err(io::Error::other(format!("this process has {n} threads; forking needs one"))),
        }
    }
}

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Fork {
    Parent(Pid),
    Child,
}

/// `fork` with namespace flags (`CLONE_NEWPID`, …); 0 makes a plain fork.
pub(crate) fn fork(_proof: SingleThreaded, flags: libc::c_int) -> io::Result<Fork> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack this is fork(2): the child runs on a copy of
    // this stack. The process has one thread (the proof), so no lock is held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) };
    match pid {
        0 => Ok(Fork::Child),
        n if n > 0 => Ok(Fork::Parent(Pid::from_raw(n as libc::pid_t))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes of stack for what runs between [`fork_to_exec`] and its exec.
const EXEC_STACK: usize = 256 << 10;

/// A child that is about to exec, without the copy of our memory that a fork makes: it runs in our
/// memory, on a stack of its own, while we wait for its exec or its end. `child` must not return
/// but by one of these; what it answers is its exit code.
pub(crate) fn fork_to_exec(
    _proof: SingleThreaded,
    mut child: impl FnMut() -> i32,
) -> io::Result<Pid> {
    use nix::sched::{CloneFlags, clone};
    let mut stack = vec![0; EXEC_STACK];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    let run = Box::new(|| child() as isize);
    // SAFETY: CLONE_VFORK keeps this process, which has one thread (the proof), where it is until
    // the child has another memory or is gone; so nobody else touches this memory meanwhile, and
    // the stack lives until then. Descriptors, signal handlers, folder and credentials are the
    // child's own: their flags are not set.
    Ok(unsafe { clone(run, &mut stack, flags, Some(libc::SIGCHLD)) }?)
}

/// Ends this process at once: no destructors, no exit handlers of a parent's copy.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// What `wait4` tells of a child: raw wait status, CPU time and the largest resident set of it and
/// of the children it has waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) pid: Pid,
    pub(crate) status: i32,
    pub(crate) cpu_ms: u64,
    pub(crate) max_rss_bytes: u64,
}

/// `wait4`. `Ok(None)`: nothing to report yet (only with `WNOHANG`). No child is `ECHILD`.
pub(crate) fn wait4(pid: i32, options: libc::c_int) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let got = loop {
        // SAFETY: both pointers are to live locals of the right type.
        let got = unsafe { libc::wait4(pid, &mut status, options, &mut usage) };
        match got {
            0 => return Ok(None),
            n if n > 0 => break n,
            _ => {}
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    let ms = |t: libc::timeval| (t.tv_sec as u64) * 1000 + (t.tv_usec as u64) / 1000;
    Ok(Some(Reaped {
        pid: Pid::from_raw(got),
        status,
        cpu_ms: ms(usage.ru_utime) + ms(usage.ru_stime),
        max_rss_bytes: (usage.ru_maxrss as u64) * 1024,
    }))
}

/// Marks every descriptor from `first` on close-on-exec, whoever opened it (A29).
pub(crate) fn cloexec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: close_range takes three integers.
    let r = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    if r == 0 {
        return Ok(());
    }
    // Kernels before 5.11: one by one.
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        if let Some(fd) = entry.file_name().to_str().and_then(|n| n.parse::<RawFd>().ok())
            && fd >= first
        {
            // SAFETY: fcntl on a number; a closed one answers EBADF, which is fine.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Closes every descriptor from `first` to `last`, inclusive.
pub(crate) fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: the caller is a freshly forked process that gives up what it inherited; no owner of
    // these descriptors runs in it any more.
    let r = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if r != 0 {
        for fd in first..=last.min(1024) {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
}

/// The descriptor 0 of a process that was started with a socket there.
pub(crate) fn take_stdin() -> OwnedFd {
    // SAFETY: descriptor 0 is open in every process this crate starts, and nothing else owns it:
    // std's Stdin borrows the number and never closes it.
    unsafe { OwnedFd::from_raw_fd(0) }
}

/// Receives one packet and the descriptors that came with it (at most four).
pub(crate) fn recv_with_fds(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut slices = [io::IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for c in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = c {
            // SAFETY: the kernel has just installed these descriptors for us alone.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, fds))
}

/// A handle on a process that no later process of the same number can take over.
pub(crate) fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: two integers in, a new descriptor out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Signals the process behind a pidfd.
pub(crate) fn pidfd_signal(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    // SAFETY: a live descriptor, a signal number, a null siginfo (the kernel fills it), no flags.
    let r = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as libc::c_int,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the mount at `point` and all below it read-only, and leaves what else holds for them.
/// `ENOSYS`: before Linux 5.12.
pub(crate) fn mount_read_only(point: &std::ffi::CStr) -> io::Result<()> {
    let change = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: a path that ends in NUL and a live mount_attr, with its size; nothing is written.
    let r = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            point.as_ptr(),
            libc::AT_RECURSIVE | libc::AT_SYMLINK_NOFOLLOW,
            std::ptr::from_ref(&change),
            size_of::<libc::mount_attr>(),
        )
    };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes `to` share `from`'s extents, copy-on-write. `EOPNOTSUPP`, `EXDEV`, `EINVAL`: copy instead.
pub(crate) fn reflink(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    // SAFETY: FICLONE takes the source descriptor as its integer argument.
    let r = unsafe { libc::ioctl(to.as_fd().as_raw_fd(), libc::FICLONE, from.as_fd().as_raw_fd()) };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts every signal back to its default action and unblocks all: what a fresh program expects.
/// (Rust ignores SIGPIPE in every program; an ignored signal survives exec.)
pub(crate) fn default_signals() {
    // Larger than the kernel's struct on every architecture; all zero is SIG_DFL without flags.
    let default = [0u64; 8];
    for n in 1..=64 {
        // The system call itself: libc's hides 32 and 33, which it uses, and which a parent may
        // have left ignored. SIGKILL and SIGSTOP answer EINVAL.
        // SAFETY: a live, zeroed buffer that is at least a kernel sigaction; nothing is written.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, n, default.as_ptr(), std::ptr::null::<u64>(), 8);
        }
    }
    // SAFETY: the set is a live local.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Puts one signal back to its default action.
pub(crate) fn default_signal(signal: Signal) {
    // SAFETY: SIG_DFL installs no handler of ours.
    unsafe { libc::signal(signal as libc::c_int, libc::SIG_DFL) };
}

/// Ignores a signal.
pub(crate) fn ignore_signal(signal: Signal) {
    // SAFETY: SIG_IGN installs no handler of ours.
    unsafe { libc::signal(signal as libc::c_int, libc::SIG_IGN) };
}

/// Sets one resource limit by its number, so that limits nix doesn't name can be set too.
pub(crate) fn set_rlimit(resource: i32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: a live rlimit; a resource the kernel doesn't know answers EINVAL.
    let r = unsafe { libc::setrlimit(resource as libc::__rlimit_resource_t, &limit) };
    if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
