//! What must hold of every pass, over random fleets and queues.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use runyard_scheduler::{
    Availability, Cluster, DEFAULT_NETWORK, Demand, Device, Limits, Node, Plan, Reason, explain,
    schedule,
};
use runyard_types::{
    ByteSize, CpuMilli, DeviceMemory, GpuRequest, NodeName, ProjectName, Resources, TaskKey,
};

fn node() -> impl Strategy<Value = Node> {
    let device = (0..3u8, 0..6u8).prop_map(|(model, state)| Device {
        uuid: String::new(),
        model: ["NVIDIA H100", "NVIDIA A100", "NVIDIA L4"][model as usize].into(),
        memory: ByteSize([80, 40, 24][model as usize]),
        holder: (state == 0).then(|| "old-1/x.1:0".into()),
        withheld: (state == 1).then(|| "xid 79".into()),
    });
    let availability = prop_oneof![
        6 => Just(Availability::Open),
        1 => Just(Availability::Cordoned("fan".into())),
        1 => Just(Availability::Lost),
    ];
    let networks =
        prop::collection::vec(prop_oneof![Just("a".to_owned()), Just("b".to_owned())], 0..3);
    (prop::collection::vec(device, 0..5), 1..9u64, 0..9u64, availability, networks).prop_map(
        |(devices, cpu, used, availability, networks)| Node {
            cpu: CpuMilli(cpu * 1_000),
            memory: ByteSize(64),
            cpu_used: CpuMilli(used.saturating_sub(3) * 1_000),
            memory_used: ByteSize(used),
            devices,
            availability,
            networks,
        },
    )
}

fn cluster() -> impl Strategy<Value = Cluster> {
    prop::collection::vec(node(), 0..7).prop_map(|nodes| {
        let named = nodes.into_iter().enumerate().map(|(n, mut node)| {
            for (d, device) in node.devices.iter_mut().enumerate() {
                device.uuid = format!("GPU-{n}-{d}");
            }
            (NodeName::new(&format!("n-{n}")).expect("a name"), node)
        });
        Cluster { nodes: named.collect() }
    })
}

fn queue() -> impl Strategy<Value = Vec<Demand>> {
    let demand = (
        (0..4u32, 0..4u8, 0..3u8),
        (0..5u64, 0..3u64),
        (0..4u32, 0..4u8),
        (0..2i32, 0..1_000_000u64),
        prop::option::weighted(0.2, (0..7usize, prop::option::of(0..4usize))),
        prop::option::weighted(0.2, 0..7usize),
    );
    let demand = demand.prop_map(|(gpu, cpu, gang, order, avoid, bytes)| {
        let name = |n: usize| NodeName::new(&format!("n-{n}")).expect("a name");
        Demand {
            key: TaskKey::parse(&ProjectName::default_project(), "d-1/x").expect("a key"),
            priority: order.0,
            since_ms: order.1,
            resources: Resources {
                gpu: GpuRequest {
                    count: gpu.0,
                    models: [vec![], vec!["h100".into()], vec!["A100".into(), "l4".into()], vec![]]
                        [gpu.1 as usize]
                        .clone(),
                    memory: DeviceMemory { min: (gpu.2 == 1).then_some(ByteSize(40)), max: None },
                },
                cpu: CpuMilli(cpu.0 * 500),
                memory: ByteSize(cpu.1 * 10),
            },
            nodes: gang.0,
            network: (gang.1 == 0).then(|| "a".to_owned()),
            avoid: avoid
                .map(|(n, d)| (name(n), d.map(|d| format!("GPU-{n}-{d}"))))
                .into_iter()
                .collect(),
            preferred: bytes.map(|n| (name(n), ByteSize(7))).into_iter().collect(),
        }
    });
    prop::collection::vec(demand, 0..14).prop_map(|mut queue| {
        let project = ProjectName::default_project();
        for (n, demand) in queue.iter_mut().enumerate() {
            demand.key = TaskKey::parse(&project, &format!("d-1/x[{n}]")).expect("a key");
        }
        queue
    })
}

const LIMITS: Limits = Limits { now_ms: 1_000_000, reserve_after_ms: 600_000, reasons: true };

/// The fleet after the placements, checking each as it goes.
fn carry_out(cluster: &Cluster, queue: &[Demand], plan: &Plan) -> Result<Cluster, TestCaseError> {
    let mut after = cluster.clone();
    for placement in &plan.placements {
        let demand = queue.iter().find(|d| d.key == placement.task).expect("of the queue");
        prop_assert_eq!(
            placement.workers.len(),
            demand.nodes.max(1) as usize,
            "not the whole gang"
        );
        let nodes: BTreeSet<_> = placement.workers.iter().map(|w| &w.node).collect();
        prop_assert_eq!(nodes.len(), placement.workers.len(), "a node twice in a gang");
        for worker in &placement.workers {
            let node = after.nodes.get_mut(&worker.node).expect("a node of the fleet");
            prop_assert_eq!(&node.availability, &Availability::Open);
            node.cpu_used.0 += demand.resources.cpu.0;
            node.memory_used.0 += demand.resources.memory.0;
            prop_assert!(demand.resources.cpu.0 == 0 || node.cpu_used <= node.cpu);
            prop_assert!(demand.resources.memory.0 == 0 || node.memory_used <= node.memory);
            prop_assert_eq!(worker.devices.len(), demand.resources.gpu.count as usize);
            for uuid in &worker.devices {
                let device = node.devices.iter_mut().find(|d| d.uuid == *uuid).expect("its device");
                prop_assert!(device.is_free(), "{} was given twice", uuid);
                prop_assert!(!demand.avoid.contains(&(worker.node.clone(), Some(uuid.clone()))));
                device.holder = Some(placement.task.to_string());
            }
        }
    }
    Ok(after)
}

/// Whether the gang could start on this fleet: written apart from the scheduler, and naively.
fn could_start(cluster: &Cluster, demand: &Demand, kept: &[NodeName]) -> bool {
    let wanted = &demand.resources;
    let mut on: BTreeMap<String, usize> = BTreeMap::new();
    for (name, node) in &cluster.nodes {
        let free = node.devices.iter().filter(|device| {
            let model = device.model.to_lowercase();
            device.is_free()
                && wanted.gpu.memory.min.is_none_or(|min| device.memory >= min)
                && (wanted.gpu.models.is_empty()
                    || wanted.gpu.models.iter().any(|m| model.contains(&m.to_lowercase())))
                && !demand.avoid.contains(&(name.clone(), Some(device.uuid.clone())))
        });
        let good = node.availability == Availability::Open
            && !kept.contains(name)
            && !demand.avoid.contains(&(name.clone(), None))
            && free.count() >= wanted.gpu.count as usize
            && node.cpu.0.saturating_sub(node.cpu_used.0) >= wanted.cpu.0
            && node.memory.0.saturating_sub(node.memory_used.0) >= wanted.memory.0;
        let networks: BTreeSet<String> = match node.networks.is_empty() {
            true => [DEFAULT_NETWORK.to_owned()].into(),
            false => node.networks.iter().cloned().collect(),
        };
        for network in networks.into_iter().filter(|_| good) {
            if demand.network.as_ref().is_none_or(|wanted| *wanted == network) {
                *on.entry(network).or_default() += 1;
            }
        }
    }
    on.values().any(|&count| count >= demand.nodes.max(1) as usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_pass_keeps_its_promises(cluster in cluster(), queue in queue()) {
        let plan = schedule(&cluster, &queue, &LIMITS);
        prop_assert_eq!(&plan, &schedule(&cluster, &queue, &LIMITS), "not deterministic");
        prop_assert_eq!(plan.placements.len() + plan.waiting.len(), queue.len());
        let after = carry_out(&cluster, &queue, &plan)?;

        let mut behind = false;
        for (n, waiting) in plan.waiting.iter().enumerate() {
            let demand = queue.iter().find(|d| d.key == waiting.task).expect("of the queue");
            let kept: &[NodeName] = match &plan.reservation {
                Some(reservation) if behind => &reservation.nodes,
                _ => &[],
            };
            prop_assert!(!could_start(&after, demand, kept), "{} waits but fits", waiting.task);
            prop_assert_eq!(waiting.position, n + 1);
            let counted: usize = waiting.reasons.iter().map(|reason| reason.nodes).sum();
            prop_assert_eq!(counted, cluster.nodes.len(), "each node counts once");
            behind |= plan.reservation.as_ref().is_some_and(|r| r.task == waiting.task);
        }
    }

    #[test]
    fn without_reasons_the_plan_is_the_same(cluster in cluster(), queue in queue()) {
        let mut plan = schedule(&cluster, &queue, &LIMITS);
        for waiting in &mut plan.waiting {
            waiting.reasons = std::sync::Arc::new([]);
        }
        prop_assert_eq!(schedule(&cluster, &queue, &Limits { reasons: false, ..LIMITS }), plan);
    }

    #[test]
    fn the_order_of_the_queue_as_given_does_not_matter(cluster in cluster(), queue in queue()) {
        let mut reversed = queue.clone();
        reversed.reverse();
        prop_assert_eq!(
            schedule(&cluster, &queue, &LIMITS),
            schedule(&cluster, &reversed, &LIMITS)
        );
    }

    #[test]
    fn explain_says_what_the_pass_does(cluster in cluster(), queue in queue()) {
        let plan = schedule(&cluster, &queue, &LIMITS);
        for demand in &queue {
            let found = explain(&cluster, &queue, &LIMITS, &demand.key).expect("in the queue");
            let placed = plan.placements.iter().find(|p| p.task == demand.key);
            prop_assert_eq!(found.placement.as_ref(), placed);
            let waiting = plan.waiting.iter().find(|w| w.task == demand.key);
            prop_assert_eq!(found.position, waiting.map(|w| w.position));
            if let Some(waiting) = waiting {
                prop_assert_eq!(&found.reasons[..], &waiting.reasons[..]);
                let all_would_do =
                    found.reasons.iter().all(|r| matches!(r.reason, Reason::GangIncomplete { .. }));
                let gang = demand.nodes.max(1) as usize;
                prop_assert!(!all_would_do || gang > 1, "one worker that fits, yet it waits");
            }
        }
    }

    #[test]
    fn a_fleet_that_could_never_run_it_is_told_at_the_door(cluster in cluster(), queue in queue()) {
        for demand in &queue {
            let empty = Cluster { nodes: cluster.nodes.iter().map(|(name, node)| {
                let devices = node.devices.iter().map(|device| Device {
                    holder: None, withheld: None, ..device.clone()
                }).collect();
                let (cpu_used, memory_used) = (CpuMilli(0), ByteSize(0));
                (name.clone(), Node { cpu_used, memory_used, devices,
                    availability: Availability::Open, ..node.clone() })
            }).collect() };
            let alone = Demand { network: None, avoid: BTreeSet::new(), ..demand.clone() };
            let fits = runyard_scheduler::ever_fits(&cluster, &alone.resources, alone.nodes);
            let placed = schedule(&empty, std::slice::from_ref(&alone), &LIMITS).placements;
            prop_assert_eq!(fits.is_ok(), !placed.is_empty());
        }
    }
}
