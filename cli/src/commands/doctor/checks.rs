//! The checks themselves.

use std::process::Stdio;
use std::time::{Duration, Instant};

use runyard_proto::v1;
use tokio::process::Command;

use super::Check;
use crate::client::{Client, once};
use crate::context::Env;
use crate::errors::Kind;
use crate::output::{age, duration};

/// The clock offset beyond which times mislead, in milliseconds.
const CLOCK_MS_MAX: u64 = 2_000;
/// The answer time beyond which work feels slow.
const SLOW: Duration = Duration::from_millis(500);

/// All checks, in order: those that need a cluster only where one answers.
pub(super) async fn all(env: &Env) -> Vec<Check> {
    let mut checks = vec![git().await, python().await];
    checks.push(limits());
    let connection = match env.connection() {
        Ok(connection) => connection,
        Err(error) => {
            let remedy = "start one with `runyard dev`, or `runyard login HOST:PORT`";
            checks.push(match error.kind {
                Kind::Usage => Check::warn("cluster", error.message(), remedy),
                _ => Check::fail("cluster", error.message(), "`runyard context ls` shows contexts"),
            });
            return checks;
        }
    };
    checks.push(Check::ok(
        "cluster",
        format!("{} ({})", connection.addresses.join(", "), connection.origin),
    ));
    let begun = Instant::now();
    let client = match Client::connect(&connection, &env.project).await {
        Ok(client) => client,
        Err(error) => {
            let remedy = "is a coordinator running there? are the address and the firewall right?";
            checks.push(Check::fail("connection", error.message(), remedy));
            return checks;
        }
    };
    checks.push(Check::ok("connection", format!("TLS, in {:.0?}", begun.elapsed())));
    coordinator(env, &client, &mut checks).await;
    checks
}

async fn coordinator(env: &Env, client: &Client, checks: &mut Vec<Check>) {
    let begun = Instant::now();
    let status = match once(client.fleet().status(v1::StatusRequest {})).await {
        Ok(status) => status,
        Err(error) if error.kind == Kind::Auth => {
            let remedy = "log in again: `runyard login HOST:PORT`";
            checks.push(Check::fail("token", error.message(), remedy));
            return;
        }
        Err(error) => {
            checks.push(Check::fail(
                "coordinator",
                error.message(),
                "look at the coordinator's log",
            ));
            return;
        }
    };
    let took = begun.elapsed();
    let now_ms = env.printer.look().now_ms;
    checks.push(Check::ok("token", format!("you are {}", status.principal)));
    let answer =
        format!("{} for {}, answered in {took:.0?}", status.role, age(now_ms, status.started_ms));
    checks.push(match took > SLOW {
        true => Check::warn("coordinator", answer, "the way there, or its disk, is slow"),
        false => Check::ok("coordinator", answer),
    });
    let here = env!("CARGO_PKG_VERSION");
    checks.push(match status.version == here {
        true => Check::ok("version", here),
        false => Check::warn(
            "version",
            format!("this program is {here}, the coordinator {}", status.version),
            "one version apart works; install the same for all",
        ),
    });
    // Half the answer time lies on the way back.
    let offset = now_ms.abs_diff(status.now_ms + u64::try_from(took.as_millis() / 2).unwrap_or(0));
    checks.push(match offset > CLOCK_MS_MAX {
        true => Check::warn(
            "clock",
            format!("{} off the coordinator's", duration(0, 1, offset + 1)),
            "let NTP or chrony set both clocks",
        ),
        false => Check::ok("clock", format!("{offset} ms off the coordinator's")),
    });
    checks.push(match status.disk.as_str() {
        "" | "ok" => Check::ok("disk", "the coordinator's log has room"),
        state => Check::fail(
            "disk",
            format!("the coordinator's disk is at `{state}`: new work is refused"),
            "make room in its data directory",
        ),
    });
    nodes(client, checks).await;
}

async fn nodes(client: &Client, checks: &mut Vec<Check>) {
    let nodes = match once(client.fleet().list_nodes(v1::ListNodesRequest {})).await {
        Ok(answer) => answer.items,
        Err(error) => {
            checks.push(Check::warn("nodes", error.message(), "`runyard whoami` shows your roles"));
            return;
        }
    };
    let away: Vec<&str> =
        nodes.iter().filter(|n| n.liveness != "ready").map(|n| n.name.as_str()).collect();
    let sick: Vec<String> = nodes
        .iter()
        .flat_map(|node| node.devices.iter().map(move |device| (node, device)))
        .filter(|(_, device)| !matches!(device.health.as_str(), "" | "ok"))
        .map(|(node, device)| format!("{}/{} {}", node.name, device.index, device.health))
        .collect();
    let remedy = "`runyard nodes get NAME` tells more";
    checks.push(match (nodes.len(), away.len()) {
        (0, _) => Check::warn(
            "nodes",
            "none",
            "`runyard token create agent`, then `runyard agent --join …` on a host",
        ),
        (all, 0) => Check::ok("nodes", format!("all {all} ready")),
        (all, count) => {
            Check::warn("nodes", format!("{count} of {all} away: {}", away.join(", ")), remedy)
        }
    });
    if !sick.is_empty() {
        checks.push(Check::fail("devices", sick.join("; "), remedy));
    }
}

async fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(5), child).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

async fn git() -> Check {
    match first_line("git", &["--version"]).await {
        Some(version) => Check::ok("git", version),
        None => Check::warn("git", "not found", "runs will not know their commit; install git"),
    }
}

/// What stages with `python:` need on each node; here it matters for `dev` and `demo`.
async fn python() -> Check {
    let uv = first_line("uv", &["--version"]).await;
    let script = "import sys, venv, ensurepip; print('python', sys.version.split()[0])";
    match (first_line("python3", &["-c", script]).await, uv) {
        (_, Some(uv)) => Check::ok("python", format!("environments by {uv}")),
        (Some(version), None) => {
            Check::ok("python", format!("environments by {version} with venv"))
        }
        (None, None) => Check::warn(
            "python",
            "neither uv nor python3 with venv and pip",
            "install uv, or python3 with its venv module, where stages have `python:`",
        ),
    }
}

fn limits() -> Check {
    use nix::sys::resource::{Resource, getrlimit};
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft < 1_024 => {
            Check::warn("open files", format!("at most {soft}"), "raise it: `ulimit -n 4096`")
        }
        Ok((soft, _)) => Check::ok("open files", format!("at most {soft}")),
        Err(error) => Check::warn("open files", error.to_string(), "the limit is unknown"),
    }
}
