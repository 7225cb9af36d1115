//! Disks that are full, and then are not: the coordinator's and an agent's.

use std::path::Path;
use std::time::Duration;

use runyard_harness::{COORDINATOR, Cluster, Dice, wait_for, with_disks, write_files};

use crate::{BINARY, OVER, log, repository, submit, tasks, wait_running};

const MIB: u64 = 64;

const LONG: &str = r#"version: 1
name: long
stages:
  count: { run: "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; sleep 0.1; done" }
"#;
const SHORT: &str = r#"version: 1
name: short
stages:
  make: { run: "echo hello; mkdir out; head -c 300000 /dev/urandom > out/x", outputs: { o: out } }
"#;

#[test]
fn f8_a_coordinators_full_disk_refuses_by_name_reads_cancels_and_heals() {
    with_disks("f8_a_coordinators_full_disk_refuses_by_name_reads_cancels_and_heals", |disks| {
        let mut cluster = Cluster::builder(BINARY).agents(1).start();
        cluster.kill(COORDINATOR);
        let disk = disks.put(&cluster.coordinator_dir(), MIB);
        cluster.start(COORDINATOR);
        cluster.wait_nodes("ready", 1);
        let (long, short) =
            (repository(&cluster, "long", LONG), repository(&cluster, "short", SHORT));
        let run = submit(&cluster, &long);
        wait_running(&cluster, &run, "count", 1);
        let pid = cluster.pid(COORDINATOR);

        write_numbers(&short);

        disk.fill();
        // What needs room is refused, with the place and the remedy.
        let refused = cluster.cli(&short, &["run", "-d"]).exits(1);
        assert!(refused.stderr.contains("blob store is full; make room there"), "{refused}");
        // What needs none goes on: reads, heartbeats, the live log, the end of a run.
        let ls = cluster.cli(&long, &["nodes", "ls", "-o", "json"]).exits(0).json();
        assert_eq!(ls["items"][0]["liveness"], "ready", "{ls}");
        wait_for("the log to grow", OVER, || {
            let text = log(&cluster, &run);
            let lines = text.lines().count();
            if lines > 20 { Ok(()) } else { Err(format!("{lines} lines")) }
        });
        cluster.cli(&long, &["cancel", &run]).exits(0);
        let over = cluster.wait_over(&run, OVER);
        assert_eq!(over["state"], "cancelled", "{over}");
        wait_for("its device to be given back", OVER, || {
            let over = cluster.run(&run)?;
            let released = tasks(&over, "count")[0]["attempts"][0]["released"] == true;
            if released { Ok(()) } else { Err(over.to_string()) }
        });

        disk.free();
        // By itself: what waited is sealed, what is new is taken.
        let next = submit(&cluster, &short);
        let over = cluster.wait_over(&next, OVER);
        assert_eq!(over["state"], "succeeded", "{over}");
        let sealed = wait_for("the logs to be sealed", OVER, || {
            let over = cluster.run(&run)?;
            let task = tasks(&over, "count")[0].clone();
            if task["logs"] == "sealed" { Ok(task) } else { Err(over.to_string()) }
        });
        let bytes = &sealed["attempts"][0]["workers"][0];
        assert_eq!(bytes["log_sealed_bytes"], bytes["log_bytes"], "{sealed}");
        let text = log(&cluster, &run);
        for (at, line) in text.lines().enumerate() {
            assert_eq!(line, format!("line {}", at + 1), "no gap");
        }
        assert_eq!(cluster.pid(COORDINATOR), pid, "it was never restarted");
        cluster.stop();
    });
}

/// Code that does not fit into the rest of a page.
fn write_numbers(folder: &Path) {
    let mut dice = Dice::new();
    let numbers: Vec<u8> = (0..300_000).map(|_| dice.between(0, 256) as u8).collect();
    fs_err::write(folder.join("numbers.bin"), numbers).expect("written");
}

const LOUD: &str = r#"version: 1
name: loud
stages:
  shout:
    run: |
      echo "the first line"
      while [ ! -f go ]; do sleep 0.05; done
      head -c 6000000 /dev/zero | tr '\0' x | fold -w 99
      echo "the last line"
"#;

#[test]
fn f34_an_agents_full_disk_stops_no_stage_and_heals() {
    with_disks("f34_an_agents_full_disk_stops_no_stage_and_heals", |disks| {
        let mut cluster = Cluster::builder(BINARY).agents(1).start();
        cluster.kill("node-1");
        let disk = disks.put(&cluster.agent_dir("node-1"), MIB);
        // It was moved, and no agent runs in the old place: what an agent asks for before it believes that.
        let _ = fs_err::remove_file(cluster.agent_dir("node-1").join("place"));
        cluster.start("node-1");
        cluster.wait_nodes("ready", 1);
        let (loud, short) =
            (repository(&cluster, "loud", LOUD), repository(&cluster, "short", SHORT));
        let run = submit(&cluster, &loud);
        wait_running(&cluster, &run, "shout", 1);
        let pid = cluster.pid("node-1");
        let space = wait_for("its working directory", OVER, || working_directory(&cluster));
        write_files(&space, &[("go.soon", "")]);

        disk.fill();
        // A rename needs no room.
        fs_err::rename(space.join("go.soon"), space.join("go")).expect("renamed");
        // The stage does not wait for room: it ends, and how is known at once.
        let over = cluster.wait_over(&run, OVER);
        let attempt = tasks(&over, "shout")[0]["attempts"][0].clone();
        assert_eq!(attempt["workers"][0]["exit_code"], 0, "{over}");
        assert_eq!(over["state"], "succeeded", "{over}");
        // What needs room is an error of ours with the reason, never the stage's failure.
        write_numbers(&short);
        let next = submit(&cluster, &short);
        wait_for("the next run to be told about the disk", OVER, || {
            let now = cluster.run(&next)?;
            let text = now.to_string();
            if text.contains("No space left") { Ok(()) } else { Err(text) }
        });

        disk.free();
        let over = cluster.wait_over(&next, OVER);
        assert_ne!(over["state"], "failed", "not the stage's fault: {over}");
        let third = cluster.cli(&short, &["run", "--wait", "--no-cache"]).exits(0);
        assert!(third.stderr.contains("succeeded"), "{third}");
        assert_eq!(cluster.pid("node-1"), pid, "the agent was never restarted");
        // What the disk could not take is told where it is missing.
        let text = wait_for("the log", OVER, || {
            let over = cluster.run(&run)?;
            let task = &tasks(&over, "shout")[0];
            if task["logs"] == "sealed" { Ok(log(&cluster, &run)) } else { Err(over.to_string()) }
        });
        assert!(text.starts_with("the first line\n"), "{}", &text[..text.len().min(200)]);
        let whole = text.len() > 6_000_000;
        let end = &text[text.len().saturating_sub(300)..];
        assert!(whole || text.contains(" of the log were dropped here"), "unsaid: {end}");
        cluster.stop();
    });
}

/// The working directory of the only stage that runs.
fn working_directory(cluster: &Cluster) -> Result<std::path::PathBuf, String> {
    let spaces = cluster.agent_dir("node-1").join("spaces");
    let mut open = vec![spaces.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs_err::read_dir(&folder).map_err(|error| error.to_string())?.flatten() {
            if entry.file_name() == "runyard.yaml" {
                return Ok(folder);
            }
            if entry.path().is_dir() {
                open.push(entry.path());
            }
        }
    }
    std::thread::sleep(Duration::from_millis(10));
    Err(format!("no runyard.yaml below {}", spaces.display()))
}
