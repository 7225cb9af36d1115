//! A pass over the queue: demands in order, candidates, placements.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::candidates::{Candidates, pick_once};
use crate::class::{Class, Shape};
use crate::groups::Groups;
use crate::predicate::choose_devices;
use crate::reason::count_reasons;
use crate::reserve;
use crate::score::Typical;
use crate::view::{Holder, View};
use crate::{
    Cluster, Demand, Limits, Placement, Plan, ReasonCount, Reservation, Waiting, WorkerPlacement,
};

/// Places what fits, in order of priority, age and key, and says of the rest why it waits.
///
/// What does not fit is passed over; see [`Limits::reserve_after_ms`] for what keeps it from
/// starving. Equal demands are tried once: the cost is classes × nodes, not demands × nodes.
pub fn schedule(cluster: &Cluster, queue: &[Demand], limits: &Limits) -> Plan {
    Pass::run(cluster, queue, limits).plan(limits.reasons)
}

/// A pass after its last placement.
pub(crate) struct Pass<'a> {
    pub(crate) view: View<'a>,
    pub(crate) queue: &'a [Demand],
    classes: Vec<Entry>,
    placements: Vec<Placement>,
    /// Places in the queue, in order.
    pub(crate) waiting: Vec<Unplaced>,
    pub(crate) reserved: Option<(usize, Vec<usize>)>,
    groups: Groups,
}

/// A demand that got no place.
#[derive(Clone, Copy)]
pub(crate) struct Unplaced {
    pub(crate) demand: usize,
    class: usize,
    /// It comes after the demand for which nodes are kept.
    pub(crate) behind_reservation: bool,
}

struct Entry {
    class: Class,
    members: usize,
    candidates: Candidates,
    /// In a pass room only shrinks: what has failed once fails to the end.
    exhausted: bool,
    unreservable: bool,
}

impl<'a> Pass<'a> {
    pub(crate) fn run(cluster: &'a Cluster, queue: &'a [Demand], limits: &Limits) -> Self {
        let mut view = View::new(cluster);
        let order = in_order(queue);
        let (mut classes, class_of) = classify(queue, &order, &view);
        let typical = Typical::new(classes.iter().map(|entry| (&entry.class, entry.members)));
        for node in &mut view.nodes {
            node.fragments = typical.fragments(node, &[], 0, 0);
        }
        let mut pass = Self {
            view,
            queue,
            classes: Vec::new(),
            placements: Vec::new(),
            waiting: Vec::new(),
            reserved: None,
            groups: Groups::default(),
        };
        for (&demand, &class) in order.iter().zip(&class_of) {
            let entry = &mut classes[class];
            match pass.nodes_for(entry, &typical) {
                Some(nodes) => pass.place(demand, &entry.class, &nodes, &typical),
                None => {
                    let behind_reservation = pass.reserved.is_some();
                    pass.waiting.push(Unplaced { demand, class, behind_reservation });
                    pass.reserve(demand, entry, limits);
                }
            }
        }
        pass.classes = classes;
        pass
    }

    fn nodes_for(&mut self, entry: &mut Entry, typical: &Typical) -> Option<Vec<usize>> {
        if entry.exhausted {
            return None;
        }
        let nodes = match entry.members {
            1 if Groups::serve(&entry.class) => {
                let found = self.groups.pick(&self.view, &entry.class, typical);
                debug_assert_eq!(
                    found,
                    pick_once(&self.view, &entry.class, typical),
                    "nodes of one kind differ"
                );
                found
            }
            1 => pick_once(&self.view, &entry.class, typical),
            _ => entry.candidates.pick(&self.view, &entry.class, typical),
        };
        entry.exhausted = nodes.is_none();
        nodes
    }

    fn place(&mut self, demand: usize, class: &Class, nodes: &[usize], typical: &Typical) {
        let workers = nodes.iter().map(|&number| {
            let places = choose_devices(&self.view, number, class);
            let node = &mut self.view.nodes[number];
            node.cpu_free -= class.cpu;
            node.memory_free -= class.memory;
            node.given_to.push(demand);
            let take = |&place: &usize| {
                node.devices[place].holder = Holder::Demand(demand);
                node.devices[place].uuid.to_owned()
            };
            let devices = places.iter().map(take).collect();
            let node = &mut self.view.nodes[number];
            node.fragments = typical.fragments(node, &[], 0, 0);
            self.view.touched.push(number);
            WorkerPlacement { node: node.name.clone(), devices }
        });
        let workers = workers.collect();
        self.placements.push(Placement { task: self.queue[demand].key.clone(), workers });
    }

    /// Keeps nodes for the demand if it is the first that has waited long enough.
    fn reserve(&mut self, demand: usize, entry: &mut Entry, limits: &Limits) {
        let waited = limits.now_ms.saturating_sub(self.queue[demand].since_ms);
        if self.reserved.is_some() || entry.unreservable || waited < limits.reserve_after_ms {
            return;
        }
        let Some(nodes) = reserve::nodes_for(&self.view, &entry.class) else {
            entry.unreservable = true;
            return;
        };
        for &number in &nodes {
            self.view.nodes[number].reserved = true;
            self.view.touched.push(number);
        }
        self.reserved = Some((demand, nodes));
    }

    pub(crate) fn class_of(&self, unplaced: Unplaced) -> &Class {
        &self.classes[unplaced.class].class
    }

    /// The key of the demand for which nodes are kept.
    pub(crate) fn reserved_for(&self) -> Option<usize> {
        self.reserved.as_ref().map(|&(demand, _)| demand)
    }

    pub(crate) fn placement(&self, task: &runyard_types::TaskKey) -> Option<&Placement> {
        self.placements.iter().find(|placement| placement.task == *task)
    }

    fn plan(self, with_reasons: bool) -> Plan {
        // Equal demands on the same side of the reservation share their reasons.
        let mut known: BTreeMap<(usize, bool), Arc<[ReasonCount]>> = BTreeMap::new();
        let none: Arc<[ReasonCount]> = Arc::new([]);
        let waiting = self.waiting.iter().enumerate().map(|(ahead, &unplaced)| {
            let reasons = match with_reasons {
                true => known
                    .entry((unplaced.class, unplaced.behind_reservation))
                    .or_insert_with(|| count_reasons(&self, unplaced).into()),
                false => &none,
            };
            Waiting {
                task: self.queue[unplaced.demand].key.clone(),
                position: ahead + 1,
                reasons: Arc::clone(reasons),
            }
        });
        let waiting = waiting.collect();
        let reservation = self.reserved.map(|(demand, nodes)| Reservation {
            task: self.queue[demand].key.clone(),
            nodes: nodes.iter().map(|&number| self.view.nodes[number].name.clone()).collect(),
        });
        Plan { placements: self.placements, waiting, reservation }
    }
}

/// Places in the queue: higher priority first, then the older, then by key.
fn in_order(queue: &[Demand]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..queue.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&queue[a], &queue[b]);
        b.priority
            .cmp(&a.priority)
            .then(a.since_ms.cmp(&b.since_ms))
            .then_with(|| a.key.cmp(&b.key))
    });
    order
}

/// The classes in order of first appearance, and the class of each demand of `order`.
fn classify(queue: &[Demand], order: &[usize], view: &View<'_>) -> (Vec<Entry>, Vec<usize>) {
    let mut known: BTreeMap<Shape<'_>, usize> = BTreeMap::new();
    let mut classes: Vec<Entry> = Vec::new();
    let class_of = order.iter().map(|&demand| {
        let demand = &queue[demand];
        let class = *known.entry(Shape::of(demand)).or_insert_with(|| {
            classes.push(Entry {
                class: Class::new(demand, view),
                members: 0,
                candidates: Candidates::default(),
                exhausted: false,
                unreservable: false,
            });
            classes.len() - 1
        });
        classes[class].members += 1;
        class
    });
    let class_of = class_of.collect();
    (classes, class_of)
}
