//! Mounts of the host that a stage can read and not write, where namespaces can be had.

mod common;

use std::path::{Path, PathBuf};

use common::{LONG, Yard, await_output, ended, kill9, skipped, text, until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use runyard_runtime::workspace::{Bounds, Workspace};
use runyard_runtime::{Isolate, Isolation, State, WorkerSpec};

/// A folder of the host and a workspace with a link to it, as an agent prepares them.
struct Host {
    space: Workspace,
    data: PathBuf,
    file: PathBuf,
}

impl Host {
    fn new(yard: &Yard, name: &str) -> Self {
        let root = yard.path().canonicalize().expect("real").join(name);
        let (data, file) = (root.join("nas/data"), root.join("nas/one.csv"));
        std::fs::create_dir_all(data.join("sub")).expect("made");
        std::fs::write(data.join("x"), "host\n").expect("written");
        std::fs::write(&file, "1,2\n").expect("written");
        let space = Workspace::create(&root.join("space")).expect("made");
        std::os::unix::fs::symlink(&data, space.work().join("data")).expect("linked");
        Self { space, data, file }
    }

    fn spec(&self, yard: &Yard, isolate: Isolate, script: &str) -> WorkerSpec {
        let place = self.space.work().join("data");
        WorkerSpec {
            cwd: self.space.work(),
            isolation: isolate,
            // As an agent does: the link's target stays visible.
            keep: vec![self.data.clone()],
            read_only: vec![(self.data.clone(), place)],
            ..yard.script(script)
        }
    }

    fn is_intact(&self) {
        assert_eq!(std::fs::read(self.data.join("x")).expect("it is there"), b"host\n");
        assert_eq!(std::fs::read(&self.file).expect("it is there"), b"1,2\n");
        let mut names: Vec<_> = std::fs::read_dir(&self.data)
            .expect("listed")
            .map(|one| one.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["sub", "x"]);
    }
}

fn has(words: &str) -> bool {
    words.split(' ').any(|word| word == "read-only-mounts")
}

/// Every way to change what is there, each of which must answer EROFS.
const CHANGES: &str = r#"
import errno, os, sys
d = sys.argv[1]
ways = [
    lambda: open(d + "/x", "w"), lambda: open(d + "/x", "a"), lambda: open(d + "/new", "w"),
    lambda: os.unlink(d + "/x"), lambda: os.rename(d + "/x", d + "/y"), lambda: os.mkdir(d + "/m"),
    lambda: os.rmdir(d + "/sub"), lambda: os.chmod(d + "/x", 0o600), lambda: os.utime(d + "/x", (1, 1)),
    lambda: os.symlink("a", d + "/l"), lambda: os.truncate(d + "/x", 0),
]
for n, way in enumerate(ways):
    try:
        way()
        print(n, "done")
    except OSError as e:
        if e.errno != errno.EROFS:
            print(n, e)
print("tried", len(ways))
"#;

#[test]
fn a_stage_reads_a_mount_and_changes_nothing_in_it() {
    let yard = Yard::new();
    std::fs::write(yard.path().join("changes.py"), CHANGES).expect("written");
    for (n, (isolate, private)) in [
        (Isolate::Auto, false),
        (Isolate::Auto, true),
        (Isolate::User, false),
        (Isolate::User, true),
    ]
    .into_iter()
    .enumerate()
    {
        let host = Host::new(&yard, &n.to_string());
        let changes = yard.path().join("changes.py");
        let script = format!(
            "exec 2>&1; cat data/x one.csv {}; python3 {c} data; echo z >one.csv || echo no; echo out >own; cat own",
            host.file.display(),
            c = changes.display()
        );
        let mut spec = host.spec(&yard, isolate, &script);
        // What is mounted elsewhere need not stay visible where it lies: it is opened before.
        spec.keep = vec![changes, host.file.clone()];
        // A file, at a place where nothing is yet, and where it lies on the host.
        let own = host.space.work().join("one.csv");
        spec.read_only.extend([(host.file.clone(), own), (host.file.clone(), host.file.clone())]);
        spec.tmp = private.then(|| host.space.tmp());
        spec.private_shm = private;
        let (worker, status) = yard.run(&spec);
        if !status.isolation.contains("mount-namespace") {
            skipped(&format!("read-only mounts at {isolate:?}: {}", status.isolation));
            continue;
        }
        assert!(has(&status.isolation), "{}", status.isolation);
        let seen = text(&worker);
        let lines: Vec<&str> = seen.lines().filter(|line| !line.contains("Read-only")).collect();
        let expected = ["host", "1,2", "1,2", "tried 11", "no", "out"];
        assert_eq!(lines, expected, "{isolate:?} {private} {seen}");
        host.is_intact();
        // Seen from outside there is an empty folder: nothing of the mount is taken or removed.
        let mut files = Vec::new();
        host.space
            .collect("all", ".", &Bounds::default(), |entry| {
                files.push(format!("{entry:?}").split('"').nth(1).unwrap_or_default().to_owned());
                Ok(())
            })
            .expect("collected");
        assert_eq!(files, ["data", "one.csv", "own"]);
        host.space.remove().expect("removed");
        host.is_intact();
    }
}

/// A file system mounted on the host as long as this lives.
struct Disk(PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn what_is_mounted_below_a_mount_is_read_only_too() {
    if !nix::unistd::Uid::effective().is_root() {
        return skipped("a mount below a mount: only root can mount a tmpfs");
    }
    let yard = Yard::new();
    for (name, isolate) in [("root", Isolate::Auto), ("user", Isolate::User)] {
        let host = Host::new(&yard, name);
        let below = host.data.join("sub");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        if let Err(e) = mount(Some("x"), &below, Some("tmpfs"), flags, Some("size=1m")) {
            return skipped(&format!("a mount below a mount: no tmpfs here: {e}"));
        }
        let _disk = Disk(below.clone());
        std::fs::write(below.join("deep"), "deep\n").expect("written");
        let mut spec = host.spec(
            &yard,
            isolate,
            "exec 2>&1; cat data/sub/deep; touch data/sub/new || echo no; grep ' [^ ]*/work/data/sub ' /proc/self/mountinfo",
        );
        spec.tmp = Some(host.space.tmp());
        let (worker, status) = yard.run(&spec);
        if !status.isolation.contains("mount-namespace") {
            skipped(&format!("a mount below a mount at {isolate:?}: {}", status.isolation));
            continue;
        }
        assert!(has(&status.isolation), "{}", status.isolation);
        let seen = text(&worker);
        assert!(seen.starts_with("deep\n") && seen.contains("Read-only file system"), "{seen}");
        assert!(seen.contains(" ro,nosuid,nodev,noexec"), "{seen}");
        assert!(std::fs::write(below.join("hosts"), "x").is_ok(), "the host's own is writable");
        assert!(!below.join("new").exists());
        host.space.remove().expect("removed");
        assert_eq!(std::fs::read(below.join("deep")).expect("there"), b"deep\n");
    }
}

#[test]
fn f25_a_shim_killed_with_a_mount_leaves_the_hosts_files_when_its_space_is_removed() {
    let yard = Yard::new();
    for (name, isolate) in [("auto", Isolate::Auto), ("none", Isolate::None)] {
        let host = Host::new(&yard, name);
        let worker = yard.start(&host.spec(&yard, isolate, "cat data/x; sleep 300"));
        await_output(&worker, "host\n");
        // Also while the stage runs and its mount is there, removal goes around it.
        if isolate == Isolate::Auto {
            host.space.remove().expect("removed");
            host.is_intact();
        }
        kill9(worker.shim_pid().expect("readable").expect("a shim"));
        until("the lock to fall", || !worker.is_alive().expect("looked"));
        assert_eq!(worker.state().expect("a state"), State::Lost { rebooted: false });
        let left = worker.clean_up(LONG).expect("cleaned");
        assert!(left.is_empty(), "leaked {left:?}");
        worker.remove().expect("removed");
        host.space.remove().expect("removed");
        host.is_intact();
        assert!(!is_mounted(&host.space.work()), "a mount is left on the host");
    }
}

fn is_mounted(below: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
    table.contains(&*below.to_string_lossy())
}

#[test]
fn without_namespaces_the_link_stays_and_nothing_is_promised() {
    let yard = Yard::new();
    let host = Host::new(&yard, "host");
    let worker = yard.start(&host.spec(&yard, Isolate::None, "cat data/x"));
    let status = ended(&worker);
    assert!(!status.isolation.contains("read-only-mounts"), "{}", status.isolation);
    assert_eq!(text(&worker), "host\n");
    let link = std::fs::read_link(host.space.work().join("data")).expect("the link");
    assert_eq!(link, host.data);
    host.space.remove().expect("removed");
    host.is_intact();
}

#[test]
fn the_probe_says_what_a_worker_with_a_mount_gets() {
    let yard = Yard::new();
    let host = Host::new(&yard, "host");
    let got = Isolation::probe(&yard.launcher, yard.path()).expect("probed");
    let (_, status) = yard.run(&host.spec(&yard, Isolate::Auto, "true"));
    assert_eq!(got.read_only_mounts, has(&status.isolation), "{}", status.isolation);
    let said = got.missing.iter().any(|one| one.starts_with("read-only mounts: "));
    assert_eq!(said, !got.read_only_mounts, "{:?}", got.missing);
}
