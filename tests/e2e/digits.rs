//! The demo's pipeline under kills: of the coordinator, of the agent and of a shim, at random moments.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use runyard_harness::{COORDINATOR, Cluster, Dice, skipped, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const OVER: Duration = Duration::from_secs(300);
const TEST: &str = "digits_is_served_after_kills_of_everything";

/// The status and the body of a prediction.
fn predict(gateway: SocketAddr, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(gateway)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "POST /digits/predict HTTP/1.1\r\nhost: {gateway}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn state_of(run: &serde_json::Value, stage: &str) -> String {
    let stages = run["stages"].as_array().into_iter().flatten();
    let mut found = stages.filter(|s| s["name"] == stage);
    found.next().and_then(|s| s["state"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn digits_is_served_after_kills_of_everything() {
    let mut dice = Dice::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits");
    let mut cluster = Cluster::builder(BINARY)
        .agents(1)
        .gateway()
        .environments_in(env!("CARGO_TARGET_TMPDIR"))
        .start();
    let said = cluster.cli(&example, &["run", "-d", "-p", "model=search"]).exits(0);
    let run = said.stdout.trim().to_owned();
    let began = wait_for("the search to run", OVER, || {
        let now = cluster.run(&run)?;
        match (now["state"].as_str(), state_of(&now, "train").as_str()) {
            (Some("failed" | "error"), _) => Ok(Err(now.to_string())),
            (_, "running") => Ok(Ok(())),
            _ => Err(now.to_string()),
        }
    });
    match began {
        Err(why) if why.contains("cannot build the Python environment") => {
            return skipped(TEST, "no package index can be reached");
        }
        began => began.expect("the search runs"),
    }
    std::thread::sleep(Duration::from_millis(dice.between(500, 3_000)));
    cluster.kill_shim("node-1").expect("the search has a shim");
    for victim in [COORDINATOR, "node-1", COORDINATOR] {
        std::thread::sleep(Duration::from_millis(dice.between(100, 2_000)));
        cluster.kill(victim);
        std::thread::sleep(Duration::from_millis(dice.between(0, 1_000)));
        cluster.start(victim);
    }
    let over = cluster.wait_over(&run, OVER);
    assert_eq!(over["state"], "succeeded", "{over}");
    let train = over["stages"].as_array().into_iter().flatten().find(|s| s["name"] == "train");
    let attempts = &train.expect("a stage")["tasks"][0]["attempts"];
    assert_eq!(attempts[0]["outcome"], "error", "the killed shim is told: {over}");
    assert_eq!(attempts[1]["outcome"], "succeeded", "and the search done again: {over}");

    let warm_up = std::fs::read_to_string(example.join("warmup.jsonl")).expect("the example");
    let warm_up: serde_json::Value = serde_json::from_str(warm_up.trim()).expect("json");
    let gateway = cluster.gateway().expect("it has one");
    let body = warm_up["body"].to_string();
    let answer = wait_for("a prediction", Duration::from_secs(30), || {
        let answer = predict(gateway, &body).map_err(|error| error.to_string())?;
        if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer) }
    });
    assert!(answer.contains(r#""digits": [4, 2, 7]"#), "{answer}");
}
