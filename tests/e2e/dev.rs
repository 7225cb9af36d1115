//! `dev`: adopts what a killed one left, restarts what dies, and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runyard_harness::{processes_of, wait_for, write_files};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");

struct Dev {
    child: Child,
    /// What it said until it was ready.
    said: String,
}

impl Drop for Dev {
    /// Of a test that failed, nothing stays behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT);
            let _ = self.child.wait();
        }
    }
}

/// Starts `dev` in a folder and waits until it is ready.
fn dev(folder: &Path) -> Dev {
    let mut child = bare(folder)
        .args(["dev", "--port", "0", "--gateway-port", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    let mut said = String::new();
    while !said.contains("Ctrl-C stops it all") {
        let read = lines.read_line(&mut said).expect("text");
        assert!(read > 0, "dev ended: {said}");
    }
    // What it says later must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Dev { child, said }
}

fn bare(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RUNYARD_"))
    {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .stdin(Stdio::null());
    command
}

fn pid_of(folder: &Path, name: &str) -> i32 {
    let path = folder.join(format!(".runyard/dev/pids/{name}.json"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value: serde_json::Value = serde_json::from_str(&text).expect("json");
    value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a number")
}

#[test]
fn dev_adopts_restarts_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().canonicalize().expect("is there");
    write_files(
        &folder,
        &[("runyard.yaml", "version: 1\nname: long\nstages:\n  a: { run: \"sleep 1000\" }\n")],
    );
    let mut first = dev(&folder);
    let before: Vec<i32> =
        ["coordinator", "node-1", "node-2"].iter().map(|n| pid_of(&folder, n)).collect();
    // The command line finds it without being told.
    let submitted = bare(&folder).args(["run", "-d"]).output().expect("the binary starts");
    assert!(submitted.status.success(), "{}", String::from_utf8_lossy(&submitted.stderr));
    wait_for("the stage to run", Duration::from_secs(20), || {
        let running = processes_of(&folder);
        let found = running.iter().any(|text| text.contains("sleep 1000"));
        if found { Ok(()) } else { Err(format!("{running:?}")) }
    });

    first.child.kill().expect("it lives");
    first.child.wait().expect("it ends");
    let mut second = dev(&folder);
    assert!(
        second.said.contains("adopted what was left running: coordinator, node-1, node-2"),
        "{}",
        second.said
    );
    let after: Vec<i32> =
        ["coordinator", "node-1", "node-2"].iter().map(|n| pid_of(&folder, n)).collect();
    assert_eq!(before, after);

    kill(Pid::from_raw(before[1]), Signal::SIGKILL).expect("it lives");
    wait_for("node-1 to be started again", Duration::from_secs(20), || {
        match pid_of(&folder, "node-1") {
            pid if pid != before[1] => Ok(()),
            pid => Err(format!("still {pid}")),
        }
    });

    kill(Pid::from_raw(second.child.id().cast_signed()), Signal::SIGINT).expect("it lives");
    let ended = second.child.wait().expect("it ends");
    assert!(ended.success(), "{ended}");
    assert_eq!(processes_of(&folder), Vec::<String>::new(), "left behind");
}
