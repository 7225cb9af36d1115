//! The threads around the core, on real files and on the simulated disk.

mod common;

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use common::{GROUP, Ledger, PEER, assert_prefix, config, dir, entry, found, founding};
use runyard_consensus::{
    Config, DirLock, Disk, DiskFile, DiskState, Handle, LockError, OsDisk, ProposeError, ReadError,
    Role, StartError, init,
    sim::{Fault, SimDisk},
    start,
};

const PATIENCE: Duration = Duration::from_secs(20);

type Published = Arc<Mutex<Vec<Vec<u8>>>>;

fn run(config: Config, disk: Arc<dyn Disk>) -> Result<(Handle<usize>, Published), StartError> {
    let published = Published::default();
    let ledger = Ledger { published: Some(published.clone()), ..Ledger::default() };
    let handle = start(config, disk, ledger)?;
    Ok((handle, published))
}

fn on_files(dir: &Path) -> (Handle<usize>, Published) {
    let config = Config { snapshot_every_entries: 50, ..config(dir, PEER) };
    let (handle, published) = run(config, Arc::new(OsDisk)).expect("started");
    assert!(handle.wait_ready(PATIENCE), "{:?}", handle.status());
    (handle, published)
}

fn propose(handle: &Handle<usize>, data: Vec<u8>) -> Result<usize, ProposeError> {
    let (answer, answered) = mpsc::channel();
    handle.propose(data, Box::new(move |reply| answer.send(reply).expect("somebody waits")));
    answered.recv_timeout(PATIENCE).expect("every proposal is answered")
}

fn until(handle: &Handle<usize>, what: &str, done: impl Fn(&runyard_consensus::Status) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(&handle.status()) {
        assert!(Instant::now() < deadline, "{what} did not happen: {:?}", handle.status());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_group_of_one_serves_and_remembers() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("peer");
    init(&dir, &OsDisk, &founding(PEER, &[PEER])).expect("founded");
    for round in 0..3 {
        let (handle, published) = on_files(&dir);
        let before = assert_prefix(&published.lock().expect("no panic"), "restart");
        assert_eq!(before, round * 100);
        for number in before..before + 100 {
            assert_eq!(propose(&handle, entry(number)), Ok(number + 1));
            // Whoever has the reply sees the effect.
            assert_eq!(published.lock().expect("no panic").len(), number + 1);
        }
        let status = handle.status();
        assert_eq!((status.role, status.identity.incarnation), (Role::Leader, round as u64 + 1));
        assert!(status.last_durable >= 100 * (round as u64 + 1));
        until(&handle, "a snapshot", |status| status.snapshot_index > before as u64);
        handle.shutdown();
    }
}

#[test]
fn many_proposers_at_once_share_syncs_and_all_are_answered() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("peer");
    init(&dir, &OsDisk, &founding(PEER, &[PEER])).expect("founded");
    let (handle, published) = on_files(&dir);
    let (answer, answers) = mpsc::channel();
    for number in 0..2_000_usize {
        let answer = answer.clone();
        let data = number.to_le_bytes().to_vec();
        handle.propose(data, Box::new(move |reply| answer.send(reply).expect("waited for")));
    }
    let mut replies: Vec<usize> = (0..2_000)
        .map(|_| answers.recv_timeout(PATIENCE).expect("answered").expect("accepted"))
        .collect();
    assert!(replies.is_sorted(), "replies come in the log's order");
    replies.dedup();
    assert_eq!(replies.len(), 2_000);
    assert_eq!(published.lock().expect("no panic").len(), 2_000);
    handle.shutdown();
}

/// A disk on which a new segment takes its time.
#[derive(Debug)]
struct SlowReserve(SimDisk);

impl Disk for SlowReserve {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir(dir)
    }
    fn lock(&self, dir: &Path) -> Result<Box<dyn DirLock>, LockError> {
        self.0.lock(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if path.ends_with("reserve.tmp") {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.0.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
}

#[test]
fn proposals_of_all_sizes_wait_for_the_next_segment_and_keep_their_order() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let disk = Arc::new(SlowReserve(disk));
    let (handle, published) = run(config(&dir(), PEER), disk).expect("started");
    assert!(handle.wait_ready(PATIENCE));
    let (answer, answers) = mpsc::channel();
    // A segment takes some forty of these, and is full long before the next one is there. One
    // after the other, so that each finds those before it waiting.
    for number in 0..600 {
        let answer = answer.clone();
        handle.propose(entry(number), Box::new(move |r| answer.send(r).expect("waited for")));
        std::thread::sleep(Duration::from_micros(100));
    }
    for number in 0..600 {
        assert_eq!(answers.recv_timeout(PATIENCE).expect("answered"), Ok(number + 1));
    }
    assert_eq!(assert_prefix(&published.lock().expect("no panic"), "in order"), 600);
    handle.shutdown();
}

#[test]
fn a_read_sees_every_write_acknowledged_before_it() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("peer");
    init(&dir, &OsDisk, &founding(PEER, &[PEER])).expect("founded");
    let (handle, published) = on_files(&dir);
    for number in 0..50 {
        propose(&handle, entry(number)).expect("accepted");
        let (answer, answered) = mpsc::channel();
        let seen = published.clone();
        handle.read_index(Box::new(move |index| {
            answer.send(index.map(|_| seen.lock().expect("no panic").len())).expect("waited for");
        }));
        let seen = answered.recv_timeout(PATIENCE).expect("answered").expect("confirmed");
        assert!(seen > number);
    }
    handle.shutdown();
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_with_the_firsts_pid() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("peer");
    init(&dir, &OsDisk, &founding(PEER, &[PEER])).expect("founded");
    let (first, _) = on_files(&dir);
    let error = run(config(&dir, PEER), Arc::new(OsDisk)).expect_err("in use");
    let pid = std::process::id();
    assert!(matches!(error, StartError::Locked { pid: Some(found), .. } if found == pid));
    let message = error.to_string();
    assert!(message.contains(&pid.to_string()), "{message}");
    assert!(message.contains(&dir.display().to_string()), "{message}");
    propose(&first, entry(0)).expect("the first goes on");
    first.shutdown();
    on_files(&dir).0.shutdown();
}

#[test]
fn too_large_and_too_many_are_refused_at_once() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let config = Config { max_proposals: 4, ..config(&dir(), PEER) };
    let (handle, _) = run(config, Arc::new(disk)).expect("started");
    assert!(handle.wait_ready(PATIENCE));
    let limit = 8 << 10;
    for data in [vec![], vec![1; limit + 1]] {
        let bytes = data.len();
        assert_eq!(propose(&handle, data), Err(ProposeError::TooLarge { bytes, limit }));
    }
    // A reply that is not taken holds its proposal's place no longer than it takes to say it; a
    // callback that waits holds the apply thread, so that the others pile up.
    let (go, gate) = mpsc::channel::<()>();
    let (answer, answers) = mpsc::channel();
    handle.propose(vec![1], Box::new(move |_| gate.recv().expect("opened")));
    let mut busy = 0;
    for _ in 0..100 {
        let answer = answer.clone();
        handle.propose(vec![1], Box::new(move |reply| answer.send(reply).expect("waited for")));
    }
    go.send(()).expect("it waits");
    for _ in 0..100 {
        let reply = answers.recv_timeout(PATIENCE).expect("answered");
        busy += usize::from(reply == Err(ProposeError::Busy));
    }
    assert!((90..=99).contains(&busy), "{busy} refused");
    assert!(propose(&handle, vec![1]).is_ok(), "there is room again");
    handle.shutdown();
}

#[test]
fn f4_a_failed_sync_calls_the_hook_once_and_acknowledges_nothing() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let stopped = Arc::new(AtomicUsize::new(0));
    let hook = stopped.clone();
    let config = Config {
        on_fatal: Arc::new(move |_| {
            hook.fetch_add(1, Ordering::SeqCst);
        }),
        ..config(&dir(), PEER)
    };
    let (handle, _) = run(config, Arc::new(disk.clone())).expect("started");
    assert!(handle.wait_ready(PATIENCE));
    propose(&handle, entry(0)).expect("accepted");
    disk.fail(disk.operations() + 1, Fault::Io);
    assert_eq!(propose(&handle, entry(1)), Err(ProposeError::Stopped));
    until(&handle, "the end", |status| status.stopped);
    assert_eq!(propose(&handle, entry(1)), Err(ProposeError::Stopped));
    let (answer, answered) = mpsc::channel();
    handle.read_index(Box::new(move |index| answer.send(index).expect("waited for")));
    assert_eq!(answered.recv_timeout(PATIENCE).expect("answered"), Err(ReadError::Stopped));
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
    handle.shutdown();
}

#[test]
fn f8_a_full_disk_is_reserve_then_read_only_and_heals_without_a_restart() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let config = Config { snapshot_every_entries: 1_000_000, ..config(&dir(), PEER) };
    let (handle, _) = run(config, Arc::new(disk.clone())).expect("started");
    assert!(handle.wait_ready(PATIENCE));
    until(&handle, "a reserve", |status| status.disk == DiskState::Ready);
    disk.set_capacity(Some(disk.used()));
    let second = dir().join("0000000000000002.log");
    let (mut acked, mut in_reserve) = (0, false);
    loop {
        match propose(&handle, vec![1; 100]) {
            Ok(_) => acked += 1,
            Err(ProposeError::DiskFull) => break,
            Err(other) => panic!("{other}"),
        }
        if !in_reserve && disk.bytes(&second).is_ok() {
            // Almost all of the segment is left, so that the state is met for certain.
            until(&handle, "the reserve", |status| status.disk == DiskState::Reserve);
            in_reserve = true;
        }
    }
    // Entries of 100 bytes and of none take the same room: one sector.
    until(&handle, "the reserve's end", |status| status.disk == DiskState::ReadOnly);
    assert!(in_reserve && acked > 60, "{acked}");
    disk.set_capacity(None);
    until(&handle, "room", |status| status.disk == DiskState::Ready);
    assert_eq!(propose(&handle, entry(acked)), Ok(acked + 1));
    handle.shutdown();
}

#[test]
fn a_panic_in_the_state_machine_stops_the_peer_instead_of_hanging_it() {
    #[derive(Debug)]
    struct Panics;
    impl runyard_consensus::StateMachine for Panics {
        type Reply = usize;
        fn apply(&mut self, _: u64, _: &[u8]) -> usize {
            panic!("for the test")
        }
        fn snapshot(&self) -> runyard_consensus::Serialise {
            Box::new(Vec::new)
        }
        fn restore(&mut self, _: &[u8]) -> Result<(), runyard_consensus::RestoreError> {
            Ok(())
        }
    }
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let (said, heard) = mpsc::channel();
    let said = Mutex::new(said);
    let config = Config {
        on_fatal: Arc::new(move |fatal| {
            let said = said.lock().expect("no panic");
            said.send(fatal.to_string()).expect("waited for");
        }),
        ..config(&dir(), PEER)
    };
    let handle = start(config, Arc::new(disk), Panics).expect("started");
    assert!(handle.wait_ready(PATIENCE));
    assert_eq!(propose(&handle, vec![1]), Err(ProposeError::Stopped));
    assert!(heard.recv_timeout(PATIENCE).expect("the hook is called").contains("raft-apply"));
    handle.shutdown();
}

#[test]
fn an_older_program_stops_before_an_entry_that_it_does_not_understand() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    let newer = || run(config(&dir(), PEER), Arc::new(disk.clone())).expect("started").0;
    let handle = newer();
    let entries = [entry(0), entry(1), b"!new".to_vec(), entry(2)];
    for (number, data) in entries.iter().enumerate() {
        assert_eq!(propose(&handle, data.clone()), Ok(number + 1));
    }
    handle.shutdown();

    let (said, heard) = mpsc::channel();
    let said = Mutex::new(said);
    let config = Config {
        on_fatal: Arc::new(move |fatal| {
            let said = said.lock().expect("no panic");
            said.send(fatal.to_string()).expect("waited for");
        }),
        ..config(&dir(), PEER)
    };
    let published = Published::default();
    let older =
        Ledger { stranger: Some(b'!'), published: Some(published.clone()), ..Ledger::default() };
    let handle = start(config, Arc::new(disk.clone()), older).expect("started");
    assert!(!handle.wait_ready(PATIENCE), "it never has all of the log");
    let why = heard.recv_timeout(PATIENCE).expect("the hook is called");
    assert!(why.contains("stopped before entry"), "{why}");
    assert!(why.contains("it needs version 2. Nothing is lost"), "{why}");
    assert_eq!(*published.lock().expect("no panic"), entries[..2], "all before it is applied");
    assert_eq!(propose(&handle, entry(9)), Err(ProposeError::Stopped));
    handle.shutdown();

    let handle = newer();
    assert!(handle.wait_ready(PATIENCE));
    assert_eq!(propose(&handle, entry(3)), Ok(entries.len() + 1), "and whoever can goes on");
    handle.shutdown();
}

#[test]
fn impossible_settings_are_refused_by_name() {
    let disk = SimDisk::new();
    found(&disk).expect("founded");
    type Change = fn(&mut Config);
    let cases: [(&str, Change); 4] = [
        ("segment_bytes", |config| config.segment_bytes = 1000),
        ("max_entry_bytes", |config| config.max_entry_bytes = 1 << 20),
        ("peer", |config| config.peer = runyard_consensus::PeerId(0)),
        ("max_proposals", |config| config.max_proposals = 0),
    ];
    for (field, change) in cases {
        let mut config = Config { group: GROUP, ..config(&dir(), PEER) };
        change(&mut config);
        let error = run(config, Arc::new(disk.clone())).expect_err("impossible");
        assert!(error.to_string().contains(field), "{error}");
    }
}
