//! A group of one that nobody asks anything does nothing. Alone in its process, so that all its
//! threads are this peer's.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Ledger, PEER, config, entry, founding};
use runyard_consensus::{OsDisk, init, start};

/// How often the threads of consensus gave up the processor so far.
fn switches() -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("linux").flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with("raft") {
            let status = read("status");
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
            let count = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            sum += count.expect("the kernel counts");
        }
    }
    sum
}

#[test]
fn a_group_of_one_sleeps_until_it_is_asked() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("peer");
    init(&dir, &OsDisk, &founding(PEER, &[PEER])).expect("founded");
    let handle = start(config(&dir, PEER), Arc::new(OsDisk), Ledger::default()).expect("started");
    assert!(handle.wait_ready(Duration::from_secs(20)));
    let (answer, answered) = std::sync::mpsc::channel();
    handle.propose(entry(0), Box::new(move |reply| answer.send(reply).expect("waited for")));
    answered.recv().expect("answered").expect("accepted");
    // Whatever follows from the last reply is over when nothing changes any more.
    let mut before = switches();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(20));
        let now = switches();
        if now == before {
            break;
        }
        before = now;
    }
    std::thread::sleep(Duration::from_millis(500));
    // Five ticks would have passed; a wakeup of each thread per tick would be fifteen.
    assert!(switches() <= before + 2, "{} wakeups while idle", switches() - before);
    handle.shutdown();
}
