//! One command of a build, with its output as it comes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::build::failed;
use super::{EnvironmentError, LOOK_EVERY_MS};

/// Lines of a failed step's output that its error carries.
const TAIL_LINES: usize = 30;
/// Bytes of a line; what is longer is given out in parts.
const LINE_MAX: usize = 8 << 10;

/// How a step ended.
pub(super) enum Ended {
    /// With this status, and these last lines.
    Status(ExitStatus, String),
    /// Its log called it off.
    Cancelled,
}

/// Runs a command in a process group of its own, and gives its lines to `log`; while there are none, an empty
/// one now and then. `lock` is its standard input: should this process be killed, the lock of the environment
/// stays taken until the command has ended, too.
pub(super) fn run(
    command: &mut Command,
    lock: &File,
    log: &mut impl FnMut(&str) -> ControlFlow<()>,
) -> Result<Ended, EnvironmentError> {
    let program = PathBuf::from(command.get_program());
    let (reader, writer) = io::pipe().map_err(failed("make a pipe for", &program))?;
    let again = writer.try_clone().map_err(failed("make a pipe for", &program))?;
    let lock = lock.try_clone().map_err(failed("share the lock with", &program))?;
    command.stdin(lock).stdout(writer).stderr(again).process_group(0);
    let mut child = command.spawn().map_err(failed("run", &program))?;
    // The command holds the writing ends; the reader's end comes with the child's.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut lines = Lines { log, part: Vec::new(), tail: VecDeque::new() };
    let went = follow(reader, &mut lines);
    if !matches!(went, Ok(ControlFlow::Continue(()))) {
        end_all(&mut child);
    }
    let status = child.wait().map_err(failed("wait for", &program))?;
    Ok(match went.map_err(failed("read the output of", &program))? {
        ControlFlow::Break(()) => Ended::Cancelled,
        ControlFlow::Continue(()) => Ended::Status(status, lines.tail.make_contiguous().join("\n")),
    })
}

fn follow<L>(mut reader: io::PipeReader, lines: &mut Lines<'_, L>) -> io::Result<ControlFlow<()>>
where
    L: FnMut(&str) -> ControlFlow<()>,
{
    let mut bytes = [0; LINE_MAX];
    loop {
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let ready = match poll(&mut fds, PollTimeout::from(LOOK_EVERY_MS)) {
            Ok(ready) => ready,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let flow = match ready {
            0 => (lines.log)(""),
            _ => match reader.read(&mut bytes)? {
                0 => return Ok(lines.end()),
                n => lines.take(&bytes[..n]),
            },
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
}

/// The command and what it started: pip's compilers are of its group.
fn end_all(child: &mut Child) {
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    if !group.is_ok_and(|group| killpg(group, Signal::SIGKILL).is_ok()) {
        // It may have ended; else it is waited for.
        let _ = child.kill();
    }
}

struct Lines<'a, L> {
    log: &'a mut L,
    part: Vec<u8>,
    tail: VecDeque<String>,
}

impl<L: FnMut(&str) -> ControlFlow<()>> Lines<'_, L> {
    fn take(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            self.part.extend_from_slice(&bytes[..at]);
            bytes = &bytes[at + 1..];
            self.line()?;
        }
        self.part.extend_from_slice(bytes);
        if self.part.len() >= LINE_MAX { self.line() } else { ControlFlow::Continue(()) }
    }

    fn end(&mut self) -> ControlFlow<()> {
        if self.part.is_empty() { ControlFlow::Continue(()) } else { self.line() }
    }

    fn line(&mut self) -> ControlFlow<()> {
        let text = String::from_utf8_lossy(&self.part).trim_end().to_string();
        self.part.clear();
        (self.log)(&text)?;
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(text);
        ControlFlow::Continue(())
    }
}
