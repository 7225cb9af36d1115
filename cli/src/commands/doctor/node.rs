//! The checks of one node, from what its agent has told the coordinator.

use runyard_proto::v1;

use super::Check;
use crate::output::age;

/// All checks of a node.
pub(super) fn checks(node: &v1::Node, coordinator: &str, now_ms: u64) -> Vec<Check> {
    let name = &node.name;
    let mut checks = vec![liveness(node, now_ms), eligibility(node)];
    checks.push(match node.version.as_str() {
        same if same == coordinator => Check::ok("version", same),
        other => Check::warn(
            "version",
            format!("its agent is {other}, the coordinator {coordinator}"),
            "one version apart works; install the same for all",
        ),
    });
    checks.push(isolation(node));
    checks.extend(devices(node));
    checks.push(match (node.orphans.len(), node.orphans.first()) {
        (0, _) => Check::ok("orphans", "every worker there is known"),
        (count, first) => Check::warn(
            "orphans",
            format!("{count} workers that nobody knows, as {}", first.cloned().unwrap_or_default()),
            format!("`runyard nodes get {name}` lists them; `runyard nodes stop-orphan {name} WORKER` stops one"),
        ),
    });
    checks.push(match node.address.is_empty() {
        false => Check::ok("address", node.address.clone()),
        true => Check::warn(
            "address",
            "it has told none, so no gang can span it",
            "start its agent with --advertise HOST",
        ),
    });
    checks
}

fn liveness(node: &v1::Node, now_ms: u64) -> Check {
    let seen = match node.last_seen_ms {
        0 => "never heard".to_owned(),
        at => format!("heard {} ago", age(now_ms, at)),
    };
    match node.liveness.as_str() {
        "ready" => Check::ok("liveness", seen),
        state => Check::fail(
            "liveness",
            format!("{state}, {seen}"),
            "is its agent running? `systemctl status runyard-agent` there, and its way to the coordinators",
        ),
    }
}

fn eligibility(node: &v1::Node) -> Check {
    let reason = if node.reason.is_empty() { String::new() } else { format!(" ({})", node.reason) };
    match node.eligibility.as_str() {
        "open" => Check::ok("eligibility", "open"),
        state => Check::warn(
            "eligibility",
            format!("{state}{reason}: it takes no new work"),
            format!("`runyard nodes uncordon {}` opens it", node.name),
        ),
    }
}

fn isolation(node: &v1::Node) -> Check {
    // The agent says itself where its promise is a weaker one.
    match (node.isolation.is_empty(), !node.isolation.contains("WEAKER")) {
        (true, _) => Check::warn("isolation", "not told yet", "look again once the agent is ready"),
        (false, true) => Check::ok("isolation", node.isolation.clone()),
        (false, false) => Check::warn(
            "isolation",
            node.isolation.clone(),
            "run the agent as root, or allow user namespaces and delegate a cgroup to it",
        ),
    }
}

fn devices(node: &v1::Node) -> Vec<Check> {
    let simulated = node.devices.iter().filter(|device| device.simulated).count();
    let mut checks = Vec::new();
    for device in &node.devices {
        if !matches!(device.health.as_str(), "" | "ok") {
            checks.push(Check::fail(
                "device",
                format!("{} {} ({}): {}", device.index, device.model, device.uuid, device.health),
                "it is not offered until it is well; look at the driver's log on the host",
            ));
        }
    }
    if checks.is_empty() {
        checks.push(match (node.devices.len(), simulated) {
            (0, _) => Check::warn(
                "devices",
                "it offers no GPU",
                "does `nvidia-smi -L` there list them? is libnvidia-ml in reach of the agent?",
            ),
            (count, 0) => Check::ok("devices", format!("{count} GPUs, all well")),
            (count, simulated) => {
                Check::ok("devices", format!("{count} GPUs, {simulated} of them simulated"))
            }
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn states(node: &v1::Node) -> Vec<(&'static str, State)> {
        checks(node, "1.0", 20_000).iter().map(|check| (check.name, check.state)).collect()
    }

    #[test]
    fn a_node_that_is_well_and_one_that_is_not() {
        let mut node = v1::Node {
            name: "gpu-01".into(),
            liveness: "ready".into(),
            eligibility: "open".into(),
            version: "1.0".into(),
            isolation: "process: PID namespace, cgroup v2".into(),
            address: "10.0.0.1".into(),
            last_seen_ms: 19_000,
            devices: vec![v1::Device { model: "H100".into(), ..Default::default() }],
            ..Default::default()
        };
        assert!(states(&node).iter().all(|(_, state)| *state == State::Ok), "{:?}", states(&node));
        node.liveness = "unreachable".into();
        node.eligibility = "cordoned".into();
        node.isolation = "process; WEAKER: no PID namespace and no cgroup here".into();
        node.orphans = vec!["d-1/train.1:0".into()];
        node.devices[0].health = "XID 79".into();
        let wrong: Vec<&str> = states(&node)
            .into_iter()
            .filter(|(_, state)| *state != State::Ok)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(wrong, ["liveness", "eligibility", "isolation", "device", "orphans"]);
    }
}
