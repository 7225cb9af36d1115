//! The shim's socket: line commands from whoever may read the worker's folder.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::clock::boottime_ms;

/// More callers than this at a time are turned away; the agent is one.
const CALLERS_MAX: usize = 8;
const LINE_MAX: usize = 128;
/// The socket is bound so long after the start, in ms. A worker that ends before never makes one:
/// an inode made and removed for each is what costs most of a short one on a busy disk.
const BIND_AFTER_MS: u64 = 40;
/// Until the next try at binding it.
const BIND_AGAIN_MS: u64 = 100;
/// With less room on the disk than this (bytes, inodes) it is bound at once: later it may not be
/// possible any more, and a worker without a socket can't be stopped.
const ROOM: (u64, u64) = (64 << 20, 1_000);

/// What a caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Ping,
    Stop { grace_ms: u64 },
    Deadline { boottime_ms: u64 },
    Signal(i32),
}

impl Command {
    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_ascii_whitespace();
        let (verb, number) = (words.next().unwrap_or(""), words.next());
        let number = || -> Result<u64, String> {
            let text = number.ok_or(format!("{verb}: a number is missing"))?;
            text.parse().map_err(|_| format!("{verb}: {text} is no number"))
        };
        match verb {
            "ping" => Ok(Self::Ping),
            "stop" => Ok(Self::Stop { grace_ms: number()? }),
            "deadline" => Ok(Self::Deadline { boottime_ms: number()? }),
            "signal" => match number()? {
                n @ 1..=64 => Ok(Self::Signal(n as i32)),
                n => Err(format!("signal: {n} is no signal")),
            },
            other => Err(format!("{other}: not a command of protocol 1")),
        }
    }
}

/// The listener and those who are connected.
#[derive(Debug)]
pub(super) struct Control {
    dir: PathBuf,
    listener: Option<UnixListener>,
    /// When to bind it, on the boot-time clock.
    bind_at_ms: u64,
    callers: Vec<Caller>,
}

#[derive(Debug)]
struct Caller {
    stream: UnixStream,
    line: Vec<u8>,
}

impl Control {
    /// Prepares to listen. Fails when the disk is so full that the socket is bound at once, and
    /// can't be.
    pub(super) fn begin(dir: &Path) -> io::Result<Self> {
        let bind_at_ms = boottime_ms() + BIND_AFTER_MS;
        let mut this = Self { dir: dir.into(), listener: None, bind_at_ms, callers: Vec::new() };
        if !has_room(dir) {
            this.listener = Some(bind(dir)?);
        }
        Ok(this)
    }

    /// Milliseconds until [`Self::bind_if_due`] has something to do; `None` once it listens.
    pub(super) fn due_in(&self, now_ms: u64) -> Option<u64> {
        self.listener.is_none().then(|| self.bind_at_ms.saturating_sub(now_ms))
    }

    /// Binds the socket when it is time.
    pub(super) fn bind_if_due(&mut self, now_ms: u64) {
        if self.due_in(now_ms) == Some(0) {
            self.listener = bind(&self.dir).ok();
            self.bind_at_ms = now_ms + BIND_AGAIN_MS;
        }
    }

    /// What to poll for reading.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let callers = self.callers.iter().map(|c| c.stream.as_fd());
        self.listener.iter().map(AsFd::as_fd).chain(callers)
    }

    /// Accepts and reads what is there; each whole line is handed to `act`, whose answer is sent.
    pub(super) fn serve(&mut self, mut act: impl FnMut(Command) -> String) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) {
            if self.callers.len() < CALLERS_MAX && stream.set_nonblocking(true).is_ok() {
                self.callers.push(Caller { stream, line: Vec::new() });
            }
        }
        self.callers.retain_mut(|caller| caller.serve(&mut act));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.listener.is_some() {
            let _ = std::fs::remove_file(self.dir.join("sock"));
        }
    }
}

/// Through an open descriptor of the folder, for its path may be longer than the 108 bytes that
/// fit into a socket address. The name appears only when the socket listens: whoever finds it need
/// not try twice.
fn bind(dir: &Path) -> io::Result<UnixListener> {
    let (folder, aside) = (File::open(dir)?, dir.join("sock.new"));
    let _ = std::fs::remove_file(&aside);
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/sock.new", folder.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    std::fs::rename(&aside, dir.join("sock"))?;
    Ok(listener)
}

fn has_room(dir: &Path) -> bool {
    let (bytes, inodes) = ROOM;
    nix::sys::statvfs::statvfs(dir).is_ok_and(|disk| {
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        // File systems that make inodes as they need them say 0 of 0.
        let counts = disk.files() > 0;
        free >= bytes && (!counts || disk.files_available() >= inodes)
    })
}

impl Caller {
    /// False when the caller is gone or misbehaves.
    fn serve(&mut self, act: &mut impl FnMut(Command) -> String) -> bool {
        let mut bytes = [0; LINE_MAX];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(n) => self.line.extend_from_slice(&bytes[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
            while let Some(eol) = self.line.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.line.drain(..=eol).collect();
                let answer = match Command::parse(&String::from_utf8_lossy(&line)) {
                    Ok(command) => act(command),
                    Err(why) => format!("error {why}"),
                };
                if self.stream.write_all(format!("{answer}\n").as_bytes()).is_err() {
                    return false;
                }
            }
            if self.line.len() > LINE_MAX {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_commands_are_frozen() {
        assert_eq!(Command::parse("ping\n"), Ok(Command::Ping));
        assert_eq!(Command::parse("stop 5"), Ok(Command::Stop { grace_ms: 5 }));
        assert_eq!(Command::parse("deadline 7"), Ok(Command::Deadline { boottime_ms: 7 }));
        assert_eq!(Command::parse("signal 10"), Ok(Command::Signal(10)));
        for bad in ["", "stop", "stop x", "signal 0", "signal 65", "exec rm"] {
            assert!(Command::parse(bad).is_err(), "{bad}");
        }
    }
}
