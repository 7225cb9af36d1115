//! Folders that are used again: nothing of one worker is there for the next.

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::{Yard, ended, kill9, records, text, until};
use runyard_runtime::{LaunchError, Spares, State, WorkerDir, WorkerError, WorkerSpec};

fn inode(worker: &WorkerDir) -> u64 {
    worker.path().metadata().expect("there").ino()
}

fn run(yard: &Yard, spares: &Spares, spec: &WorkerSpec) -> WorkerDir {
    let worker = spares.create(spec).expect("a worker");
    assert_eq!(worker.state().expect("a state"), State::Prepared);
    yard.launcher.launch(worker.path(), &[]).expect("launched");
    worker
}

fn hidden(root: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(root).expect("listed").map(|e| e.expect("an entry").path());
    all.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'))).collect()
}

#[test]
fn the_next_worker_in_a_folder_sees_nothing_of_the_one_before() {
    let yard = Yard::new();
    let spares = Spares::open(yard.path()).expect("opened");
    let mut first = yard.script("echo first; exit 3");
    first.env.push(("LONG".into(), "x".repeat(5000).into()));
    let worker = run(&yard, &spares, &first);
    assert_eq!(ended(&worker).code, Some(3));
    let folder = inode(&worker);
    spares.take_back(&worker).expect("taken back");
    assert!(!worker.path().exists());
    assert!(WorkerDir::scan(yard.path()).expect("scanned").is_empty(), "a spare is no worker");
    let found = std::process::Command::new("grep")
        .args(["-rlE", "xxxxx|first"])
        .args(hidden(yard.path()))
        .output()
        .expect("grep runs");
    assert_eq!(found.status.code(), Some(1), "it stays on the disk: {found:?}");

    let second = yard.script("exit 0");
    let worker = spares.create(&second).expect("a worker");
    assert_eq!(inode(&worker), folder, "the folder was not used again");
    assert_eq!(worker.state().expect("a state"), State::Prepared);
    assert_eq!(worker.spec().expect("read"), second);
    assert!(worker.status().expect("read").is_none());
    assert_eq!(
        (worker.shim_pid().expect("read"), worker.started_ms().expect("read")),
        (None, None)
    );
    assert!(worker.output().poll_new(1 << 20).expect("read").is_empty(), "the log of the first");
    yard.launcher.launch(worker.path(), &[]).expect("launched");
    let status = ended(&worker);
    assert_eq!((status.code, status.log_end), (Some(0), 0));
    assert_eq!(records(&worker).len(), 1, "only the end");
    assert!(worker.started_ms().expect("read").is_some());
    // And so on.
    spares.take_back(&worker).expect("taken back");
    let worker = run(&yard, &spares, &yard.script("echo third"));
    assert_eq!(inode(&worker), folder);
    ended(&worker);
    assert_eq!(text(&worker), "third\n");
}

#[test]
fn a_folder_that_holds_anything_else_is_not_used_again() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 7] = [
        ("a file beside", |p| std::fs::write(p.join("x"), "").expect("written")),
        ("a file in the spool", |p| std::fs::write(p.join("spool/cut"), "").expect("written")),
        ("a socket that was left", |p| std::fs::write(p.join("sock"), "").expect("written")),
        ("a second name", |p| {
            let out = p.with_file_name(".name");
            std::fs::hard_link(p.join("spec"), out).expect("linked");
        }),
        ("a link", |p| {
            let out = p.with_file_name(".moved");
            std::fs::rename(p.join("spec"), &out).expect("moved");
            std::os::unix::fs::symlink(&out, p.join("spec")).expect("linked");
        }),
        ("a mode", |p| {
            use std::os::unix::fs::PermissionsExt;
            let open = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(p.join("lock"), open).expect("set");
        }),
        ("a large log", |p| {
            let log = p.join("spool/00000000000000000000.seg");
            let file = std::fs::OpenOptions::new().write(true).open(log).expect("opened");
            file.set_len(1 << 20).expect("grown");
        }),
    ];
    for (what, harm) in harms {
        let yard = Yard::new();
        let spares = Spares::open(yard.path()).expect("opened");
        let worker = run(&yard, &spares, &yard.script("exit 0"));
        ended(&worker);
        let folder = inode(&worker);
        harm(worker.path());
        spares.take_back(&worker).expect("taken back");
        assert!(!worker.path().exists(), "{what}");
        let spare = hidden(yard.path()).into_iter().find(|p| p.to_string_lossy().contains("spare"));
        assert_eq!(spare, None, "{what}: kept");
        // Inode numbers come back; what counts is that it is made anew and works.
        let next = run(&yard, &spares, &yard.script("exit 5"));
        assert_eq!(ended(&next).code, Some(5), "{what} {folder}");
    }
}

#[test]
fn f25_the_folder_of_a_lost_shim_and_one_that_never_began_are_not_used_again() {
    let yard = Yard::new();
    let spares = Spares::open(yard.path()).expect("opened");
    let worker = run(&yard, &spares, &yard.script("sleep 100"));
    assert!(matches!(spares.take_back(&worker), Err(WorkerError::Alive { .. })), "it runs");
    kill9(worker.shim_pid().expect("readable").expect("a shim"));
    until("the lock to fall", || !worker.is_alive().expect("looked"));
    assert!(worker.clean_up(common::LONG).expect("cleaned").is_empty());
    spares.take_back(&worker).expect("removed");
    let unstarted = spares.create(&yard.script("true")).expect("a worker");
    spares.take_back(&unstarted).expect("removed");
    assert_eq!(hidden(yard.path()), Vec::<PathBuf>::new());
}

#[test]
fn f24_what_a_crash_left_of_spares_is_cleared_at_the_start() {
    let yard = Yard::new();
    let spares = Spares::open(yard.path()).expect("opened");
    let worker = run(&yard, &spares, &yard.script("exit 0"));
    ended(&worker);
    spares.take_back(&worker).expect("taken back");
    assert_eq!(hidden(yard.path()).len(), 1);
    // Half emptied, half made, half removed; and a worker that runs on.
    for name in [".spare-7", ".w.new", ".w.old"] {
        std::fs::create_dir_all(yard.path().join(name).join("spool")).expect("made");
    }
    let running = run(&yard, &spares, &yard.script("sleep 0.3; exit 4"));
    drop(spares);
    Spares::open(yard.path()).expect("opened again");
    assert_eq!(hidden(yard.path()), Vec::<PathBuf>::new());
    assert_eq!(ended(&running).code, Some(4));
}

#[test]
fn a_second_shim_that_waits_for_the_lock_does_not_take_the_next_worker() {
    let yard = Yard::new();
    let spares = Spares::open(yard.path()).expect("opened");
    let worker = run(&yard, &spares, &yard.script("sleep 0.2"));
    // Started by mistake: it waits up to half a second for the lock.
    let late = std::thread::spawn({
        let (path, binary) = (worker.path().to_path_buf(), env!("CARGO_BIN_EXE_runyard-shim-test"));
        move || {
            let launcher = runyard_runtime::Launcher::new(Path::new(binary)).expect("a launcher");
            launcher.launch(&path, &[])
        }
    });
    let folder = inode(&worker);
    while worker.state().expect("a state") != State::Released {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    spares.take_back(&worker).expect("taken back");
    let next = yard.script("exit 9");
    let next = spares.create(&next).expect("a worker");
    let same = inode(&next) == folder;
    let refused = late.join().expect("no panic").expect_err("it was started twice");
    assert!(matches!(refused, LaunchError::Refused { .. }), "{refused}");
    yard.launcher.launch(next.path(), &[]).expect("the folder is free for its own shim");
    assert_eq!(ended(&next).code, Some(9), "the same folder: {same}");
}
