//! What the verbs that only ask say of a real cluster: `plan`, `why`, `logs`, `artifacts`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runyard_harness::{Cluster, Said, wait_for, write_files};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const PATIENCE: Duration = Duration::from_secs(60);

fn repository(cluster: &Cluster, files: &[(&str, &str)]) -> PathBuf {
    let folder = cluster.folder("repository");
    write_files(&folder, files);
    folder
}

fn submit(cluster: &Cluster, folder: &Path, file: &str) -> String {
    cluster.cli(folder, &["run", "-d", "-f", file]).exits(0).stdout.trim().to_owned()
}

fn wait_task(cluster: &Cluster, run: &str, state: &str) {
    wait_for(&format!("a task that is {state}"), PATIENCE, || {
        let now = cluster.run(run)?;
        match now["stages"][0]["tasks"][0]["state"].as_str() {
            Some(word) if word == state => Ok(()),
            _ => Err(now.to_string()),
        }
    });
}

const CHAIN: &str = "version: 1\nname: chain\ndefaults: { resources: { cpu: 0.1 } }\nstages:\n  \
    make:\n    run: sh make.sh\n    code: [make.sh]\n    outputs: { word: out, second: also }\n  \
    use:\n    run: cat \"$RUNYARD_INPUT_WORD/word\" \"$RUNYARD_INPUT_DATA/rows.csv\" && mkdir got && echo x > got/x\n    \
    code: [use.sh]\n    inputs: { word: make.word, data: \"file:data\" }\n    outputs: { got: got }\n";
const MAKE: &str = "mkdir out also && echo made > out/word && echo second > also/file\n";

fn sent(plan: &Value) -> u64 {
    let parts = plan["upload"].as_array().cloned().unwrap_or_default();
    parts.iter().map(|part| part["send_bytes"].as_u64().expect("a number")).sum()
}

fn stage<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let stages = plan["stages"].as_array().expect("stages");
    stages.iter().find(|stage| stage["stage"] == name).expect("the stage")
}

#[test]
fn a_plan_foresees_the_cache_and_sends_nothing() {
    let mut cluster = Cluster::builder(BINARY).agents(1).start();
    let rows = "a,b\n".repeat(2_000);
    let files = [
        ("chain.yaml", CHAIN),
        ("make.sh", MAKE),
        ("use.sh", "true\n"),
        (".gitignore", "data/\n"),
        ("data/rows.csv", rows.as_str()),
    ];
    let folder = repository(&cluster, &files);
    cluster.wait_nodes("ready", 1);
    let plan = || cluster.cli(&folder, &["plan", "-f", "chain.yaml", "-o", "json"]).exits(0).json();

    let first = plan();
    assert!(sent(&first) > rows.len() as u64, "code and data are to be sent: {first}");
    assert_eq!(stage(&first, "make")["reason"], "it has not run before");
    assert_eq!(stage(&first, "use")["reason"], "depends on what make will leave");
    assert_eq!(sent(&plan()), sent(&first), "a plan sends nothing");
    let said = cluster.cli(&folder, &["plan", "-f", "chain.yaml"]).exits(0);
    assert!(said.stdout.contains("to send: ") && said.stdout.contains("file:data"), "{said}");

    let run = submit(&cluster, &folder, "chain.yaml");
    assert_eq!(cluster.wait_over(&run, PATIENCE)["state"], "succeeded");
    let again = plan();
    assert_eq!(sent(&again), 0, "all of it is there: {again}");
    for name in ["make", "use"] {
        assert_eq!(stage(&again, name)["cached"], true, "{again}");
        let reason = stage(&again, name)["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains(&format!("{run}/{name}")), "{reason}");
    }

    // What the plan says of a change is what the run then does.
    write_files(&folder, &[("make.sh", &format!("# changed\n{MAKE}"))]);
    let changed = plan();
    assert_eq!(stage(&changed, "make")["cached"], false);
    assert_eq!(stage(&changed, "make")["reason"], "changed: file make.sh");
    assert!(sent(&changed) > 0 && sent(&changed) < rows.len() as u64, "{changed}");
    let second = submit(&cluster, &folder, "chain.yaml");
    let over = cluster.wait_over(&second, PATIENCE);
    assert_eq!(over["stages"][0]["tasks"][0]["cached"], false, "{over}");
    assert_eq!(over["stages"][0]["tasks"][0]["cache_reason"], "changed: file make.sh", "{over}");
    // Its output is the same as before, so what uses it is restored.
    assert_eq!(over["stages"][1]["tasks"][0]["cached"], true, "{over}");

    // One output by its name, and no other.
    let got = cluster.folder("got");
    let said = cluster.cli(&got, &["artifacts", "get", &format!("{run}/make:second")]).exits(0);
    assert_eq!(said.stdout.trim(), "./make/second", "{said}");
    assert!(got.join("make/second/file").exists() && !got.join("make/word").exists());
    let wrong = cluster.cli(&got, &["artifacts", "get", &format!("{run}/make:nope")]).exits(5);
    assert!(wrong.stderr.contains("second, word"), "{wrong}");
    cluster.stop();
}

const FAILS: &str = "version: 1\nname: fails\ndefaults: { resources: { cpu: 0.1 } }\nstages:\n  \
    a: { run: \"echo first; echo the last words; exit 3\" }\n  b: { run: \"true\", needs: a }\n";
const SLOW: &str = "version: 1\nname: slow\nstages:\n  \
    a: { run: \"echo begun; sleep 600\", resources: { cpu: 0.1 }, lost-after: 10m }\n";

fn why(cluster: &Cluster, folder: &Path, target: &str) -> Value {
    let said = cluster.cli(folder, &["why", target, "-o", "json"]).exits(0);
    said.json()["items"][0].clone()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {value}")).to_owned()
}

#[test]
fn why_tells_how_it_ended_and_what_becomes_of_what_is_not_heard() {
    let mut cluster = Cluster::builder(BINARY).agents(1).start();
    let folder = repository(&cluster, &[("fails.yaml", FAILS), ("slow.yaml", SLOW)]);
    cluster.wait_nodes("ready", 1);

    let failed = submit(&cluster, &folder, "fails.yaml");
    cluster.wait_over(&failed, PATIENCE);
    let answer = why(&cluster, &folder, &failed);
    assert_eq!(text(&answer, "task"), format!("{failed}/a"), "not the one that was skipped");
    let sentence = text(&answer, "sentence");
    assert!(sentence.contains("exit code 3") && sentence.contains("on node-1"), "{sentence}");
    assert_eq!(answer["last_lines"], serde_json::json!(["first", "the last words"]), "{answer}");
    assert_eq!(text(&answer, "next"), format!("runyard logs {failed}/a"));
    let skipped = why(&cluster, &folder, &format!("{failed}/b"));
    assert!(text(&skipped, "sentence").contains("a failed"), "{skipped}");
    let told = cluster.cli(&folder, &["why", &failed]).exits(0);
    assert!(told.stdout.contains("│ the last words"), "{told}");

    let slow = submit(&cluster, &folder, "slow.yaml");
    wait_task(&cluster, &slow, "running");
    let answer = why(&cluster, &folder, &slow);
    assert!(text(&answer, "sentence").starts_with("it runs on node-1 since "), "{answer}");
    cluster.kill("node-1");
    cluster.wait_nodes("unreachable", 1);
    let answer = why(&cluster, &folder, &slow);
    let sentence = text(&answer, "sentence");
    assert_eq!(text(&answer, "state"), "unknown");
    assert!(sentence.contains("node-1, which is unreachable since 20"), "{sentence}");
    assert!(sentence.contains("it will be placed again at 20"), "{sentence}");
    assert_eq!(text(&answer, "next"), "runyard nodes get node-1");
    // The stage is waited for ten minutes from when its node fell silent.
    let instants: Vec<&str> =
        sentence.split(['a', ' ', ';']).filter(|w| w.ends_with('Z')).collect();
    let [since, until] = instants.as_slice() else { panic!("two instants in {sentence}") };
    let seconds = |at: &str| {
        let (hour, rest) = at.split_once('T').expect("a time").1.split_once(':').expect("minutes");
        let (minute, second) = rest.trim_end_matches('Z').split_once(':').expect("seconds");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        number(hour) * 3_600 + number(minute) * 60 + number(second)
    };
    let waited = (seconds(until) - seconds(since)).rem_euclid(86_400);
    assert!((590..=610).contains(&waited), "{sentence}");

    // A daemon's log is a file: no colours.
    let logs = fs_err::read_dir(cluster.root().join("cluster/logs")).expect("the logs' folder");
    let mut lines = 0;
    for log in logs.flatten() {
        let text = fs_err::read(log.path()).expect("a log");
        lines += text.iter().filter(|byte| **byte == b'\n').count();
        assert!(!text.contains(&0x1b), "an escape sequence in {}", log.path().display());
    }
    assert!(lines > 0, "the daemons wrote nothing");
    cluster.start("node-1");
    cluster.wait_nodes("ready", 1);
    cluster.cli(&folder, &["cancel", &slow]).exits(0);
    cluster.wait_over(&slow, PATIENCE);
    let answer = why(&cluster, &folder, &slow);
    assert!(text(&answer, "sentence").starts_with("it was cancelled"), "{answer}");
    cluster.stop();
}

/// A model and a deployment of one name, without any library.
const SERVES: &str = include_str!("tiny.yaml");

#[test]
fn the_log_of_what_never_ends_is_printed_and_left() {
    let mut cluster = Cluster::builder(BINARY).agents(1).gateway().start();
    let folder = repository(&cluster, &[("runyard.yaml", SERVES)]);
    cluster.wait_nodes("ready", 1);
    let run = submit(&cluster, &folder, "runyard.yaml");
    assert_eq!(cluster.wait_over(&run, PATIENCE)["state"], "succeeded");
    let begun = Instant::now();
    let printed = |flags: &[&str]| -> Said {
        let mut args = vec!["logs", "tiny@1/replica[0]"];
        args.extend(flags);
        cluster.cli(&folder, &args).exits(0)
    };
    wait_for("the server's first line", PATIENCE, || {
        let said = printed(&[]);
        if said.stdout.contains("serving") { Ok(()) } else { Err(said.to_string()) }
    });
    assert!(printed(&["--tail", "1"]).stdout.lines().count() <= 1);
    assert!(begun.elapsed() < PATIENCE, "it ended by itself");
    // Lines of several stages carry their names from the first on, all in one width.
    let all = cluster.cli(&folder, &["logs", &run]).exits(0).stdout;
    let bars: Vec<usize> = all.lines().filter_map(|line| line.find(" │ ")).collect();
    assert_eq!(bars.len(), all.lines().count(), "{all}");
    assert!(bars.windows(2).all(|pair| pair[0] == pair[1]), "{all}");
    cluster.stop();
}

#[test]
fn a_deployment_follows_its_alias_and_what_is_the_same_is_left_alone() {
    let mut cluster = Cluster::builder(BINARY).agents(1).gateway().start();
    let other = SERVES.replace("weights", "other weights");
    let folder = repository(&cluster, &[("runyard.yaml", SERVES), ("other.yaml", other.as_str())]);
    cluster.wait_nodes("ready", 1);
    let run = |file: &str| {
        let run = submit(&cluster, &folder, file);
        let over = cluster.wait_over(&run, PATIENCE);
        assert_eq!(over["state"], "succeeded", "{over}");
        over
    };
    let deployment = || cluster.cli(&folder, &["deploy", "get", "tiny", "-o", "json"]).json();
    let reason = |run: &Value, stage: &str| -> String {
        let stages = run["stages"].as_array().expect("stages");
        let stage = stages.iter().find(|one| one["name"] == stage).expect("the stage");
        text(&stage["tasks"][0], "reason")
    };
    run("runyard.yaml");
    // The same once more: from the cache, and nothing is registered or deployed.
    let again = run("runyard.yaml");
    assert!(reason(&again, "gate").contains("it is tiny@champion already (version 1)"), "{again}");
    assert!(reason(&again, "serve").contains("revision 1 serves just this already"), "{again}");
    assert_eq!(deployment()["revisions"].as_array().map(Vec::len), Some(1));

    run("other.yaml");
    assert_eq!(deployment()["serving_revision"], 2);
    // A person moves the alias: the deployment goes with it, and one revision is kept warm.
    let moved = ["models", "alias", "tiny@champion", "1", "--override-reason", "version 2 is rude"];
    cluster.cli(&folder, &moved).exits(0);
    wait_for("the deployment to follow", PATIENCE, || {
        let now = deployment();
        match now["serving_revision"].as_u64() {
            Some(3) => Ok(()),
            _ => Err(now.to_string()),
        }
    });
    wait_for("one warm revision", PATIENCE, || {
        let now = deployment();
        let states: Vec<(u64, String)> = now["revisions"]
            .as_array()
            .expect("revisions")
            .iter()
            .map(|one| (one["number"].as_u64().unwrap_or(0), text(one, "state")))
            .collect();
        let mut states = states;
        states.sort();
        let words: Vec<&str> = states.iter().map(|(_, state)| state.as_str()).collect();
        if words == ["retired", "warm", "serving"] { Ok(()) } else { Err(now.to_string()) }
    });
    let third = deployment();
    let third = third["revisions"].as_array().expect("revisions").iter();
    let third = third.clone().find(|one| one["number"] == 3).expect("the third").clone();
    assert_eq!(third["model_version"], 1);
    cluster.stop();
}

#[test]
fn f25_nothing_is_left_of_a_worker_whose_shim_was_killed() {
    let mut cluster = Cluster::builder(BINARY).agents(1).start();
    let slow = SLOW.replace("lost-after: 10m", "retry: { max: 0 }");
    let folder = repository(&cluster, &[("slow.yaml", slow.as_str())]);
    cluster.wait_nodes("ready", 1);
    let run = submit(&cluster, &folder, "slow.yaml");
    wait_task(&cluster, &run, "running");
    // Who lives is read from folders that change meanwhile: asked again where none was seen.
    wait_for("a shim to kill", PATIENCE, || {
        cluster.kill_shim("node-1").ok_or_else(|| "no shim lives".to_owned())
    });
    let over = cluster.wait_over(&run, PATIENCE);
    assert_eq!(over["state"], "error", "{over}");
    let workers = cluster.agent_dir("node-1").join("workers");
    wait_for("an empty folder of workers", PATIENCE, || {
        let left: Vec<String> = fs_err::read_dir(&workers)
            .map_err(|error| error.to_string())?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            // Hidden ones are kept for the next worker, and belong to none.
            .filter(|name| !name.starts_with('.'))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    });
    cluster.stop();
}
