//! A folder of workers, real shims, and what to ask of them.
#![allow(dead_code, reason = "each test file uses its part, and one may use all")]

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runyard_runtime::spool::{Body, Record, Stream};
use runyard_runtime::{ExitStatus, Launcher, SpoolLimits, State, WorkerDir, WorkerSpec};

pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Yard {
    pub(crate) root: tempfile::TempDir,
    pub(crate) launcher: Launcher,
}

impl Yard {
    pub(crate) fn new() -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_runyard-shim-test"));
        let launcher = Launcher::new(binary).expect("a launcher");
        Self { root: tempfile::tempdir().expect("a folder"), launcher }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// A spec for `sh -c SCRIPT` in the yard's folder.
    pub(crate) fn script(&self, script: &str) -> WorkerSpec {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        WorkerSpec {
            uid: format!("w{}-{n}", std::process::id()),
            argv: vec!["sh".into(), "-c".into(), script.into()],
            env: vec![("PATH".into(), std::env::var_os("PATH").expect("a PATH"))],
            cwd: self.path().into(),
            spool: SpoolLimits::default(),
            grace_ms: 500,
            ..WorkerSpec::default()
        }
    }

    pub(crate) fn start(&self, spec: &WorkerSpec) -> WorkerDir {
        let worker = WorkerDir::create(self.path(), spec).expect("a worker");
        self.launcher.launch(worker.path(), &[]).expect("launched");
        worker
    }

    pub(crate) fn run(&self, spec: &WorkerSpec) -> (WorkerDir, ExitStatus) {
        let worker = self.start(spec);
        let status = ended(&worker);
        (worker, status)
    }
}

pub(crate) fn ended(worker: &WorkerDir) -> ExitStatus {
    let state = worker.wait(LONG).expect("a state");
    assert_eq!(state, State::Released, "{}: {:?}", worker.uid(), worker.remains());
    worker.status().expect("readable").expect("a status")
}

/// All records, checked to be without gap or overlap up to the status's end.
pub(crate) fn records(worker: &WorkerDir) -> Vec<Record> {
    let end = worker.status().expect("readable").map(|s| s.log_end);
    let mut reader = worker.output();
    let mut all = Vec::new();
    while !reader.ended() {
        all.extend(reader.poll_final(1 << 20, end).expect("readable"));
    }
    let mut next = 0;
    for r in &all {
        assert_eq!(r.offset, next, "a gap or an overlap");
        next = r.end();
    }
    assert_eq!(Some(next), end.or(Some(next)), "the log ends elsewhere than the status says");
    all
}

pub(crate) fn bytes(records: &[Record], stream: Option<Stream>) -> Vec<u8> {
    let mut out = Vec::new();
    for r in records {
        if let Body::Data(data) = &r.body
            && stream.is_none_or(|s| s == r.stream)
        {
            out.extend_from_slice(data);
        }
    }
    out
}

pub(crate) fn text(worker: &WorkerDir) -> String {
    String::from_utf8_lossy(&bytes(&records(worker), None)).into_owned()
}

/// Waits until the worker's output contains this.
pub(crate) fn await_output(worker: &WorkerDir, wanted: &str) {
    let mut seen = String::new();
    let mut reader = worker.output();
    until(&format!("{wanted:?} in the output"), || {
        let new = reader.poll_new(1 << 20).expect("readable");
        seen += &String::from_utf8_lossy(&bytes(&new, None));
        seen.contains(wanted)
    });
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "waited 30 s in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says loudly that something was not tested.
pub(crate) fn skipped(why: &str) {
    eprintln!("\n*** skipped: {why}\n");
}

pub(crate) fn kill9(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
}
