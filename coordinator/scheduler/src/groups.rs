//! Nodes that are alike: what a worker without preferences fits on one, at one price, it does on all.
//!
//! Where each task of a long queue has a shape of its own, this is what keeps a pass from looking at every node for
//! every task: a fleet has few kinds of machines, and best fit leaves few of them half full.

use std::collections::{BTreeMap, BTreeSet};

use crate::Availability;
use crate::candidates::first_gang;
use crate::class::Class;
use crate::predicate::fits;
use crate::score::{Typical, cost};
use crate::view::{Holder, NodeState, View};

/// All of a node by which a class without preferences is judged. The free devices come first: those with too few
/// are passed over at once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    free: usize,
    cpu: (u64, u64),
    memory: (u64, u64),
    networks: Vec<usize>,
    /// Model, memory, and whether it is free or held, in the order in which they are chosen from.
    devices: Vec<(usize, u64, u8)>,
}

impl Kind {
    /// `None` for a node that takes nothing.
    fn of(node: &NodeState<'_>) -> Option<Self> {
        if *node.availability != Availability::Open || node.reserved {
            return None;
        }
        let state = |holder| match holder {
            Holder::Nobody => 0,
            Holder::Worker(_) | Holder::Demand(_) => 1,
            Holder::Withheld(_) => 2,
        };
        let devices: Vec<_> = node
            .devices
            .iter()
            .map(|device| (device.model, device.memory, state(device.holder)))
            .collect();
        Some(Self {
            free: devices.iter().filter(|(_, _, state)| *state == 0).count(),
            cpu: (node.cpu, node.cpu_free),
            memory: (node.memory, node.memory_free),
            networks: node.networks.clone(),
            devices,
        })
    }
}

/// The open nodes by kind. Built at the first use; later uses look only at nodes touched since.
#[derive(Default)]
pub(crate) struct Groups {
    by_kind: BTreeMap<Kind, BTreeSet<usize>>,
    /// By node.
    kinds: Vec<Option<Kind>>,
    /// How far `View::touched` was read.
    read_to: usize,
}

impl Groups {
    /// Whether the class has no preference among nodes that are alike.
    pub(crate) fn serve(class: &Class) -> bool {
        class.avoid_nodes.is_empty() && class.avoid_devices.is_empty() && class.bytes.is_empty()
    }

    /// The cheapest place of a class that they serve, the same as by a scan of all nodes.
    pub(crate) fn pick(
        &mut self,
        view: &View<'_>,
        class: &Class,
        typical: &Typical,
    ) -> Option<Vec<usize>> {
        self.refresh(view);
        let enough = Kind {
            free: class.devices,
            cpu: (0, 0),
            memory: (0, 0),
            networks: Vec::new(),
            devices: Vec::new(),
        };
        let fitting = self.by_kind.range(enough..).filter_map(|(_, numbers)| {
            let first = *numbers.first()?;
            fits(view, first, class).then(|| (cost(view, first, class, typical), first, numbers))
        });
        if class.gang == 1 {
            return fitting.map(|(price, first, _)| (price, first)).min().map(|(_, n)| vec![n]);
        }
        let mut ranked: Vec<(i64, usize)> = fitting
            .flat_map(|(price, _, numbers)| numbers.iter().map(move |&number| (price, number)))
            .collect();
        ranked.sort_unstable();
        first_gang(view, class, ranked.into_iter().map(|(_, number)| number))
    }

    fn refresh(&mut self, view: &View<'_>) {
        if self.kinds.is_empty() {
            self.kinds = vec![None; view.nodes.len()];
            for number in 0..view.nodes.len() {
                self.sort_in(view, number);
            }
        } else {
            for &number in &view.touched[self.read_to..] {
                self.sort_in(view, number);
            }
        }
        self.read_to = view.touched.len();
    }

    fn sort_in(&mut self, view: &View<'_>, number: usize) {
        let kind = Kind::of(&view.nodes[number]);
        if kind == self.kinds[number] {
            return;
        }
        if let Some(old) = self.kinds[number].take()
            && let Some(numbers) = self.by_kind.get_mut(&old)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_kind.remove(&old);
            }
        }
        if let Some(kind) = &kind {
            self.by_kind.entry(kind.clone()).or_default().insert(number);
        }
        self.kinds[number] = kind;
    }
}
