use super::*;

fn look() -> Look {
    Look { now_ms: 100_000, wide: false, width: None, color: false }
}

fn device(index: u32, held_by: &str) -> v1::Device {
    v1::Device {
        index,
        uuid: format!("GPU-{index}"),
        model: "simulated-gpu".into(),
        memory_bytes: 24_000_000_000,
        simulated: true,
        held_by: held_by.into(),
        last: Some(v1::DeviceSample {
            at_ms: 99_000,
            utilization_ratio: Some(0.93),
            memory_used_bytes: Some(12_000_000_000),
            temperature_celsius: None,
            power_watts: Some(250.4),
        }),
        ..Default::default()
    }
}

fn node() -> v1::Node {
    v1::Node {
        name: "gpu-01".into(),
        liveness: "unreachable".into(),
        eligibility: "cordoned".into(),
        reason: "new fan".into(),
        cpu_milli: 16_000,
        cpu_milli_used: 2_500,
        memory_bytes: 64_000_000_000,
        memory_bytes_used: 8_000_000_000,
        devices: vec![device(0, "digits-1/train.1:0"), device(1, "")],
        isolation: "process: PID namespace, cgroup v2".into(),
        workers: vec!["digits-1/train.1:0".into()],
        orphans: vec!["old-1/train.1:0".into()],
        last_seen_ms: 85_000,
        ..Default::default()
    }
}

#[test]
fn liveness_eligibility_and_health_are_three_columns() {
    let nodes = Nodes(List { index: 3, items: vec![node()] });
    insta::assert_snapshot!(nodes.table(&look()).render(&look()));
}

#[test]
fn a_node_is_described_with_its_devices_and_orphans() {
    let view = crate::commands::describe::NodeView(node());
    insta::assert_snapshot!(view.text(&look()).expect("text"));
}
