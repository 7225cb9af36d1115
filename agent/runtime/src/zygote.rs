//! The zygote: a small process with one thread that forks shims on request.
//!
//! Forking it costs half of starting the binary anew, and spares the agent, which has many
//! threads, from forking at all. It holds nothing but a socket; when its agent goes, it goes. Its
//! shims don't notice: each has a session of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::shim;
use crate::sys::{self, Fork, SingleThreaded, exit_now, ignore_signal};

/// The hidden first argument that makes the binary a zygote.
pub(crate) const ZYGOTE: &str = "__zygote";
/// The hidden first argument that makes the binary the shim of the folder given next.
pub(crate) const SHIM: &str = "__shim";
/// The longest path of a worker's folder.
pub(crate) const PATH_MAX: usize = 4096;

/// Becomes a zygote or a shim when the command line says so; returns otherwise.
///
/// Must be the first thing that `main` does: no thread may have been started, and a shim's memory
/// is that of whatever ran before.
pub fn dispatch() {
    let mut args = std::env::args_os().skip(1);
    let verb = args.next();
    if verb.as_deref() == Some(OsStr::new(ZYGOTE)) {
        match SingleThreaded::check() {
            Ok(proof) => serve(proof),
            Err(_) => exit_now(2),
        }
    }
    if verb.as_deref() == Some(OsStr::new(SHIM)) {
        let dir = args.next().map(PathBuf::from);
        match (SingleThreaded::check(), dir) {
            (Ok(proof), Some(dir)) => exit_now(shim::run(proof, &dir, None, None)),
            _ => exit_now(2),
        }
    }
}

/// Serves requests on descriptor 0 until the agent closes its end.
fn serve(proof: SingleThreaded) -> ! {
    let _ = nix::unistd::setsid();
    let _ = nix::sys::prctl::set_name(c"runyard-zygote");
    for s in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGPIPE] {
        ignore_signal(s);
    }
    // The kernel reaps: nobody here asks how a shim ended, its folder says it.
    ignore_signal(Signal::SIGCHLD);
    let socket = sys::take_stdin();
    warm_up();
    let mut packet = vec![0; PATH_MAX];
    loop {
        let (n, fds) = match sys::recv_with_fds(socket.as_fd(), &mut packet) {
            Ok((0, _)) => exit_now(0),
            Ok(got) => got,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => exit_now(1),
        };
        let dir = Path::new(OsStr::from_bytes(&packet[..n]));
        let mut fds = fds.into_iter();
        let (reply, secrets) = (fds.next(), fds.next());
        match sys::fork(proof, 0) {
            Ok(Fork::Child) => be_shim(proof, dir, reply, secrets, socket),
            Ok(Fork::Parent(_)) => {}
            Err(e) => {
                if let Some(r) = reply {
                    let _ = writeln!(File::from(r), "error cannot fork a shim: {e}");
                }
            }
        }
    }
}

/// Has done once what each shim would else do again: asking the processor what it can is a trap
/// into the hypervisor on a virtual machine, some twenty microseconds each.
fn warm_up() {
    let _ = crc32c::crc32c(b"runyard");
    let _ = crate::clock::boot_id();
}

fn be_shim(
    proof: SingleThreaded,
    dir: &Path,
    reply: Option<OwnedFd>,
    secrets: Option<OwnedFd>,
    socket: OwnedFd,
) -> ! {
    // A shim waits for its children; the zygote does not.
    sys::default_signal(Signal::SIGCHLD);
    // Descriptor 0 becomes /dev/null: the stage's standard input, and no way to the zygote.
    match File::open("/dev/null") {
        Ok(null) => drop(nix::unistd::dup2_stdin(&null)),
        Err(_) => exit_now(1),
    }
    std::mem::forget(socket);
    exit_now(shim::run(proof, dir, reply, secrets))
}
