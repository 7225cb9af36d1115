//! Faults of whole machines through the whole product: full disks, a reboot, damaged files, an agent
//! that keeps dying under twenty workers. What becomes of each run is told truthfully.

#[path = "faults/agent_dies.rs"]
mod agent_dies;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/full_disks.rs"]
mod full_disks;
#[path = "faults/reboot.rs"]
mod reboot;

use std::path::{Path, PathBuf};
use std::time::Duration;

use runyard_harness::{Cluster, wait_for, write_files};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const OVER: Duration = Duration::from_secs(120);

/// A folder with this pipeline file.
fn repository(cluster: &Cluster, name: &str, pipeline: &str) -> PathBuf {
    let folder = cluster.folder(name);
    write_files(&folder, &[("runyard.yaml", pipeline)]);
    folder
}

/// Submits, and returns the run's name.
#[track_caller]
fn submit(cluster: &Cluster, folder: &Path) -> String {
    cluster.cli(folder, &["run", "-d"]).exits(0).stdout.trim().to_owned()
}

fn tasks<'a>(run: &'a Value, stage: &str) -> &'a [Value] {
    let mut stages = run["stages"].as_array().into_iter().flatten();
    let found = stages.find(|one| one["name"] == stage);
    found.and_then(|stage| stage["tasks"].as_array()).map_or(&[], Vec::as_slice)
}

/// Waits until so many tasks of a stage run.
#[track_caller]
fn wait_running(cluster: &Cluster, run: &str, stage: &str, count: usize) {
    wait_for(&format!("{count} tasks of {run}/{stage} to run"), OVER, || {
        let now = cluster.run(run)?;
        let running = tasks(&now, stage).iter().filter(|task| task["state"] == "running").count();
        if running == count { Ok(()) } else { Err(now.to_string()) }
    });
}

/// The stored log of a task.
#[track_caller]
fn log(cluster: &Cluster, target: &str) -> String {
    cluster.cli(cluster.root(), &["logs", target, "--no-follow"]).exits(0).stdout
}
