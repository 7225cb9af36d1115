//! Commands to a living shim.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{WorkerDir, WorkerError};

/// A shim answers from its one loop, in microseconds; a stopped one not at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// A shim binds its socket some 40 ms after its start.
const UNTIL_BOUND: Duration = Duration::from_secs(1);

/// What a shim says to `ping`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimAnswer {
    /// Its process number.
    pub pid: u32,
    /// Bytes of output so far.
    pub log_offset: u64,
    /// The stage's main process has ended.
    pub ended: bool,
}

impl WorkerDir {
    /// Asks the shim to stop the stage: TERM to all its processes, KILL after `grace`. Returns when
    /// the shim has heard it. A worker that has ended already is no error.
    pub fn stop(&self, grace: Duration) -> Result<(), WorkerError> {
        match self.call(&format!("stop {}", grace.as_millis())) {
            // It ended between our look and our call.
            Err(WorkerError::Io(_)) if !self.is_alive()? => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sets the time (boot-time clock, [`crate::clock::boottime_ms`]) at which the shim stops the
    /// stage by itself, in place of an earlier one.
    pub fn deadline(&self, boottime_ms: u64) -> Result<(), WorkerError> {
        self.call(&format!("deadline {boottime_ms}")).map(drop)
    }

    /// Sends a signal to the stage's process group (a checkpoint's, before a preemption).
    pub fn signal(&self, number: i32) -> Result<(), WorkerError> {
        self.call(&format!("signal {number}")).map(drop)
    }

    /// Asks how it goes.
    pub fn ping(&self) -> Result<ShimAnswer, WorkerError> {
        let text = self.call("ping")?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let number = |n: usize| words.get(n).and_then(|w| w.parse::<u64>().ok()).unwrap_or(0);
        let pid = u32::try_from(number(0)).unwrap_or(0);
        Ok(ShimAnswer { pid, log_offset: number(1), ended: words.get(2) == Some(&"ended") })
    }

    /// Blocks until the shim goes away, at most so long. False at once when it does not listen
    /// (not yet, or no more).
    pub(super) fn until_hung_up(&self, patience: Duration) -> bool {
        let Ok(mut stream) = self.connect() else { return false };
        let waited = stream.set_read_timeout(Some(patience.max(Duration::from_millis(1))));
        // It says nothing unasked: what ends the read is its end, or the time.
        waited.is_ok() && !matches!(std::io::Read::read(&mut stream, &mut [0]), Ok(0))
    }

    /// One line to the shim, one line back, without its `ok`.
    fn call(&self, command: &str) -> Result<String, WorkerError> {
        let failed = |e: io::Error| {
            let socket = self.path().join("sock");
            WorkerError::Io(io::Error::new(
                e.kind(),
                format!("no answer to `{command}` at {}: {e}", socket.display()),
            ))
        };
        let line = self.exchange(command).map_err(failed)?;
        match line.strip_prefix("ok") {
            Some(rest) => Ok(rest.trim().to_string()),
            None => Err(WorkerError::Refused {
                uid: self.uid().to_string(),
                command: command.to_string(),
                why: line.trim_start_matches("error ").trim_end().to_string(),
            }),
        }
    }

    fn exchange(&self, command: &str) -> io::Result<String> {
        let mut stream = self.connect_to_living()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{command}\n").as_bytes())?;
        let mut line = String::new();
        if BufReader::new(stream).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    /// Waits for the socket of a shim that has only just begun.
    fn connect_to_living(&self) -> io::Result<UnixStream> {
        let give_up = Instant::now() + UNTIL_BOUND;
        loop {
            match self.connect() {
                Err(e) if e.kind() == io::ErrorKind::NotFound && Instant::now() < give_up => {
                    if !self.is_alive().unwrap_or(false) {
                        return Err(e);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => return other,
            }
        }
    }

    /// By descriptor: the path may be longer than a socket address can hold.
    fn connect(&self) -> io::Result<UnixStream> {
        let folder = File::open(self.path())?;
        UnixStream::connect(format!("/proc/self/fd/{}/sock", folder.as_raw_fd()))
    }
}
