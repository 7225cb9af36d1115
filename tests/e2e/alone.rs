//! A model that was fine while it was judged and fails once it serves alone: the gateway goes back to the one
//! before, with and without a coordinator.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use runyard_harness::{COORDINATOR, Cluster, wait_for, write_files};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const PATIENCE: Duration = Duration::from_secs(60);
const KEEP_WARM: Duration = Duration::from_secs(10);

const PIPELINE: &str = r#"version: 1
name: alone
params:
  kind: { type: string, default: good }
defaults:
  resources: { cpu: 0.25 }
stages:
  train:
    run: mkdir m && echo "$RUNYARD_PARAM_KIND" > m/kind && cp rows.csv m/rows.csv
    outputs: { model: { path: m, type: model } }
  eval:
    evaluates: { model: train.model }
    run: cp "$RUNYARD_INPUT_MODEL/rows.csv" rows.csv
    results: rows.csv
  gate:
    gate:
      results: eval
      against: { model: alone@champion, if-none: absolute }
      checks:
        score: { metric: score, min: 0.5, margin: 0.02 }
      promote: { model: train.model, to: alone@champion }
  serve:
    needs: gate
    resources: { cpu: 0.1 }
    deploy:
      name: alone
      model: alone@champion
      run: python3 serve.py
      ready: { path: /ready, within: 1m }
      drain: 1s
      keep-warm: 10s
"#;

/// Answers with the model's kind; a bad one with 500 from its tenth request on.
const SERVE: &str = r#"import itertools, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with open(os.environ["RUNYARD_MODEL"] + "/kind") as file:
    kind = file.read().strip()
requests = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        late = self.path != "/ready" and next(requests) >= 10
        body = kind.encode()
        self.send_response(500 if late and kind != "good" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// The status and the body.
fn ask(gateway: SocketAddr) -> (u16, String) {
    let mut stream = TcpStream::connect(gateway).expect("the gateway listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a stream");
    write!(stream, "GET /alone/ HTTP/1.1\r\nhost: {gateway}\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (status.unwrap_or(0), body.to_owned())
}

/// Deploys a model of this kind.
fn deploy(cluster: &Cluster, folder: &Path, kind: &str) {
    cluster.cli(folder, &["run", "--wait", "-p", &format!("kind={kind}")]).exits(0);
}

/// Asks until the gateway has gone back; how many got an error.
fn asks_until_back(gateway: SocketAddr, kind: &str) -> u64 {
    let mut errors = 0;
    for _ in 0..2_000 {
        match ask(gateway) {
            (200, body) if body == "good" && errors > 0 => return errors,
            (500, body) if body == kind => errors += 1,
            (200, body) if body == kind => {}
            other => panic!("{other:?} of {kind}, after {errors} errors"),
        }
    }
    panic!("never rolled back: {errors} of 2000 requests failed");
}

/// Waits until the coordinator has the rollback of a revision, and holds its account of it to ours.
fn taken_in(cluster: &Cluster, folder: &Path, revision: usize, errors: u64) {
    let shown = wait_for("the rollback", PATIENCE, || {
        let said = cluster.cli(folder, &["deploy", "get", "alone", "-o", "json"]);
        if said.code != Some(0) {
            return Err(said.to_string());
        }
        let shown = said.json();
        let state = shown["revisions"][revision - 1]["state"].clone();
        if state == "rolled_back" { Ok(shown) } else { Err(shown.to_string()) }
    });
    assert_eq!(shown["serving_revision"], 1, "{shown}");
    let reason = shown["revisions"][revision - 1]["reason"].to_string();
    assert!(reason.contains("while it served alone; at most 1.0 %"), "{reason}");
    let models = cluster.cli(folder, &["models", "get", "alone", "-o", "json"]).exits(0).json();
    assert_eq!(models["aliases"][0]["version"], 1, "the alias is back: {models}");
    let versions = models["versions"].as_array().cloned().unwrap_or_default();
    let bad = versions.iter().find(|version| version["version"] == revision as u64);
    assert_eq!(bad.expect("it is registered")["status"], "rolled_back", "{models}");
    let events = cluster.cli(folder, &["events", "alone"]).exits(0);
    let affected = format!("{errors} requests");
    assert!(events.stdout.contains(&affected), "`{affected}` is missing in {events}");
}

#[test]
fn what_fails_once_it_serves_alone_is_rolled_back_with_and_without_a_coordinator() {
    let mut cluster = Cluster::builder(BINARY).agents(1).gateway().start();
    let gateway = cluster.gateway().expect("it has one");
    let folder = cluster.folder("repository");
    let rows: String = (0..200).map(|id| format!("{id},{}\n", u32::from(id % 10 != 0))).collect();
    write_files(
        &folder,
        &[
            ("runyard.yaml", PIPELINE),
            ("serve.py", SERVE),
            ("rows.csv", &format!("example_id,score\n{rows}")),
        ],
    );
    deploy(&cluster, &folder, "good");
    assert_eq!(ask(gateway), (200, "good".to_owned()));

    deploy(&cluster, &folder, "bad");
    let errors = asks_until_back(gateway, "bad");
    taken_in(&cluster, &folder, 2, errors);
    assert_eq!(ask(gateway), (200, "good".to_owned()));

    // Once more, and nobody there to be told: the old one outlives the time for which it is kept warm.
    deploy(&cluster, &folder, "worse");
    let promoted = Instant::now();
    cluster.kill(COORDINATOR);
    let errors = asks_until_back(gateway, "worse");
    std::thread::sleep(KEEP_WARM.saturating_sub(promoted.elapsed()) + Duration::from_millis(500));
    assert_eq!(ask(gateway), (200, "good".to_owned()));
    cluster.start(COORDINATOR);
    let mut asked = 0;
    let until = Instant::now() + KEEP_WARM + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(ask(gateway), (200, "good".to_owned()), "request {asked} after the return");
        asked += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    taken_in(&cluster, &folder, 3, errors);
    cluster.stop();
}
