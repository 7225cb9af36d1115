//! The thinnest true path: two stages, their logs, an artifact, and kill -9 of everything in between.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runyard_harness::{COORDINATOR, Cluster, Dice, wait_for, write_files};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const OVER: Duration = Duration::from_secs(90);
/// Lines that the slow stage writes, one in 40 ms.
const LINES: usize = 75;

const PIPELINE: &str = r#"version: 1
name: thin
stages:
  make:
    run: |
      mkdir out
      i=0
      while [ $i -lt 75 ]; do i=$((i+1)); echo "line $i of 75"; sleep 0.04; done
      echo made > out/word
    outputs: { made: out }
  use:
    run: cat "$RUNYARD_INPUT_MADE/word" && mkdir out && tr a-z A-Z < "$RUNYARD_INPUT_MADE/word" > out/loud
    inputs: { made: make.made }
    outputs: { used: out }
"#;

fn repository(cluster: &Cluster) -> PathBuf {
    let folder = cluster.folder("repository");
    write_files(&folder, &[("runyard.yaml", PIPELINE)]);
    folder
}

/// Submits, and returns the run's name.
fn submit(cluster: &Cluster, folder: &Path) -> String {
    let said = cluster.cli(folder, &["run", "-d"]).exits(0);
    said.stdout.trim().to_owned()
}

/// The stored log of a stage.
fn log(cluster: &Cluster, target: &str) -> String {
    cluster.cli(cluster.root(), &["logs", target, "--no-follow"]).exits(0).stdout
}

fn assert_whole(text: &str) {
    let wanted: Vec<String> = (1..=LINES).map(|n| format!("line {n} of {LINES}")).collect();
    let seen: Vec<&str> = text.lines().collect();
    assert_eq!(seen, wanted, "the log is not whole");
}

/// Waits until the slow stage has written a line.
fn wait_running(cluster: &Cluster, run: &str) {
    wait_for("the first stage to run", Duration::from_secs(30), || {
        let now = cluster.run(run)?;
        let state = now["stages"][0]["tasks"][0]["state"].as_str().unwrap_or_default().to_owned();
        if state == "running" { Ok(()) } else { Err(now.to_string()) }
    });
}

/// Fetches the last stage's output, and looks into it.
fn assert_artifact(cluster: &Cluster, run: &str) {
    let place = cluster.folder("fetched");
    cluster.cli(&place, &["artifacts", "get", &format!("{run}/use"), "used"]).exits(0);
    let mut open = vec![place.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs_err::read_dir(&folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else if entry.file_name() == "loud" {
                assert_eq!(fs_err::read_to_string(entry.path()).expect("text"), "MADE\n");
                return;
            }
        }
    }
    panic!("`loud` is not among what was fetched into {}", place.display());
}

#[test]
fn two_stages_run_and_their_logs_and_artifacts_are_there() {
    let cluster = Cluster::builder(BINARY).start();
    let folder = repository(&cluster);
    let said = cluster.cli(&folder, &["run"]).exits(0);
    assert!(said.stdout.contains("line 75 of 75") && said.stdout.contains("made"), "{said}");
    let run = cluster.wait_over("thin-1", OVER);
    assert_eq!(run["state"], "succeeded");
    assert_whole(&log(&cluster, "thin-1/make"));
    assert_artifact(&cluster, "thin-1");
    // The same again is restored.
    cluster.cli(&folder, &["run", "--wait"]).exits(0);
    let run = cluster.wait_over("thin-2", OVER);
    for stage in run["stages"].as_array().expect("stages") {
        assert_eq!(stage["tasks"][0]["cached"], true, "{run}");
    }
}

#[test]
fn f24_f1_a_run_survives_kills_of_the_coordinator_and_of_its_agent() {
    let mut dice = Dice::new();
    let mut cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = repository(&cluster);
    let run = submit(&cluster, &folder);
    wait_running(&cluster, &run);
    for victim in [COORDINATOR, "node-1", COORDINATOR, "node-1"] {
        std::thread::sleep(Duration::from_millis(dice.between(50, 400)));
        cluster.kill(victim);
        std::thread::sleep(Duration::from_millis(dice.between(0, 300)));
        cluster.start(victim);
    }
    let over = cluster.wait_over(&run, OVER);
    assert_eq!(over["state"], "succeeded", "{over}");
    let attempts = over["stages"][0]["tasks"][0]["attempts"].as_array().map_or(0, Vec::len);
    assert_eq!(attempts, 1, "the stage ran on: {over}");
    assert_whole(&log(&cluster, &format!("{run}/make")));
    assert_artifact(&cluster, &run);
}

#[test]
fn f25_a_killed_shim_is_an_error_of_ours_and_tried_again() {
    let mut dice = Dice::new();
    let cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = repository(&cluster);
    let run = submit(&cluster, &folder);
    wait_running(&cluster, &run);
    std::thread::sleep(Duration::from_millis(dice.between(0, 1_000)));
    cluster.kill_shim("node-1").expect("a stage runs, so its shim does");
    let over = cluster.wait_over(&run, OVER);
    let task = &over["stages"][0]["tasks"][0];
    let first = &task["attempts"][0];
    assert_eq!(first["outcome"], "error", "{over}");
    assert!(first["reason"].as_str().is_some_and(|why| why.contains("shim")), "{over}");
    assert_eq!(over["state"], "succeeded", "errors are tried again: {over}");
    assert_whole(&log(&cluster, &format!("{run}/make")));
    wait_for("no process to be left", Duration::from_secs(10), || match cluster.shims("node-1") {
        0 => Ok(()),
        n => Err(format!("{n} shims live")),
    });
}

#[test]
fn the_cluster_goes_on_after_all_of_it_was_killed_at_once() {
    let mut dice = Dice::new();
    let mut cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = repository(&cluster);
    let run = submit(&cluster, &folder);
    std::thread::sleep(Duration::from_millis(dice.between(0, 1_500)));
    cluster.kill("node-1");
    cluster.kill(COORDINATOR);
    cluster.start(COORDINATOR);
    cluster.start("node-1");
    let over = cluster.wait_over(&run, OVER);
    assert_eq!(over["state"], "succeeded", "{over}");
    assert_whole(&log(&cluster, &format!("{run}/make")));
}

#[test]
fn whoever_does_not_follow_a_log_reads_to_the_present_and_no_further() {
    let cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = cluster.folder("busy");
    // It never pauses for as long as a reader might wait between two looks.
    let busy = "version: 1\nname: busy\nstages:\n  a: { run: \"while true; do date; sleep 0.02; done\" }\n";
    write_files(&folder, &[("runyard.yaml", busy)]);
    let run = submit(&cluster, &folder);
    wait_running(&cluster, &run);
    wait_for("its first lines", Duration::from_secs(30), || {
        match log(&cluster, &run).lines().count() {
            0..3 => Err("too few".to_owned()),
            _ => Ok(()),
        }
    });
    let now = cluster.run(&run).expect("it is there");
    assert_eq!(now["state"], "running", "the reader came back before the stage ended: {now}");
    cluster.cli(&folder, &["cancel", &run]).exits(0);
}

#[test]
fn whoever_follows_a_run_reads_on_after_the_coordinator_was_killed() {
    let mut dice = Dice::new();
    let mut cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = repository(&cluster);
    let follower = cluster.cli_begun(&folder, &["run"]);
    wait_for("the run to be there", Duration::from_secs(20), || cluster.run("thin-1"));
    wait_running(&cluster, "thin-1");
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(dice.between(50, 500)));
        cluster.kill(COORDINATOR);
        std::thread::sleep(Duration::from_millis(dice.between(0, 500)));
        cluster.start(COORDINATOR);
    }
    let output = follower.wait_with_output().expect("it ends");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("make │ ")).collect();
    assert_whole(&lines.join("\n"));
}
