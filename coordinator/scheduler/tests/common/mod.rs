//! The language of the scenarios: one line for a node, a holder, a task; a line for a decision.
//!
//! ```text
//! node gpu-1 cpu=8 mem=64GB gpu=4xH100:80GB net=a,b [cordoned=why] [draining=why] [unreachable] [lost]
//! busy gpu-1 gpu=0,1 cpu=2 mem=1GB by=digits-1/train.1:0
//! withheld gpu-1 gpu=3 why=xid-79
//! task d-2/train[0] gpu=2 model=h100 gpumem=40GB cpu=1 mem=1GB nodes=2 prio=1 since=5 net=a
//!      avoid=gpu-1,gpu-2:0 bytes=gpu-1:5GB
//! now 900000
//! explain d-2/train[0]
//! fits gpu=8 model=h100 nodes=1
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

use runyard_scheduler::{
    Availability, Cluster, Demand, Device, Explanation, Limits, Node, Plan, ever_fits, explain,
    schedule,
};
use runyard_types::{
    ByteSize, CpuMilli, DeviceMemory, GpuRequest, NodeName, ProjectName, Resources, TaskKey,
};

#[derive(Default)]
struct Scenario {
    cluster: Cluster,
    queue: Vec<Demand>,
    limits: Limits,
    out: String,
}

/// Runs a scenario and says what came of it.
pub(crate) fn run(text: &str) -> String {
    let mut scenario = Scenario::default();
    let mut asked = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            ["node", name, ref rest @ ..] => scenario.node(name, &Args::new(rest)),
            ["busy", name, ref rest @ ..] => scenario.busy(name, &Args::new(rest)),
            ["withheld", name, ref rest @ ..] => scenario.withheld(name, &Args::new(rest)),
            ["task", key, ref rest @ ..] => {
                let demand = scenario.demand(key, &Args::new(rest));
                scenario.queue.push(demand);
            }
            ["now", ms] => scenario.limits.now_ms = ms.parse().expect("now MS"),
            ["explain", key] => {
                asked = true;
                let limits = scenario.limits;
                let found = explain(&scenario.cluster, &scenario.queue, &limits, &task(key));
                scenario.out += &explanation(&found.expect("the task is in the queue"));
            }
            ["fits", ref rest @ ..] => {
                asked = true;
                let demand = scenario.demand("fits-1/x", &Args::new(rest));
                match ever_fits(&scenario.cluster, &demand.resources, demand.nodes) {
                    Ok(()) => scenario.out += "fits\n",
                    Err(never) => scenario.out += &format!("never: {never}\n"),
                }
            }
            _ => panic!("unknown line: {line}"),
        }
    }
    if !asked {
        let made = schedule(&scenario.cluster, &scenario.queue, &scenario.limits);
        scenario.out += &plan(&made);
    }
    scenario.out
}

pub(crate) fn task(key: &str) -> TaskKey {
    TaskKey::parse(&ProjectName::default_project(), key).expect("a task key")
}

pub(crate) fn node_name(name: &str) -> NodeName {
    NodeName::new(name).expect("a node name")
}

struct Args<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Args<'a> {
    fn new(words: &[&'a str]) -> Self {
        Self(words.iter().map(|word| word.split_once('=').unwrap_or((word, ""))).collect())
    }
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }
    fn number(&self, key: &str, default: u64) -> u64 {
        self.get(key).map_or(default, |text| text.parse().expect("a number"))
    }
    fn cpu(&self, default: u64) -> CpuMilli {
        self.get("cpu").map_or(CpuMilli(default), |text| CpuMilli::parse(text).expect("CPUs"))
    }
    fn bytes(&self, key: &str, default: u64) -> ByteSize {
        self.get(key).map_or(ByteSize(default), |text| ByteSize::parse(text).expect("a size"))
    }
    fn list(&self, key: &str) -> Vec<&'a str> {
        self.get(key).map_or(Vec::new(), |text| text.split(',').collect())
    }
}

impl Scenario {
    fn node(&mut self, name: &str, args: &Args<'_>) {
        let mut devices = Vec::new();
        for group in args.list("gpu") {
            let (count, rest) = group.split_once('x').expect("4xH100:80GB");
            let (model, memory) = rest.split_once(':').expect("4xH100:80GB");
            for _ in 0..count.parse::<usize>().expect("a count") {
                devices.push(Device {
                    uuid: format!("{name}:{}", devices.len()),
                    model: format!("NVIDIA {model}"),
                    memory: ByteSize::parse(memory).expect("a size"),
                    ..Device::default()
                });
            }
        }
        let availability = match (args.get("cordoned"), args.get("draining")) {
            (Some(why), _) => Availability::Cordoned(why.into()),
            (_, Some(why)) => Availability::Draining(why.into()),
            _ if args.get("unreachable").is_some() => Availability::Unreachable,
            _ if args.get("lost").is_some() => Availability::Lost,
            _ if args.get("reconciling").is_some() => Availability::Reconciling,
            _ => Availability::Open,
        };
        let node = Node {
            cpu: args.cpu(8_000),
            memory: args.bytes("mem", 64_000_000_000),
            devices,
            availability,
            networks: args.list("net").into_iter().map(str::to_owned).collect(),
            ..Node::default()
        };
        self.cluster.nodes.insert(node_name(name), node);
    }

    fn busy(&mut self, name: &str, args: &Args<'_>) {
        let node = self.cluster.nodes.get_mut(name).expect("a node named before");
        node.cpu_used.0 += args.cpu(0).0;
        node.memory_used.0 += args.bytes("mem", 0).0;
        for place in args.list("gpu") {
            let device = &mut node.devices[place.parse::<usize>().expect("a place")];
            device.holder = Some(args.get("by").expect("by=WORKER").to_owned());
        }
    }

    fn withheld(&mut self, name: &str, args: &Args<'_>) {
        let node = self.cluster.nodes.get_mut(name).expect("a node named before");
        for place in args.list("gpu") {
            let device = &mut node.devices[place.parse::<usize>().expect("a place")];
            device.withheld = Some(args.get("why").expect("why=WORDS").to_owned());
        }
    }

    fn demand(&self, key: &str, args: &Args<'_>) -> Demand {
        let avoid = args.list("avoid").into_iter().map(|place| match place.split_once(':') {
            None => (node_name(place), None),
            Some((node, _)) => (node_name(node), Some(place.to_owned())),
        });
        let preferred = args.list("bytes").into_iter().map(|place| {
            let (node, bytes) = place.split_once(':').expect("node:5GB");
            (node_name(node), ByteSize::parse(bytes).expect("a size"))
        });
        let size = |key| args.get(key).map(|text| ByteSize::parse(text).expect("a size"));
        Demand {
            key: task(key),
            priority: args.get("prio").map_or(0, |text| text.parse().expect("a priority")),
            since_ms: args.number("since", 0),
            resources: Resources {
                gpu: GpuRequest {
                    count: args.number("gpu", 0) as u32,
                    models: args.list("model").into_iter().map(str::to_owned).collect(),
                    memory: DeviceMemory { min: size("gpumem"), max: size("gpumem-max") },
                },
                cpu: args.cpu(1_000),
                memory: args.bytes("mem", 0),
            },
            nodes: args.number("nodes", 1) as u32,
            network: args.get("net").map(str::to_owned),
            avoid: avoid.collect(),
            preferred: preferred.collect(),
        }
    }
}

pub(crate) fn plan(plan: &Plan) -> String {
    let mut out = String::new();
    for placement in &plan.placements {
        let workers = placement.workers.iter().map(|worker| {
            let places: Vec<&str> =
                worker.devices.iter().filter_map(|uuid| uuid.split(':').nth(1)).collect();
            match places[..] {
                [] => worker.node.to_string(),
                _ => format!("{} gpu {}", worker.node, places.join(",")),
            }
        });
        let workers: Vec<String> = workers.collect();
        writeln!(out, "{} -> {}", placement.task, workers.join(" + ")).expect("a string");
    }
    for waiting in &plan.waiting {
        writeln!(out, "{} waits, {} in line", waiting.task, waiting.position).expect("a string");
        for reason in &*waiting.reasons {
            writeln!(out, "  {reason}").expect("a string");
        }
    }
    if let Some(reservation) = &plan.reservation {
        let nodes: Vec<&str> = reservation.nodes.iter().map(NodeName::as_str).collect();
        writeln!(out, "kept for {}: {}", reservation.task, nodes.join(", ")).expect("a string");
    }
    out
}

fn explanation(found: &Explanation) -> String {
    let mut out = String::new();
    match (&found.placement, found.position) {
        (Some(_), _) => writeln!(out, "{} is placed", found.task),
        (None, position) => writeln!(out, "{} waits, {position:?} in line", found.task),
    }
    .expect("a string");
    for reason in &found.reasons {
        writeln!(out, "  {reason}").expect("a string");
    }
    if let Some(change) = &found.change {
        writeln!(out, "  cheapest change: {change}").expect("a string");
    }
    if let Some(largest) = &found.largest {
        writeln!(out, "  largest: {largest}").expect("a string");
    }
    out
}
