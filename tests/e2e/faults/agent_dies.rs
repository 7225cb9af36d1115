//! The agent dies again and again; its workers, their output and their exit status don't notice.

use std::time::{Duration, Instant};

use runyard_harness::{Cluster, Dice, wait_for};

use crate::{BINARY, OVER, log, repository, submit, tasks, wait_running};

const WORKERS: usize = 20;
const LINES: usize = 60;
/// The one that fails, and how.
const BAD: (usize, i32) = (13, 7);

const PIPELINE: &str = r#"version: 1
name: many
stages:
  work:
    run: |
      i=0
      while [ $i -lt 60 ]; do i=$((i+1)); echo "$RUNYARD_MATRIX_N: line $i of 60"; sleep 0.2; done
      if [ "$RUNYARD_MATRIX_N" = 13 ]; then exit 7; fi
    matrix:
      axes: { n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19] }
      fail-fast: false
    resources: { cpu: 0.1 }
"#;

/// How many sessions the coordinator has seen begin: each with a hello that names the living workers.
fn sessions(cluster: &Cluster) -> usize {
    let log = cluster.root().join("cluster/logs/coordinator.log");
    fs_err::read_to_string(log).expect("a log").matches("session opened").count()
}

#[test]
fn f24_twenty_workers_do_not_notice_an_agent_that_keeps_dying() {
    let mut dice = Dice::new();
    let mut cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = repository(&cluster, "many", PIPELINE);
    let run = submit(&cluster, &folder);
    wait_running(&cluster, &run, "work", WORKERS);
    let mut slowest = Duration::ZERO;
    let mut kills = 0;
    while cluster.shims("node-1") == WORKERS {
        cluster.kill("node-1");
        std::thread::sleep(Duration::from_millis(dice.between(0, 400)));
        assert!(cluster.shims("node-1") > 0, "workers die with their agent");
        let begun = Instant::now();
        cluster.start("node-1");
        wait_for("the next session", OVER, || match sessions(&cluster) {
            opened if opened >= kills + 2 => Ok(()),
            opened => Err(format!("{opened} so far, after {kills} kills")),
        });
        slowest = slowest.max(begun.elapsed());
        kills += 1;
        std::thread::sleep(Duration::from_millis(dice.between(0, 600)));
    }
    println!("{kills} kills; the slowest adoption took {slowest:?}");
    assert!(kills >= 3, "{kills} kills only");

    let over = cluster.wait_over(&run, OVER);
    assert_eq!(over["state"], "failed", "one of them fails, as it should: {over}");
    let all = tasks(&over, "work");
    assert_eq!(all.len(), WORKERS, "{over}");
    for (n, task) in all.iter().enumerate() {
        let attempts = task["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 1, "it was started once: {task}");
        let (outcome, status) = if n == BAD.0 { ("failure", BAD.1) } else { ("succeeded", 0) };
        assert_eq!(attempts[0]["outcome"], outcome, "{task}");
        assert_eq!(attempts[0]["workers"][0]["exit_code"], status, "{task}");
        let lines: Vec<String> = (1..=LINES).map(|i| format!("{n}: line {i} of {LINES}")).collect();
        let seen = log(&cluster, &format!("{run}/work[{n}]"));
        assert_eq!(seen.lines().collect::<Vec<_>>(), lines, "the log of {n} is not whole");
    }
    wait_for("no shim to be left", OVER, || match cluster.shims("node-1") {
        0 => Ok(()),
        left => Err(format!("{left} shims")),
    });
}
