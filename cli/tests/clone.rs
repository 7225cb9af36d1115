//! F29: an agent's directory is copied while a worker runs, and a second agent is started on the copy.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runyard_harness::{Cluster, wait_for, write_files};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
/// Lines that the stage writes, one in 100 ms: longer than the two agents need to be found out.
const LINES: usize = 200;
const PIPELINE: &str = r#"version: 1
name: long
stages:
  count:
    run: |
      i=0
      while [ $i -lt 200 ]; do i=$((i+1)); echo "line $i"; sleep 0.1; done
"#;

/// A process that ends with the test.
struct Copy(Child);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An agent of the name `node-1`.
fn agent(dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["agent", "--node", "node-1", "--simulate-gpus", "2", "--dir"]).arg(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[test]
fn f29_a_copied_agent_is_found_out_and_the_worker_of_the_original_runs_on() {
    let cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = cluster.folder("repository");
    write_files(&folder, &[("runyard.yaml", PIPELINE)]);
    let run = cluster.cli(&folder, &["run", "-d"]).exits(0).stdout.trim().to_owned();
    wait_for("the stage to run", Duration::from_secs(30), || {
        let now = cluster.run(&run)?;
        let task = &now["stages"][0]["tasks"][0];
        if task["state"] == "running" { Ok(()) } else { Err(now.to_string()) }
    });

    // The whole directory, on the same host: refused before it does any harm.
    let (original, copied) = (cluster.agent_dir("node-1"), cluster.root().join("copied"));
    let done =
        Command::new("cp").arg("-a").args([&original, &copied]).status().expect("cp is there");
    assert!(done.success(), "{done}");
    let refused = agent(&copied).stderr(Stdio::piped()).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is a copy of"), "{said}");

    // Its identity alone, as on another host, where nothing of the original's workers is.
    let elsewhere = cluster.folder("elsewhere");
    for file in ["identity.pem", "agent.json", "position"] {
        fs_err::copy(original.join(file), elsewhere.join(file)).expect("copied");
    }
    let copy = Copy(agent(&elsewhere).stderr(Stdio::null()).spawn().expect("the binary starts"));

    let node = wait_for("the node to be cordoned", Duration::from_secs(60), || {
        let said = cluster.cli(cluster.root(), &["nodes", "get", "node-1", "-o", "json"]).exits(0);
        let node = said.json();
        if node["eligibility"] == "cordoned" { Ok(node) } else { Err(node.to_string()) }
    });
    let text = node.to_string();
    assert!(text.contains("two agents answer as this node"), "{text}");
    let events = cluster.cli(cluster.root(), &["events", "node-1"]).exits(0).stdout;
    let named = events.lines().find(|line| line.contains("two agents answer")).expect("an event");
    assert_eq!(named.matches("process ").count(), 2, "both are named: {named}");
    let now = cluster.run(&run).expect("it is known");
    assert_eq!(now["state"], "running", "nothing was stopped: {now}");
    drop(copy);

    let over = cluster.wait_over(&run, Duration::from_secs(90));
    assert_eq!(over["state"], "succeeded", "{over}");
    let task = &over["stages"][0]["tasks"][0];
    assert_eq!(
        task["attempts"].as_array().map_or(0, Vec::len),
        1,
        "it was not tried again: {task}"
    );
    let log = cluster.cli(cluster.root(), &["logs", &run, "--no-follow"]).exits(0).stdout;
    let wanted: Vec<String> = (1..=LINES).map(|n| format!("line {n}")).collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), wanted, "the log is whole");
}
