//! `-o json` of every verb, against a real cluster: exactly one document, which says what it is one of.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use runyard_harness::{Cluster, wait_for, write_files};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const OVER: Duration = Duration::from_secs(90);

/// A model and a deployment of one name, without any library: what is judged is what is counted.
const PIPELINE: &str = include_str!("tiny.yaml");

const FAILS: &str = "version: 1\nname: fails\ndefaults: { resources: { cpu: 0.1 } }\nstages:\n  a:\n    \
                     run: echo the last words; exit 3\n  b: { run: \"true\", needs: a }\n";

/// Verbs that have no answer of that kind, each with its reason.
const WITHOUT: &[(&str, &str)] = &[
    ("demo", "it tells a story"),
    ("dev", "it stays until it is stopped; e2e_dev looks at what it prints"),
    ("server", "a daemon; its `init` is in the table"),
    ("agent", "a daemon"),
    ("schema", "a JSON Schema is a document of its own kind"),
    ("gate reject", "the other side of `gate approve`"),
];

/// The verbs that the help lists, those of nouns as `noun verb`.
fn verbs(cluster: &Cluster) -> BTreeSet<String> {
    let listed = |path: &[&str]| -> Vec<String> {
        let mut args = path.to_vec();
        args.push("--help");
        let help = cluster.cli(cluster.root(), &args).exits(0).stdout;
        let list = help.split("Commands:\n").nth(1).unwrap_or_default();
        list.lines()
            .take_while(|line| !line.is_empty())
            // What a long description goes on with is indented further.
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect()
    };
    let mut verbs = BTreeSet::new();
    for verb in listed(&[]) {
        let below = listed(&[&verb]);
        if below.is_empty() || verb == "server" {
            verbs.insert(verb.clone());
        }
        verbs.extend(below.into_iter().map(|sub| format!("{verb} {sub}")));
    }
    verbs
}

fn repository(cluster: &Cluster) -> PathBuf {
    let folder = cluster.folder("repository");
    write_files(
        &folder,
        &[
            ("runyard.yaml", PIPELINE),
            ("second.yaml", &PIPELINE.replace("weights", "other weights")),
            ("fails.yaml", FAILS),
            ("slow.yaml", &FAILS.replace("fails", "slow").replace("exit 3", "sleep 600")),
            ("a.csv", "example_id,correct\na,1\nb,0\n"),
            ("b.csv", "example_id,correct\na,1\nc,0\n"),
            ("other/train.py", "open('out/m', 'w')\n"),
        ],
    );
    folder
}

#[test]
fn each_verb_answers_with_one_document_that_names_its_version() {
    let mut cluster = Cluster::builder(BINARY).agents(1).gateway().start();
    let folder = repository(&cluster);
    cluster.wait_nodes("ready", 1);
    let good = cluster.cli(&folder, &["run", "--wait", "-o", "json"]);
    let run =
        good.json()["run"]["name"].as_str().or(good.json()["name"].as_str()).map(str::to_owned);
    let run = run.unwrap_or_else(|| panic!("no run's name in {good}"));
    let good = good.exits(0);
    let failed = cluster.cli(&folder, &["run", "-f", "fails.yaml", "-d"]).exits(0);
    let failed = failed.stdout.trim().to_owned();
    let slow = cluster.cli(&folder, &["run", "-f", "slow.yaml", "-d"]).exits(0);
    let slow = slow.stdout.trim().to_owned();
    cluster.wait_over(&failed, OVER);
    wait_for("a node's name", OVER, || {
        let nodes = cluster.cli(&folder, &["nodes", "ls", "-q"]);
        if nodes.stdout.trim().is_empty() { Err(nodes.to_string()) } else { Ok(()) }
    });
    let node = cluster.cli(&folder, &["nodes", "ls", "-q"]).stdout.trim().to_owned();
    let ca = cluster.root().join("ca.pem").display().to_string();
    let ca = match std::path::Path::new(&ca).exists() {
        true => ca,
        false => cluster.coordinator_dir().join("../ca.pem").display().to_string(),
    };
    let address = cluster.address();
    let stage = |name: &str| format!("{run}/{name}");
    let (train, gate) = (stage("train"), stage("gate"));
    let failed_stage = format!("{failed}/a");
    let new_server = cluster.root().join("another-server").display().to_string();

    // What each verb is called with, and its exit code.
    let table: Vec<(&str, Vec<&str>, i32)> = vec![
        ("init", vec!["init", "other"], 0),
        ("validate", vec!["validate"], 0),
        ("plan", vec!["plan"], 0),
        ("run", vec!["run", "-d", "-f", "second.yaml"], 0),
        ("ps", vec!["ps", "-a"], 0),
        ("logs", vec!["logs", &run], 0),
        ("logs", vec!["logs", &train, "--tail", "3"], 0),
        ("describe", vec!["describe", &run], 0),
        ("describe", vec!["describe", &run, "--events"], 0),
        // A model and a deployment have this name.
        ("describe", vec!["describe", "tiny", "--events"], 0),
        ("describe", vec!["describe", &node], 0),
        ("why", vec!["why", &run], 0),
        ("why", vec!["why", &failed], 0),
        ("why", vec!["why", "tiny@champion"], 0),
        ("watch", vec!["watch", &run], 0),
        ("cancel", vec!["cancel", &slow], 0),
        ("why", vec!["why", &slow], 0),
        ("retry", vec!["retry", &failed_stage], 0),
        ("artifacts ls", vec!["artifacts", "ls", &run], 0),
        ("artifacts get", vec!["artifacts", "get", &train, "--into", "got"], 0),
        ("metrics", vec!["metrics", &run], 0),
        ("metrics", vec!["metrics", &run, "--gpu"], 0),
        ("results check", vec!["results", "check", "a.csv"], 0),
        ("results check", vec!["results", "check", "a.csv", "--against", "a.csv"], 0),
        ("results check", vec!["results", "check", "a.csv", "--against", "b.csv"], 1),
        ("models ls", vec!["models", "ls"], 0),
        ("models get", vec!["models", "get", "tiny"], 0),
        ("models alias", vec!["models", "alias", "tiny@mine", "1"], 0),
        ("gate show", vec!["gate", "show", &gate], 0),
        ("deploy ls", vec!["deploy", "ls"], 0),
        ("deploy get", vec!["deploy", "get", "tiny"], 0),
        ("nodes ls", vec!["nodes", "ls"], 0),
        ("nodes get", vec!["nodes", "get", &node], 0),
        ("nodes cordon", vec!["nodes", "cordon", &node], 0),
        ("nodes uncordon", vec!["nodes", "uncordon", &node], 0),
        ("events", vec!["events"], 0),
        ("events", vec!["events", "-f", "-n", "3"], 0),
        ("doctor", vec!["doctor"], 0),
        ("doctor", vec!["doctor", "--node", &node], 0),
        ("config explain", vec!["config", "explain"], 0),
        ("watch", vec!["watch", &train, "--wait-for", "succeeded"], 0),
        ("explain", vec!["explain"], 0),
        ("explain", vec!["explain", "RY0105"], 0),
        ("completions", vec!["completions", "bash"], 0),
        ("version", vec!["version"], 0),
        ("whoami", vec!["whoami"], 0),
        ("token create", vec!["token", "create", "agent", "late"], 0),
        ("token ls", vec!["token", "ls"], 0),
        ("login", vec!["login", &address, "--ca-file", &ca], 0),
        ("context ls", vec!["context", "ls"], 0),
        ("context use", vec!["context", "use", "default"], 0),
        ("logout", vec!["logout", "default"], 0),
        ("server init", vec!["server", "init", "--dir", &new_server], 0),
    ];
    let mut wrong = Vec::new();
    let mut seen: BTreeSet<String> = WITHOUT.iter().map(|(verb, _)| (*verb).to_owned()).collect();
    let one_document = |said: &runyard_harness::Said, exit: i32| -> Result<(), String> {
        if said.code != Some(exit) {
            return Err(format!("expected exit code {exit} of {said}"));
        }
        let mut documents =
            serde_json::Deserializer::from_str(&said.stdout).into_iter::<serde_json::Value>();
        let first = match documents.next() {
            Some(Ok(first)) => first,
            Some(Err(error)) => return Err(format!("no JSON ({error}) from {said}")),
            None => return Err(format!("nothing from {said}")),
        };
        match documents.next() {
            None if first["api_version"] == "runyard.v1" => Ok(()),
            None => Err(format!("no api_version from {said}")),
            Some(_) => Err(format!("a second document from {said}")),
        }
    };
    wrong.extend(one_document(&good, 0).err());
    for (verb, call, exit) in &table {
        seen.insert((*verb).to_owned());
        let mut args = call.clone();
        args.extend(["-o", "json"]);
        wrong.extend(one_document(&cluster.cli(&folder, &args), *exit).err());
    }

    // What needs an answer of the ones before, or ends what they need.
    let second = cluster.cli(&folder, &["ps", "-a", "-q", "-n", "1"]).exits(0).stdout;
    wait_for("the second revision", OVER, || {
        let said = cluster.cli(&folder, &["deploy", "get", "tiny", "-o", "json"]);
        match said.json()["serving_revision"].as_u64() {
            Some(2) => Ok(()),
            _ => Err(format!("{said} {second}")),
        }
    });
    let token = cluster.cli(&folder, &["token", "create", "agent", "later", "-o", "json"]).json();
    let id = token["id"].as_str().unwrap_or_default().to_owned();
    for (verb, call, exit) in [
        ("token revoke", vec!["token", "revoke", &id], 0),
        // Nothing waits for an approver here: the error is a document on stderr, and stdout has none.
        ("gate approve", vec!["gate", "approve", &gate, "--reason", "a test"], 6),
        ("rollback", vec!["rollback", "tiny"], 0),
        ("deploy rm", vec!["deploy", "rm", "tiny"], 0),
        ("nodes stop-orphan", vec!["nodes", "stop-orphan", &node, "d-1/train.1:0"], 5),
        ("nodes rm", vec!["nodes", "rm", &node, "--force"], 0),
    ] {
        seen.insert(verb.to_owned());
        let mut args = call.clone();
        args.extend(["-o", "json"]);
        let said = cluster.cli(&folder, &args);
        if exit == 0 {
            wrong.extend(one_document(&said, 0).err());
        } else if said.code != Some(exit)
            || !said.stdout.is_empty()
            || serde_json::from_str::<serde_json::Value>(said.stderr.lines().last().unwrap_or(""))
                .map_or(true, |error| error["error"]["code"] != exit)
        {
            wrong.push(format!("expected an error {exit} of {said}"));
        }
    }
    // What is printed again and again is no document.
    let watched = cluster.cli(&folder, &["ps", "-w", "-o", "json"]);
    if watched.code != Some(3) {
        wrong.push(format!("expected a refusal of {watched}"));
    }

    let all = verbs(&cluster);
    let missing: Vec<&String> = all.iter().filter(|verb| !seen.contains(*verb)).collect();
    cluster.stop();
    assert!(wrong.is_empty(), "{} calls:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(all.len() > 30, "the help was not understood: {all:?}");
    assert!(missing.is_empty(), "verbs without a row in the table: {missing:?}");
}
