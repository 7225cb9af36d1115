//! A log with an entry of a newer program.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_consensus::{Config, OsDisk, RestoreError, Serialise, StateMachine};
use runyard_server::{ServerConfig, init, start};
use runyard_state::{Command, Entry, Stamp};
use runyard_types::encode;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// All entries, as bytes.
#[derive(Default)]
struct Entries(Arc<Mutex<Vec<Vec<u8>>>>);

impl StateMachine for Entries {
    type Reply = ();

    fn apply(&mut self, _: u64, data: &[u8]) {
        self.0.lock().expect("no panic").push(data.to_vec());
    }

    fn snapshot(&self) -> Serialise {
        Box::new(Vec::new)
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Err(RestoreError("there is no snapshot yet".into()))
    }
}

/// Adds entries to the log of a coordinator that does not run; answers with all that are there.
fn append(dir: &Path, entries: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let raft = dir.join("raft");
    let identity = runyard_consensus::identity(&raft, &OsDisk).expect("a peer");
    let config = Config::new(raft, identity.group, identity.peer);
    let all = Entries::default();
    let seen = Arc::clone(&all.0);
    let handle = runyard_consensus::start(config, Arc::new(OsDisk), all).expect("started");
    assert!(handle.wait_ready(PATIENCE));
    for entry in entries {
        let (said, heard) = std::sync::mpsc::channel();
        handle.propose(entry.clone(), Box::new(move |reply| said.send(reply).expect("heard")));
        heard.recv_timeout(PATIENCE).expect("answered").expect("taken");
    }
    handle.shutdown();
    let seen = seen.lock().expect("no panic");
    seen.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_stops_before_what_it_does_not_understand_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = Stamp::default();
    let newer = encode(&Entry { min_version: 1_000, at, commands: vec![Command::Place(vec![])] });
    for (entry, word) in
        [(newer, "it needs state version 1000"), (b"garbled".to_vec(), "cannot decode")]
    {
        let dir = dir.path().join(word.split_once(' ').expect("words").0);
        init(&dir).expect("init");
        let config = || ServerConfig {
            dir: dir.clone(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            hosts: Vec::new(),
            program: "/bin/false".into(),
        };
        // A first life, so that there is something to lose.
        let stop = CancellationToken::new();
        let started = start(config(), stop.clone()).await.expect("starts");
        stop.cancel();
        started.wait().await.expect("stops");
        let added = entry.clone();
        let place = dir.clone();
        let before =
            tokio::task::spawn_blocking(move || append(&place, &[added])).await.expect("ran");
        assert!(before.len() >= 2, "the first token, and the entry");

        for _ in 0..2 {
            let error = start(config(), CancellationToken::new()).await.expect_err("too old");
            let text = error.to_string();
            assert!(text.contains("stopped before entry") && text.contains(word), "{text}");
            assert!(text.contains("start the version that wrote it"), "{text}");
            assert!(text.contains("Nothing is lost"), "{text}");
        }
        let place = dir.clone();
        let after = tokio::task::spawn_blocking(move || append(&place, &[])).await.expect("ran");
        assert_eq!(after, before, "all of it is there for who understands it");
    }
}
