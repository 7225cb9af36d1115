//! HyperQueue, driven through its own Python interface: one process is its server, worker and client.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::Failure;
use crate::figures::skipped;

/// A running HyperQueue.
#[derive(Debug)]
pub(crate) struct HyperQueue {
    child: Child,
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    /// Its server and worker, in one process with the client.
    pub(crate) pid: u32,
    pub(crate) start_s: f64,
}

/// When a job was submitted and how long it took until its end was on disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) submitted_ns: u128,
    pub(crate) seconds: f64,
}

impl HyperQueue {
    /// Starts it; `None`, said loudly, where it is not installed.
    pub(crate) fn start(python: &Path) -> Result<Option<Self>, Failure> {
        let missing = |why: &str| {
            let remedy =
                "`python3 -m venv V && V/bin/pip install hyperqueue`, then --hq V/bin/python";
            skipped("hyperqueue", &format!("{why} ({remedy})"));
        };
        let spawned = Command::new(python)
            .args(["-u", "-c", include_str!("hq.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                missing(&format!("{}: {error}", python.display()));
                return Ok(None);
            }
        };
        let (requests, output) = (child.stdin.take(), child.stdout.take().ok_or("no pipe")?);
        let mut answers = BufReader::new(output).lines();
        let hello: Value = match answers.next() {
            Some(line) => serde_json::from_str(&line?)?,
            None => json!({ "missing": "it ended at once" }),
        };
        if let Some(why) = hello["missing"].as_str() {
            child.wait()?;
            missing(why);
            return Ok(None);
        }
        let (pid, start_s) = (child.id(), hello["start_s"].as_f64().unwrap_or(f64::NAN));
        let mut own = Self { child, requests, answers, pid, start_s };
        // The first job of all sets up what later ones share.
        own.tasks(1, true)?;
        Ok(Some(own))
    }

    /// `n` tasks of /bin/true in one job, and a last one that depends on all.
    pub(crate) fn tasks(&mut self, n: usize, streams: bool) -> Result<Took, Failure> {
        self.ask(&json!({ "n": n, "argv": ["/bin/true"], "streams": streams }))
    }

    /// One task, which makes the file `mark`.
    pub(crate) fn one(&mut self, argv: &[&str], mark: &Path) -> Result<Took, Failure> {
        self.ask(&json!({ "n": 1, "argv": argv, "mark": mark }))
    }

    fn ask(&mut self, request: &Value) -> Result<Took, Failure> {
        writeln!(self.requests.as_mut().ok_or("hyperqueue was stopped")?, "{request}")?;
        let line = self.answers.next().ok_or("hyperqueue ended")??;
        let answer: Value = serde_json::from_str(&line)?;
        let submitted = answer["submitted_ns"].as_u64().ok_or("hyperqueue said no time")?;
        let seconds = answer["s"].as_f64().ok_or("hyperqueue said no duration")?;
        Ok(Took { submitted_ns: u128::from(submitted), seconds })
    }
}

impl Drop for HyperQueue {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}
