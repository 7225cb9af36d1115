//! The price of a place; the lowest wins.
//!
//! Three parts, in integers so that all machines agree:
//! * **fragmentation**: how many devices, in thousandths, the placement makes useless to the typical
//!   demands of this queue (the gradient of expected fragmentation, after Weng et al., "Beware of
//!   Fragmentation", USENIX ATC 2023, for whole devices);
//! * **best fit**: what stays free on the node, as thousandths of the node;
//! * **bytes**: what of the inputs is in the node's cache already.

use crate::class::Class;
use crate::predicate::choose_devices;
use crate::view::{Holder, NodeState, View};

/// A device lost to fragmentation weighs as much as four nodes' whole leftover.
const FRAGMENT_WEIGHT: i64 = 4;
/// All inputs present outweigh half a node's leftover.
const BYTES_WEIGHT: i64 = 500;
/// Work without devices goes on a node with devices only when nothing else is left.
const DEVICE_NODE_PENALTY: i64 = 2_000;
/// As many of the commonest classes stand for the typical demand.
const TYPICAL_MAX: usize = 8;

/// The commonest classes that want devices, with their share of the queue in thousandths.
pub(crate) struct Typical {
    classes: Vec<(Class, i64)>,
}

impl Typical {
    /// `counted`: the classes with the number of demands in each, in order of first appearance.
    pub(crate) fn new<'c>(counted: impl Iterator<Item = (&'c Class, usize)>) -> Self {
        let mut classes: Vec<_> = counted.filter(|(class, _)| class.devices > 0).collect();
        classes.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        classes.truncate(TYPICAL_MAX);
        let total = classes.iter().map(|(_, count)| count).sum::<usize>().max(1) as i64;
        let share = |(class, count): (&Class, usize)| (class.clone(), count as i64 * 1_000 / total);
        Self { classes: classes.into_iter().map(share).collect() }
    }

    /// Free devices of the node that the typical demand could not use if `taken`, `cpu` and
    /// `memory` were gone, in thousandths.
    pub(crate) fn fragments(
        &self,
        node: &NodeState<'_>,
        taken: &[usize],
        cpu: u64,
        memory: u64,
    ) -> i64 {
        let is_free =
            |place: usize| node.devices[place].holder == Holder::Nobody && !taken.contains(&place);
        let free = (0..node.devices.len()).filter(|&place| is_free(place)).count();
        if free == 0 {
            return 0;
        }
        let cpu_free = node.cpu_free.saturating_sub(cpu);
        let memory_free = node.memory_free.saturating_sub(memory);
        let hosts = |class: &Class| {
            let fit = node.devices.iter().enumerate().filter(|(place, device)| {
                class.models[device.model]
                    && class.device_memory.contains(&device.memory)
                    && is_free(*place)
            });
            cpu_free >= class.cpu && memory_free >= class.memory && fit.count() >= class.devices
        };
        let lost = self.classes.iter().filter(|(class, _)| !hosts(class)).map(|(_, share)| share);
        lost.sum::<i64>() * free as i64
    }
}

/// The price of a worker of `class` on a node that it fits.
pub(crate) fn cost(view: &View<'_>, number: usize, class: &Class, typical: &Typical) -> i64 {
    let node = &view.nodes[number];
    let taken = choose_devices(view, number, class);
    let fragments = typical.fragments(node, &taken, class.cpu, class.memory) - node.fragments;
    let devices = match (class.devices, node.devices.len()) {
        (0, 0) => 0,
        (0, _) => DEVICE_NODE_PENALTY,
        (_, total) => {
            let free = node.devices.iter().filter(|d| d.holder == Holder::Nobody).count();
            thousandths((free - taken.len()) as u64, total as u64)
        }
    };
    let leftover = devices
        + (thousandths(node.cpu_free - class.cpu, node.cpu)
            + thousandths(node.memory_free - class.memory, node.memory))
            / 2;
    let most = class.bytes.values().copied().max().unwrap_or(0);
    let present = class.bytes.get(&number).copied().unwrap_or(0);
    let bytes = thousandths(present, most) * BYTES_WEIGHT / 1_000;
    FRAGMENT_WEIGHT * fragments + leftover - bytes
}

fn thousandths(part: u64, whole: u64) -> i64 {
    if whole == 0 {
        return 0;
    }
    (u128::from(part.min(whole)) * 1_000 / u128::from(whole)) as i64
}
