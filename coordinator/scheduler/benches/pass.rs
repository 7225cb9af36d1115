//! A scheduler pass over 1,000 nodes and 10,000 waiting tasks, beside its limits: steady under
//! 10 ms, from cold under 200 ms. Steady: all devices are taken and nothing starts. Cold: the fleet is empty and fills up in the one pass.

use std::time::{Duration, Instant};

use divan::Bencher;
use runyard_scheduler::{Cluster, Demand, Device, Limits, Node, schedule};
use runyard_types::{ByteSize, CpuMilli, GpuRequest, NodeName, ProjectName, Resources, TaskKey};

const NODES: usize = 1_000;
const TASKS: usize = 10_000;
const STEADY_MAX: Duration = Duration::from_millis(10);
const COLD_MAX: Duration = Duration::from_millis(200);
const RUNS: usize = 7;
/// As the leader asks for it; of one task, `why` tells the reasons.
const LIMITS: Limits = Limits { now_ms: 0, reserve_after_ms: 600_000, reasons: false };

fn main() {
    beside_limit("steady, one shape", &cluster(true), &queue(1), STEADY_MAX);
    beside_limit("steady, 24 shapes", &cluster(true), &queue(24), STEADY_MAX);
    beside_limit("cold, one shape", &cluster(false), &queue(1), COLD_MAX);
    beside_limit("cold, 24 shapes", &cluster(false), &queue(24), COLD_MAX);

    // The worst case for classes of equal demands: every task has a shape of its own.
    beside_limit("cold, 10,000 shapes", &cluster(false), &queue(TASKS), COLD_MAX);
    beside_limit("steady, 10,000 shapes", &cluster(true), &queue(TASKS), COLD_MAX);
    divan::main();
}

#[divan::bench(args = [1, 24])]
fn steady(bencher: Bencher<'_, '_>, shapes: usize) {
    let (cluster, queue) = (cluster(true), queue(shapes));
    bencher.bench(|| schedule(&cluster, &queue, &LIMITS));
}

#[divan::bench(args = [1, 24], sample_count = 20)]
fn cold(bencher: Bencher<'_, '_>, shapes: usize) {
    let (cluster, queue) = (cluster(false), queue(shapes));
    bencher.bench(|| schedule(&cluster, &queue, &LIMITS));
}

fn beside_limit(what: &str, cluster: &Cluster, queue: &[Demand], limit: Duration) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            divan::black_box(schedule(cluster, queue, &LIMITS));
            start.elapsed()
        })
        .collect();
    times.sort();
    let median = times[RUNS / 2];
    let ratio = median.as_secs_f64() / limit.as_secs_f64();
    println!("{what:<22} median {median:>10.2?}   limit {limit:?}   ratio {ratio:.2}");
}

/// Half the nodes have 8 devices, a quarter 4 of another model, a quarter none.
fn cluster(full: bool) -> Cluster {
    let nodes = (0..NODES).map(|n| {
        let (count, model, memory) = match n % 4 {
            0 | 1 => (8, "NVIDIA H100 80GB HBM3", 80),
            2 => (4, "NVIDIA A100-SXM4-40GB", 40),
            _ => (0, "", 0),
        };
        let devices = (0..count).map(|d| Device {
            uuid: format!("GPU-{n:04}-{d}"),
            model: model.into(),
            memory: ByteSize(memory << 30),
            holder: full.then(|| format!("old-{n}/train.1:0")),
            withheld: None,
        });
        let cpu = CpuMilli(64_000);
        let node = Node {
            cpu,
            memory: ByteSize(512 << 30),
            cpu_used: if full { CpuMilli(63_500) } else { CpuMilli(0) },
            devices: devices.collect(),
            ..Node::default()
        };
        (NodeName::new(&format!("node-{n:04}")).expect("a valid name"), node)
    });
    Cluster { nodes: nodes.collect() }
}

fn queue(shapes: usize) -> Vec<Demand> {
    let project = ProjectName::default_project();
    (0..TASKS)
        .map(|t| {
            let shape = t % shapes;
            let key = TaskKey::parse(&project, &format!("sweep-1/train[{t}]"));
            Demand {
                key: key.expect("a valid key"),
                priority: 0,
                since_ms: t as u64,
                resources: Resources {
                    gpu: GpuRequest { count: (shape % 4) as u32 + 1, ..GpuRequest::default() },
                    cpu: CpuMilli(1_000 + shape as u64),
                    memory: ByteSize(1 << 30),
                },
                nodes: if shape % 12 == 11 { 4 } else { 1 },
                network: None,
                avoid: Default::default(),
                preferred: Default::default(),
            }
        })
        .collect()
}
