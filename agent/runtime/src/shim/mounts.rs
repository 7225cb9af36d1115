//! What the stage sees of the file system: its own `/proc`, `/tmp` and `/dev/shm`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::mount::{MsFlags, mount};

use super::read_only;
use crate::cgroup::{holds_pids, short};
use crate::spec::WorkerSpec;

const NOTHING: Option<&str> = None;

/// Arranges the mounts of a fresh PID and mount namespace. `Err`: the stage can't run in it (its
/// `/proc` would show other processes, or none); the words then say what was tried.
pub(super) fn arrange(spec: &WorkerSpec, words: &mut Vec<String>) -> Result<(), String> {
    // Slave: what the host mounts later (an automount, a new disk) still shows; ours stays here.
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(NOTHING, "/", NOTHING, flags, NOTHING)
        .map_err(|e| format!("no-mount-namespace:{e:?}"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NOTHING)
        .map_err(|e| format!("no-pid-namespace:mounting-proc-{e:?}"))?;
    words.push("pid-namespace".into());
    words.push("mount-namespace".into());
    if let Some(limit) = spec.limits.pids.filter(|_| !holds_pids(&spec.cgroups)) {
        words.push(match limit_pids(limit) {
            Ok(()) => "pids".into(),
            Err(e) => format!("no-pids:{}", short(&e)),
        });
    }
    // Before `/tmp` and `/dev/shm` are covered: they may lie below.
    let read_only = read_only::open(&spec.read_only);
    if let Some(tmp) = &spec.tmp {
        words.push(match private_tmp(spec, tmp) {
            Ok(()) => "private-tmp".into(),
            Err(e) => format!("no-private-tmp:{}", short(&e)),
        });
    }
    if spec.private_shm {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let made = mount(Some("shm"), "/dev/shm", Some("tmpfs"), flags, Some("mode=1777"));
        words.push(match made {
            Ok(()) => "private-shm".into(),
            Err(e) => format!("no-private-shm:{e:?}"),
        });
    }
    if !spec.read_only.is_empty() {
        words.push(match read_only::show(read_only) {
            Ok(()) => "read-only-mounts".into(),
            Err(e) => format!("no-read-only-mounts:{}", short(&e)),
        });
    }
    Ok(())
}

/// Limits the process numbers of this PID namespace, and so its processes and threads. That costs a
/// write where a cgroup costs its making, its removal and, after an idle moment, a grace period of
/// the kernel to enter it.
fn limit_pids(limit: u64) -> io::Result<()> {
    // Earlier kernels have one such number for the whole host.
    if !kernel_is_since(6, 14) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // Numbers begin at 1, which is the init's; the number written is the first that none has.
    let text = limit.saturating_add(2).to_string();
    let mut file = std::fs::OpenOptions::new().write(true).open("/proc/sys/kernel/pid_max")?;
    file.write_all(text.as_bytes())
}

fn kernel_is_since(major: u32, minor: u32) -> bool {
    let Ok(names) = nix::sys::utsname::uname() else { return false };
    let release = names.release().to_string_lossy().into_owned();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(a)), Some(Ok(b))) => (a, b) >= (major, minor),
        _ => false,
    }
}

/// Puts the worker's own folder over `/tmp` and `/var/tmp`; what must stay visible there (the
/// working directory first of all, when everything was started below `/tmp`) is bound back.
fn private_tmp(spec: &WorkerSpec, tmp: &Path) -> io::Result<()> {
    let tmp_fd = handle(tmp)?;
    let mut kept = Vec::new();
    for path in spec.keep.iter().chain([&spec.cwd]) {
        let Ok(path) = path.canonicalize() else { continue };
        if path.starts_with("/tmp") || path.starts_with("/var/tmp") {
            let fd = handle(&path)?;
            kept.push((path, fd));
        }
    }
    // A parent before what lies in it.
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    for over in ["/tmp", "/var/tmp"] {
        if Path::new(over).is_dir() {
            bind(&tmp_fd, Path::new(over))?;
        }
    }
    for (path, fd) in &kept {
        if fd.metadata()?.is_dir() {
            std::fs::create_dir_all(path)?;
        } else {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            File::create(path)?;
        }
        bind(fd, path)?;
    }
    Ok(())
}

pub(super) fn handle(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)
}

pub(super) fn bind(from: &File, over: &Path) -> io::Result<()> {
    let from = PathBuf::from(format!("/proc/self/fd/{}", from.as_raw_fd()));
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(Some(&from), over, NOTHING, flags, NOTHING)?)
}
