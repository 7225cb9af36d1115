//! A reboot: every process of the host is gone at once, and the kernel has another boot id.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use runyard_harness::{Cluster, skipped, wait_for};

use crate::{BINARY, OVER, log, repository, submit, tasks, wait_running};

const PIPELINE: &str = r#"version: 1
name: long
stages:
  work:
    run: |
      echo "begun"
      if [ "$RUNYARD_ATTEMPT" = "long-1/work.1" ]; then sleep 1000; fi
      echo "done"
"#;

/// The binary, with another boot id once the file is there: its agents then see a mount over the
/// kernel's, which nobody else sees.
fn binary_with_boot(folder: &Path, boot: &Path) -> std::path::PathBuf {
    let script = format!(
        r#"#!/bin/sh
boot='{}'
if [ "$1" = agent ] && [ -f "$boot" ]; then
  exec unshare --mount sh -c '
    mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"' "$boot" '{BINARY}' "$@"
fi
exec '{BINARY}' "$@"
"#,
        boot.display()
    );
    let path = folder.join("runyard");
    fs_err::write(&path, script).expect("written");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    path
}

#[test]
fn f30_after_a_reboot_what_ran_is_lost_and_says_so() {
    const TEST: &str = "f30_after_a_reboot_what_ran_is_lost_and_says_so";
    let may = std::process::Command::new("unshare").args(["--mount", "true"]).output();
    match may {
        Ok(done) if done.status.success() => {}
        other => return skipped(TEST, &format!("mounts of its own need root: {other:?}")),
    }
    let folder = tempfile::tempdir().expect("a folder");
    let boot = folder.path().join("boot_id");
    let mut cluster = Cluster::builder(binary_with_boot(folder.path(), &boot)).agents(1).start();
    let repository = repository(&cluster, "long", PIPELINE);
    let run = submit(&cluster, &repository);
    wait_running(&cluster, &run, "work", 1);
    wait_for("its first line", OVER, || match log(&cluster, &format!("{run}/work")).as_str() {
        "begun\n" => Ok(()),
        other => Err(other.to_owned()),
    });
    let node = |cluster: &Cluster| {
        cluster.cli(cluster.root(), &["nodes", "get", "node-1", "-o", "json"]).exits(0).json()
    };
    let before = node(&cluster)["boot_id"].clone();

    cluster.kill("node-1");
    while cluster.shims("node-1") > 0 {
        cluster.kill_shim("node-1");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    fs_err::write(&boot, "00000000-0000-4000-8000-000000000001\n").expect("written");
    cluster.start("node-1");

    let over = cluster.wait_over(&run, OVER);
    let task = &tasks(&over, "work")[0];
    let first = &task["attempts"][0];
    assert_eq!(first["outcome"], "error", "nobody knows how it ended: {over}");
    let why = first["reason"].as_str().unwrap_or_default();
    assert!(why.contains("the machine went down while it ran"), "{over}");
    assert_eq!(over["state"], "succeeded", "what is not the stage's fault is tried again: {over}");
    assert_eq!(task["attempts"].as_array().map_or(0, Vec::len), 2, "{over}");
    assert_eq!(log(&cluster, &format!("{run}/work")), "begun\ndone\n", "the second attempt's");
    assert_ne!(node(&cluster)["boot_id"], before, "the node is known to have been started anew");
}
