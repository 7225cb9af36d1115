//! Bytes that rot at rest: a stage never sees them, and the error names what is damaged.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use runyard_harness::{COORDINATOR, Cluster};

use crate::{BINARY, OVER, log, repository, submit, tasks};

const PIPELINE: &str = r#"version: 1
name: read
stages:
  read:
    run: sha256sum < data/numbers.bin; echo WORD
    inputs: { data: { from: "file:data", at: data } }
"#;
/// Above what is kept in line, below a pack.
const BYTES: usize = 3_000_000;

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs_err::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Flips a bit in the middle of each large file below a folder; returns how many there were.
fn rot(folder: &Path) -> usize {
    let mut rotten = 0;
    for path in files(folder) {
        let bytes = std::fs::metadata(&path).expect("it is there").len();
        if bytes < 100_000 {
            continue;
        }
        let mut permissions = std::fs::metadata(&path).expect("it is there").permissions();
        #[expect(
            clippy::permissions_set_readonly_false,
            reason = "a cache's object may be read-only"
        )]
        permissions.set_readonly(false);
        std::fs::set_permissions(&path, permissions).expect("ours");
        let file = std::fs::File::options().read(true).write(true).open(&path).expect("ours");
        let mut byte = [0];
        file.read_exact_at(&mut byte, bytes / 2).expect("read");
        file.write_all_at(&[byte[0] ^ 1], bytes / 2).expect("written");
        rotten += 1;
    }
    rotten
}

fn prepared(cluster: &Cluster) -> (PathBuf, String) {
    let folder = repository(cluster, "read", PIPELINE);
    fs_err::create_dir(folder.join("data")).expect("a folder");
    let mut dice = runyard_harness::Dice::new();
    let numbers: Vec<u8> = (0..BYTES).map(|_| dice.between(0, 256) as u8).collect();
    fs_err::write(folder.join("data/numbers.bin"), numbers).expect("written");
    fs_err::write(folder.join(".gitignore"), "data\n").expect("written");
    let run = submit(cluster, &folder);
    let over = cluster.wait_over(&run, OVER);
    assert_eq!(over["state"], "succeeded", "{over}");
    let text = log(cluster, &run);
    let sum = text.lines().next().expect("a line").to_owned();
    (folder, sum)
}

/// The same stage over the same data, that must run again.
fn changed(folder: &Path, word: &str) {
    let text = PIPELINE.replace("WORD", word);
    fs_err::write(folder.join("runyard.yaml"), text).expect("written");
}

#[test]
fn f41_rot_in_an_agents_cache_is_fetched_again() {
    let cluster = Cluster::builder(BINARY).agents(1).start();
    let (folder, sum) = prepared(&cluster);
    let rotten = rot(&cluster.agent_dir("node-1").join("cache"));
    assert!(rotten > 0, "the cache holds the data");
    changed(&folder, "again");
    let run = submit(&cluster, &folder);
    let over = cluster.wait_over(&run, OVER);
    assert_eq!(over["state"], "succeeded", "{over}");
    assert_eq!(log(&cluster, &run), format!("{sum}\nagain\n"), "the stage saw the true bytes");
}

#[test]
fn f41_rot_in_the_store_is_a_named_error_until_its_source_is_sent_again() {
    let mut cluster = Cluster::builder(BINARY).agents(1).start();
    let (folder, sum) = prepared(&cluster);
    // The agent has no copy, the coordinator a damaged one.
    cluster.kill("node-1");
    fs_err::remove_dir_all(cluster.agent_dir("node-1").join("cache")).expect("removed");
    cluster.kill(COORDINATOR);
    let rotten = rot(&cluster.coordinator_dir().join("blobs"));
    assert!(rotten > 0, "the store holds the data");
    cluster.start(COORDINATOR);
    cluster.start("node-1");
    cluster.wait_nodes("ready", 1);
    changed(&folder, "again");
    let run = submit(&cluster, &folder);
    let over = cluster.wait_over(&run, OVER);
    let text = over.to_string();
    assert_eq!(over["state"], "error", "no bytes, no run: {text}");
    assert!(text.contains("corrupt") && text.contains("publish its source again"), "{text}");
    for attempt in tasks(&over, "read")[0]["attempts"].as_array().expect("attempts") {
        assert_eq!(attempt["outcome"], "error", "not the stage's failure: {text}");
    }
    assert_eq!(log(&cluster, &run), "", "the stage was never begun over bad bytes");
    // The remedy that the error names.
    changed(&folder, "healed");
    let run = submit(&cluster, &folder);
    let over = cluster.wait_over(&run, OVER);
    assert_eq!(over["state"], "succeeded", "{over}");
    assert_eq!(log(&cluster, &run), format!("{sum}\nhealed\n"));
}
