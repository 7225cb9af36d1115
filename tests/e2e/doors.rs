//! What is refused at the start, with the thing named and the remedy; and who is let in.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use runyard_harness::{COORDINATOR, Cluster, skipped, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");

fn runyard(args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["20", BINARY]).args(args).stdin(Stdio::null());
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RUNYARD_"))
    {
        command.env_remove(name);
    }
    command.output().expect("the binary starts")
}

#[track_caller]
fn refused(output: &Output, code: i32, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in parts.iter().chain(&["help:"]) {
        assert!(said.contains(part), "`{part}` is missing in {said}");
    }
}

fn initialised() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("server").display().to_string();
    let output = runyard(&["server", "init", "--dir", &path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (dir, path)
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (_dir, path) = initialised();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("has one").to_string();
    let output = runyard(&["server", "--dir", &path, "--listen", &address]);
    refused(&output, 6, &[&address, "taken by another process", "--listen"]);
}

#[test]
fn a_second_server_on_a_directory_is_refused() {
    let mut cluster = Cluster::builder(BINARY).agents(0).start();
    let dir = cluster.coordinator_dir().display().to_string();
    let pid = cluster.pid(COORDINATOR).expect("it runs").to_string();
    let output = runyard(&["server", "--dir", &dir, "--listen", "127.0.0.1:0"]);
    refused(&output, 6, &[&dir, "in use by process", &pid]);
    let output = runyard(&["server", "init", "--dir", &dir]);
    refused(&output, 6, &[&dir, "has a group already"]);
}

#[test]
fn a_second_agent_on_a_directory_is_refused() {
    let cluster = Cluster::builder(BINARY).agents(1).start();
    let dir = cluster.root().join("cluster/agents/node-1").display().to_string();
    refused(
        &runyard(&["agent", "--dir", &dir, "--node", "node-1"]),
        6,
        &["another agent uses", &dir],
    );
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    // Nobody, not even root, makes a folder below a file.
    let file = tempfile::NamedTempFile::new().expect("a file");
    let below = file.path().join("server").display().to_string();
    refused(&runyard(&["server", "init", "--dir", &below]), 1, &[&below, "--dir"]);
    refused(&runyard(&["agent", "--dir", &below, "--node", "n"]), 1, &[&below, "--dir"]);
    refused(&runyard(&["dev", "--dir", &below]), 1, &[&below, "--dir"]);
}

#[test]
fn a_server_without_a_group_and_an_agent_without_a_token_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("none").display().to_string();
    refused(
        &runyard(&["server", "--dir", &path, "--listen", "127.0.0.1:0"]),
        5,
        &["runyard server init"],
    );
    refused(&runyard(&["agent", "--dir", &path, "--node", "n"]), 4, &["runyard token create"]);
}

#[test]
fn a_second_dev_on_a_directory_is_refused() {
    let cluster = Cluster::builder(BINARY).agents(0).start();
    let dir = cluster.root().join("cluster").display().to_string();
    refused(&runyard(&["dev", "--dir", &dir]), 6, &[&dir, "another `runyard dev`"]);
}

#[test]
fn a18_a_join_token_is_good_once() {
    let cluster = Cluster::builder(BINARY).agents(0).start();
    let said =
        cluster.cli(cluster.root(), &["token", "create", "agent", "late", "-o", "json"]).exits(0);
    let token = said.json()["token"].as_str().expect("a token").to_owned();
    let join = format!("{token}@{}", cluster.address());
    let start = |name: &str| {
        let dir = cluster.folder(name);
        Command::new(BINARY)
            .args(["agent", "--node", name, "--simulate-gpus", "1", "--join", &join, "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    };
    let mut first = start("late");
    cluster.wait_nodes("ready", 1);
    let second = start("later").wait_with_output().expect("it ends");
    let outcome = String::from_utf8_lossy(&second.stderr).into_owned();
    let pid = nix::unistd::Pid::from_raw(first.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it lives");
    let ended = first.wait().expect("it ends");
    assert!(ended.success(), "an orderly end is a success: {ended}");
    refused(&second, 4, &["did not let this agent in"]);
    assert!(!outcome.contains(&token), "the token is shown: {outcome}");
}

/// A network namespace joined to the host's by a pair of virtual interfaces.
struct Namespace {
    name: String,
}

impl Namespace {
    const HOST: &str = "10.213.77.1";

    fn make() -> Result<Self, String> {
        let name = format!("ry{}", std::process::id());
        let made = Self { name };
        let (n, host, inner) = (&made.name, format!("{}h", made.name), format!("{}n", made.name));
        for line in [
            format!("netns add {n}"),
            format!("link add {host} type veth peer name {inner}"),
            format!("link set {inner} netns {n}"),
            format!("addr add {}/30 dev {host}", Self::HOST),
            format!("link set {host} up"),
            format!("-n {n} addr add 10.213.77.2/30 dev {inner}"),
            format!("-n {n} link set {inner} up"),
            format!("-n {n} link set lo up"),
        ] {
            let done = Command::new("ip")
                .args(line.split(' '))
                .output()
                .map_err(|e| format!("ip: {e}"))?;
            if !done.status.success() {
                return Err(format!("ip {line}: {}", String::from_utf8_lossy(&done.stderr).trim()));
            }
        }
        Ok(made)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for line in [format!("link del {}h", self.name), format!("netns del {}", self.name)] {
            let _ = Command::new("ip").args(line.split(' ')).stderr(Stdio::null()).status();
        }
    }
}

#[test]
fn an_agent_joins_from_another_network_namespace() {
    const TEST: &str = "an_agent_joins_from_another_network_namespace";
    let space = match Namespace::make() {
        Ok(space) => space,
        Err(lacks) => return skipped(TEST, &lacks),
    };
    let (dir, path) = initialised();
    let mut server = Command::new(BINARY)
        .args(["server", "--dir", &path, "--host", Namespace::HOST, "--listen"])
        .arg(format!("{}:0", Namespace::HOST))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let announced = dir.path().join("server/address.json");
    let address = wait_for("the coordinator", Duration::from_secs(20), || {
        let text = std::fs::read_to_string(&announced).map_err(|error| error.to_string())?;
        let said: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        said["address"].as_str().map(str::to_owned).ok_or(text)
    });
    let group = std::fs::read_to_string(dir.path().join("server/group.json")).expect("is there");
    let group: serde_json::Value = serde_json::from_str(&group).expect("json");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, group["ca_pem"].as_str().expect("a CA")).expect("written");
    let token = std::fs::read_to_string(dir.path().join("server/admin.token")).expect("is there");
    let cli = |args: &[&str]| {
        let output = Command::new(BINARY)
            .args(args)
            .env("RUNYARD_ADDRESS", &address)
            .env("RUNYARD_CA", &ca)
            .env("RUNYARD_TOKEN", token.trim())
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
        value
    };
    let created = cli(&["token", "create", "agent", "far", "-o", "json"]);
    let join = format!("{}@{address}", created["token"].as_str().expect("a token"));
    let mut agent = Command::new("ip")
        .args([
            "netns",
            "exec",
            &space.name,
            BINARY,
            "agent",
            "--node",
            "far",
            "--simulate-gpus",
            "1",
        ])
        .args(["--join", &join, "--dir"])
        .arg(dir.path().join("agent"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ip starts");
    let node = wait_for("the far node", Duration::from_secs(30), || {
        let nodes = cli(&["nodes", "ls", "-o", "json"]);
        let node = nodes["items"][0].clone();
        if node["liveness"] == "ready" { Ok(node) } else { Err(nodes.to_string()) }
    });
    for child in [&mut agent, &mut server] {
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = child.wait();
    }
    assert_eq!(node["address"], "10.213.77.2", "found from its way to the coordinator: {node}");
}
