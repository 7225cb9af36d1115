//! What helper threads do for a peer: snapshots and segments, when there is no room for them, and when they
//! panic.

mod common;

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use common::{GROUP, Ledger, PEER, config, dir, entry, found, founding};
use runyard_consensus::{
    Config, DirLock, Disk, DiskFile, Handle, LockError, OsDisk, ProposeError, RestoreError,
    Serialise, StateMachine, init, sim::SimDisk, start,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A disk that has no room for snapshots while `full`, and panics at a new segment once `broken`.
#[derive(Debug, Clone)]
struct Moody {
    disk: SimDisk,
    full: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
}

impl Moody {
    fn new() -> Self {
        let disk = SimDisk::new();
        found(&disk).expect("founded");
        Self { disk, full: Arc::default(), broken: Arc::default() }
    }
}

impl Disk for Moody {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn lock(&self, dir: &Path) -> Result<Box<dyn DirLock>, LockError> {
        self.disk.lock(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let name = path.file_name().expect("a file").to_string_lossy();
        if name.starts_with("own-") && self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        assert!(!(name.starts_with("reserve") && self.broken.load(Ordering::Relaxed)), "broken");
        self.disk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

fn propose<R: Send + 'static>(handle: &Handle<R>, data: Vec<u8>) -> Result<R, ProposeError> {
    let (answer, answered) = mpsc::channel();
    handle.propose(data, Box::new(move |reply| drop(answer.send(reply))));
    answered.recv_timeout(PATIENCE).expect("every proposal is answered")
}

/// The configuration, and what its hook is told.
fn heard(config: Config) -> (Config, mpsc::Receiver<String>) {
    let (said, heard) = mpsc::channel();
    let said = Mutex::new(said);
    let on_fatal = Arc::new(move |fatal: &runyard_consensus::Fatal| {
        drop(said.lock().expect("no panic").send(fatal.to_string()));
    });
    (Config { on_fatal, ..config }, heard)
}

#[test]
fn a_snapshot_that_found_no_room_is_tried_again_without_a_new_entry() {
    let disk = Moody::new();
    disk.full.store(true, Ordering::Relaxed);
    let config = config(&dir(), PEER);
    let handle = start(config, Arc::new(disk.clone()), Ledger::default()).expect("started");
    for number in 0..25 {
        propose(&handle, entry(number)).expect("there is room for entries");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(handle.status().snapshot_index, 0);
    disk.full.store(false, Ordering::Relaxed);
    let until = Instant::now() + PATIENCE;
    while handle.status().snapshot_index == 0 {
        assert!(Instant::now() < until, "no snapshot: {:?}", handle.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    handle.shutdown();
}

/// Its state cannot be written down.
#[derive(Debug)]
struct Unwritable;

impl StateMachine for Unwritable {
    type Reply = ();
    fn apply(&mut self, _: u64, _: &[u8]) {}
    fn snapshot(&self) -> Serialise {
        Box::new(|| panic!("no words for it"))
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn a_panic_while_a_snapshot_is_saved_stops_the_peer() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let (config, heard) = heard(config(&dir(), PEER));
    let handle = start(config, Arc::new(disk), Unwritable).expect("started");
    for number in 0..20 {
        // The last ones may come too late.
        let _ = propose(&handle, entry(number));
    }
    let why = heard.recv_timeout(PATIENCE).expect("the hook is called");
    assert!(why.contains("thread snapshot panicked"), "{why}");
    handle.shutdown();
}

#[test]
fn a_panic_while_a_segment_is_made_stops_the_peer() {
    let disk = Moody::new();
    let config = Config { snapshot_every_entries: 10_000, ..config(&dir(), PEER) };
    let (config, heard) = heard(config);
    let handle = start(config, Arc::new(disk.clone()), Ledger::default()).expect("started");
    propose(&handle, entry(0)).expect("all is well");
    disk.broken.store(true, Ordering::Relaxed);
    let answers: Vec<_> = (1..200).map(|number| propose(&handle, entry(number))).collect();
    assert_eq!(answers.last(), Some(&Err(ProposeError::Stopped)), "nobody waits for ever");
    let why = heard.recv_timeout(PATIENCE).expect("the hook is called");
    assert!(why.contains("making a segment"), "{why}");
    handle.shutdown();
}

#[test]
fn a_lock_into_which_no_pid_can_be_written_is_a_lock() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("peer");
    init(&dir, &OsDisk, &founding(PEER, &[PEER])).expect("founded");
    // Writing there fails for want of room.
    std::fs::remove_file(dir.join("lock")).expect("it is there");
    std::os::unix::fs::symlink("/dev/full", dir.join("lock")).expect("made");
    let config = || Config::new(dir.clone(), GROUP, PEER);
    let config = || Config { segment_bytes: 32 << 10, max_entry_bytes: 8 << 10, ..config() };
    let handle = start(config(), Arc::new(OsDisk), Ledger::default()).expect("started");
    assert!(handle.wait_ready(PATIENCE));
    start(config(), Arc::new(OsDisk), Ledger::default()).expect_err("it is held");
    handle.shutdown();
}
