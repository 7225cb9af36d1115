//! kill -9 of a real process in the middle of its writes (F1 on real files).

mod common;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use common::{Ledger, PEER, assert_prefix, config, entry, founding};
use runyard_consensus::{Config, OsDisk, init, start};

const DIR: &str = "RUNYARD_TEST_KILL_DIR";
const WINDOW: usize = 16;

/// Not a test of its own: the process that is killed. It proposes, and prints what was
/// acknowledged, until it dies.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let config = Config { snapshot_every_entries: 200, ..config(&dir, PEER) };
    let published = Arc::default();
    let ledger = Ledger { published: Some(Arc::clone(&published)), ..Ledger::default() };
    let handle = start(config, Arc::new(OsDisk), ledger).expect("started");
    assert!(handle.wait_ready(Duration::from_secs(5)), "ready in time: {:?}", handle.status());
    let (answer, answers) = mpsc::channel();
    let mut next = published.lock().expect("no panic").len();
    let mut propose = || {
        let answer = answer.clone();
        handle.propose(entry(next), Box::new(move |reply| answer.send(reply).expect("waited for")));
        next += 1;
    };
    for _ in 0..WINDOW {
        propose();
    }
    for reply in answers {
        let mut out = std::io::stdout().lock();
        writeln!(out, "acked {}", reply.expect("accepted")).expect("the parent reads");
        drop(out);
        propose();
    }
}

#[test]
fn f1_kill_9_of_a_real_process_loses_nothing_acknowledged() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("peer");
    init(&dir, &OsDisk, &founding(PEER, &[PEER])).expect("founded");
    let mut acked = 0;
    for round in 0..8_usize {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child", "--nocapture"])
            .env(DIR, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let before = acked;
        let enough = 40 + round * 97;
        while let Some(Ok(line)) = lines.next() {
            if let Some(number) = line.strip_prefix("acked ") {
                acked = number.parse().expect("a number");
                if acked - before >= enough {
                    break;
                }
            }
        }
        child.kill().expect("kill -9");
        // What it still said before it died counts as well.
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("acked ").and_then(|n| n.parse().ok()) {
                acked = number;
            }
        }
        child.wait().expect("reaped");
        assert!(acked - before >= enough, "round {round}: the child got to {acked}");

        let published = Arc::default();
        let ledger = Ledger { published: Some(Arc::clone(&published)), ..Ledger::default() };
        let handle = start(config(&dir, PEER), Arc::new(OsDisk), ledger).expect("starts again");
        assert!(handle.wait_ready(Duration::from_secs(5)), "serving within 5 s");
        let present = assert_prefix(&published.lock().expect("no panic"), "after kill -9");
        assert!(
            (acked..=acked + 2 * WINDOW).contains(&present),
            "round {round}: {present} entries, {acked} acknowledged"
        );
        handle.shutdown();
        acked = present;
    }
}
