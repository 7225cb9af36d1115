//! What the contracts with a user's code refuse, seen by the person who wrote that code: the words,
//! the place, the exit code.

use std::path::{Path, PathBuf};

use runyard_harness::{Cluster, write_files};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");

fn repository(cluster: &Cluster, name: &str, pipeline: &str) -> PathBuf {
    let folder = cluster.folder(name);
    write_files(&folder, &[("runyard.yaml", pipeline)]);
    folder
}

/// Submits, waits, and returns the run with its only stage's reason.
#[track_caller]
fn failed(cluster: &Cluster, folder: &Path) -> (Value, String) {
    let said = cluster.cli(folder, &["run", "--wait", "-o", "json"]).exits(1);
    let run = said.json();
    let reason = run["stages"][0]["tasks"][0]["reason"].as_str().unwrap_or_default().to_owned();
    (run, reason)
}

#[test]
fn a_stage_larger_than_any_node_is_warned_of_and_strictly_refused() {
    let cluster = Cluster::builder(BINARY).agents(2).gpus(2).start();
    let folder = repository(
        &cluster,
        "large",
        "version: 1\nname: large\nstages:\n  a: { run: \"true\", resources: { gpu: 3 } }\n",
    );
    let refused = cluster.cli(&folder, &["run", "-d", "--strict"]).exits(6);
    for part in ["stage a", "no node has 3", "the largest has 2", "node-"] {
        assert!(refused.stderr.contains(part), "`{part}` is missing in {refused}");
    }
    let none = cluster.cli(&folder, &["ps", "-a", "-o", "json"]).exits(0).json();
    assert_eq!(none["items"], serde_json::json!([]), "a refused one leaves nothing behind");
    let taken = cluster.cli(&folder, &["run", "-d"]).exits(0);
    assert!(taken.stderr.contains("warning: stage a: no node has 3"), "{taken}");
    let why = cluster.cli(&folder, &["why", taken.stdout.trim()]).exits(0);
    assert!(why.stdout.contains("2/2"), "both nodes are counted: {why}");
    cluster.cli(&folder, &["cancel", taken.stdout.trim()]).exits(0);
}

#[test]
fn outputs_that_climb_or_bear_one_name_are_refused_at_the_door() {
    let cluster = Cluster::builder(BINARY).agents(0).start();
    let head = "version: 1\nname: bad\nstages:\n  a:\n    run: \"true\"\n    outputs:\n";
    for (name, outputs, line, part) in [
        ("twice", "      x: one\n      x: two\n", "7", "again here"),
        ("climbs", "      x: ../../etc\n", "7", "../../etc"),
        ("absolute", "      x: /etc\n", "7", "/etc"),
    ] {
        let folder = repository(&cluster, name, &format!("{head}{outputs}"));
        for verb in ["validate", "run"] {
            let refused = cluster.cli(&folder, &[verb]).exits(3);
            let place = format!("runyard.yaml:{line}:");
            assert!(refused.stderr.contains(&place), "`{place}` is missing in {refused}");
            assert!(refused.stderr.contains(part), "`{part}` is missing in {refused}");
        }
    }
}

#[test]
fn outputs_that_are_missing_or_lead_elsewhere_fail_the_stage_by_name() {
    let cluster = Cluster::builder(BINARY).agents(1).start();
    let one = |run: &str| {
        format!(
            "version: 1\nname: out\nstages:\n  a: {{ run: '{run}', outputs: {{ result: out }}, retry: 0 }}\n"
        )
    };
    for (name, run, parts) in [
        ("missing", "true", &["result", "out"][..]),
        ("link", "ln -s /etc out", &["result", "link"]),
        ("inner", "mkdir out; ln -s /etc/passwd out/x", &["result", "x", "link"]),
        ("pipe", "mkdir out; mkfifo out/p", &["result", "p", "pipe"]),
    ] {
        let folder = repository(&cluster, name, &one(run));
        let (run, reason) = failed(&cluster, &folder);
        for part in parts {
            assert!(reason.contains(part), "{name}: `{part}` is missing in {reason:?}: {run}");
        }
        assert_eq!(run["stages"][0]["tasks"][0]["outputs"], serde_json::json!([]), "{run}");
    }
}

const JUDGED: &str = r#"version: 1
name: judged
params:
  rows: { type: string, default: good }
stages:
  train:
    run: mkdir m && cp "$RUNYARD_PARAM_ROWS.csv" m/rows.csv
    outputs: { model: { path: m, type: model } }
  eval:
    evaluates: { model: train.model }
    run: cp "$RUNYARD_INPUT_MODEL/rows.csv" rows.csv
    results: rows.csv
  gate:
    gate:
      results: eval
      against: { model: judged@champion, if-none: absolute }
      checks:
        score: { metric: score, min: 0.5, margin: 0.02 }
      promote: { model: train.model, to: judged@champion }
"#;

/// One row per example, from one id up to, not with, another.
fn rows(from: u32, to: u32, score: impl Fn(u32) -> &'static str) -> String {
    let lines = (from..to).map(|id| format!("{id},{}\n", score(id)));
    std::iter::once("example_id,score\n".to_owned()).chain(lines).collect()
}

#[test]
fn a7_what_cannot_be_tested_is_never_promoted_and_says_why() {
    let cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = repository(&cluster, "judged", JUDGED);
    let score = |id: u32| if id.is_multiple_of(10) { "0" } else { "1" };
    write_files(
        &folder,
        &[
            ("good.csv", &rows(0, 200, score)),
            ("other.csv", &rows(100, 300, score)),
            ("one.csv", &rows(0, 1, |_| "1")),
            ("nan.csv", &rows(0, 200, |id| if id == 7 { "NaN" } else { score(id) })),
            ("infinite.csv", &rows(0, 200, |id| if id == 7 { "1e999" } else { score(id) })),
        ],
    );
    cluster.cli(&folder, &["run", "--wait"]).exits(0);
    for (rows, parts) in [
        ("other", &["do not join", "200"][..]),
        ("one", &["an evaluation set of one example"]),
        ("nan", &["NaN"]),
        ("infinite", &["inf"]),
    ] {
        let said =
            cluster.cli(&folder, &["run", "--wait", "-o", "json", "-p", &format!("rows={rows}")]);
        let said = said.exits(7);
        let run = said.json();
        assert_eq!(run["gates"][0]["verdict"], "cannot_test", "{rows}: {run}");
        let name = run["name"].as_str().expect("a name");
        let shown = cluster.cli(&folder, &["gate", "show", name]).exits(7);
        for part in parts {
            assert!(shown.stdout.contains(part), "{rows}: `{part}` is missing in {shown}");
        }
        let models = cluster.cli(&folder, &["models", "get", "judged", "-o", "json"]).exits(0);
        let champion = models.json()["aliases"][0]["version"].clone();
        assert_eq!(champion, 1, "{rows}: nothing moved: {models}");
    }
}
