//! The demo is a test: it holds itself to its own story and exits 0 only if every step ended as told.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runyard_harness::{processes_of, skipped, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");

/// A demo with a cache that outlives the test, so that only the first ever builds the environment.
fn demo(dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RUNYARD_") {
            command.env_remove(name);
        }
    }
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    command
        .arg("demo")
        .arg("--dir")
        .arg(dir)
        .env("XDG_CACHE_HOME", own.join("cache"))
        .env("XDG_CONFIG_HOME", dir.join("config"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

fn folder(prefix: &str) -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a folder")
}

/// The ports of this host that the demo named.
fn ports(said: &str) -> Vec<u16> {
    let parts = said.split("127.0.0.1:").skip(1);
    let mut ports: Vec<u16> = parts
        .filter_map(|part| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[test]
fn the_demo_ends_as_it_is_described() {
    let dir = folder("demo-");
    let output = demo(dir.path()).output().expect("the binary starts");
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    let told = format!("{said}\n{errors}");
    if told.contains("cannot build the Python environment")
        || told.contains("the demo cannot start")
    {
        let why = told.lines().rfind(|line| line.contains("cannot")).unwrap_or_default();
        return skipped("the_demo_ends_as_it_is_described", why);
    }
    assert!(output.status.success(), "{told}");
    for part in [
        "kill -9",
        "lines of its log are there, in order",
        "version 2 replaced version 1",
        "smallest difference these examples could have shown",
        "rejected by the gate; nothing moved",
        "rolled back by itself",
        "moved from version 3 to 2 by rollback",
        "restored from the cache",
        "(simulated)",
        "status page",
    ] {
        assert!(said.contains(part), "`{part}` is missing in\n{told}");
    }
    assert_eq!(processes_of(dir.path()), Vec::<String>::new(), "left behind");
    let named = ports(&said);
    assert!(named.len() >= 2, "a coordinator and a gateway: {named:?}");
    for port in named {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} is still open");
    }
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).expect("is there").flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|name| name == "config"), "left behind: {left:?}");
}

#[test]
fn ctrl_c_leaves_no_process_behind() {
    let dir = folder("demo-");
    let mut child = demo(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    wait_for("the demo's agents", Duration::from_secs(60), || {
        let all = processes_of(dir.path());
        let agents = all.iter().filter(|text| text.contains(" agent --dir")).count();
        match (agents, child.try_wait()) {
            (2, _) => Ok(()),
            (_, Ok(Some(status))) => panic!("it ended: {status}"),
            _ => Err(format!("{all:?}")),
        }
    });
    let pid = nix_pid(&child);
    let begun = Instant::now();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it lives");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    assert_eq!(processes_of(dir.path()), Vec::<String>::new(), "left behind");
}

#[test]
fn what_is_missing_is_said_in_one_message_before_anything_starts() {
    let dir = folder("demo-");
    let output = demo(dir.path()).env("PATH", dir.path()).output().expect("the binary starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for part in ["the demo cannot start", "no `python3` and no `uv`", "install Python 3.9 or newer"]
    {
        assert!(errors.contains(part), "`{part}` is missing in {errors}");
    }
    assert!(output.stdout.is_empty(), "nothing was begun");
}

fn nix_pid(child: &std::process::Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(child.id().cast_signed())
}
