//! The one test of whether a worker can go on a node: placement asks it for yes or no, `why` for
//! everything in the way.

use crate::Availability;
use crate::class::Class;
use crate::view::{Holder, NodeState, View};

/// One thing in the way of a worker on a node; the figure is what the node has or has free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocker {
    TooFewDevices(usize),
    WrongModel(usize),
    DeviceMemory(usize),
    Cpu(u64),
    Memory(u64),
    Network,
    NotOpen,
    Reserved,
    Avoided,
    DevicesBusy(usize),
    DevicesWithheld(usize),
    CpuBusy(u64),
    MemoryBusy(u64),
}

impl Blocker {
    /// It goes away when running work ends.
    pub(crate) fn passes(self) -> bool {
        matches!(self, Self::DevicesBusy(_) | Self::CpuBusy(_) | Self::MemoryBusy(_))
    }
}

/// Whether a worker of `class` can start on the node now.
pub(crate) fn fits(view: &View<'_>, number: usize, class: &Class) -> bool {
    let mut clear = true;
    visit(view, number, class, view.nodes[number].reserved, |_| {
        clear = false;
        false
    });
    clear
}

/// All that is in the way on the node, the lasting before the passing.
///
/// `reserved`: whether a reservation of the node counts, which it does for what is behind its owner.
pub(crate) fn blockers(
    view: &View<'_>,
    number: usize,
    class: &Class,
    reserved: bool,
) -> Vec<Blocker> {
    let mut all = Vec::new();
    visit(view, number, class, reserved && view.nodes[number].reserved, |blocker| {
        all.push(blocker);
        true
    });
    all
}

/// The first of [`blockers`]: the one by which the node is counted.
pub(crate) fn first_blocker(
    view: &View<'_>,
    number: usize,
    class: &Class,
    reserved: bool,
) -> Option<Blocker> {
    let mut first = None;
    visit(view, number, class, reserved && view.nodes[number].reserved, |blocker| {
        first = Some(blocker);
        false
    });
    first
}

/// Calls `found` for each blocker until it answers false.
fn visit(
    view: &View<'_>,
    number: usize,
    class: &Class,
    reserved: bool,
    mut found: impl FnMut(Blocker) -> bool,
) {
    let node = &view.nodes[number];
    let devices = Counts::of(node, number, class);
    let lasting = [
        devices.hardware(node, class),
        (node.cpu < class.cpu).then_some(Blocker::Cpu(node.cpu)),
        (node.memory < class.memory).then_some(Blocker::Memory(node.memory)),
        class
            .network
            .filter(|wanted| wanted.is_none_or(|wanted| !node.networks.contains(&wanted)))
            .map(|_| Blocker::Network),
        (*node.availability != Availability::Open).then_some(Blocker::NotOpen),
        reserved.then_some(Blocker::Reserved),
        (class.avoid_nodes.contains(&number)
            || devices.fit >= class.devices && devices.fit - devices.avoided < class.devices)
            .then_some(Blocker::Avoided),
    ];
    let passing = [
        devices.busy(class),
        (node.cpu >= class.cpu && node.cpu_free < class.cpu)
            .then_some(Blocker::CpuBusy(node.cpu_free)),
        (node.memory >= class.memory && node.memory_free < class.memory)
            .then_some(Blocker::MemoryBusy(node.memory_free)),
    ];
    for blocker in lasting.into_iter().chain(passing).flatten() {
        if !found(blocker) {
            return;
        }
    }
}

/// How many devices of a node pass each test, one after the other.
#[derive(Default)]
struct Counts {
    model: usize,
    /// Of a wanted model and with the wanted memory.
    fit: usize,
    avoided: usize,
    /// Fit, not avoided and free.
    free: usize,
    /// Fit, not avoided, and a worker's.
    held: usize,
}

impl Counts {
    fn of(node: &NodeState<'_>, number: usize, class: &Class) -> Self {
        let mut counts = Self::default();
        if class.devices == 0 {
            return counts;
        }
        for (place, device) in node.devices.iter().enumerate() {
            if !class.models[device.model] {
                continue;
            }
            counts.model += 1;
            if !class.device_memory.contains(&device.memory) {
                continue;
            }
            counts.fit += 1;
            if !class.avoid_devices.is_empty() && class.avoid_devices.contains(&(number, place)) {
                counts.avoided += 1;
                continue;
            }
            match device.holder {
                Holder::Nobody => counts.free += 1,
                Holder::Worker(_) | Holder::Demand(_) => counts.held += 1,
                Holder::Withheld(_) => {}
            }
        }
        counts
    }

    fn hardware(&self, node: &NodeState<'_>, class: &Class) -> Option<Blocker> {
        if self.fit >= class.devices {
            None
        } else if node.devices.len() < class.devices {
            Some(Blocker::TooFewDevices(node.devices.len()))
        } else if self.model < class.devices {
            Some(Blocker::WrongModel(self.model))
        } else {
            Some(Blocker::DeviceMemory(self.fit))
        }
    }

    fn busy(&self, class: &Class) -> Option<Blocker> {
        let usable = self.fit - self.avoided;
        if self.free >= class.devices || usable < class.devices {
            None
        } else if self.free + self.held >= class.devices {
            Some(Blocker::DevicesBusy(self.free))
        } else {
            Some(Blocker::DevicesWithheld(self.free))
        }
    }
}

/// The free devices that a worker of `class` would get on the node: the least memory that will do,
/// so that large devices stay for those who need them. Fewer than asked for if it does not fit.
pub(crate) fn choose_devices(view: &View<'_>, number: usize, class: &Class) -> Vec<usize> {
    if class.devices == 0 {
        return Vec::new();
    }
    let node = &view.nodes[number];
    let mut places: Vec<usize> = (0..node.devices.len())
        .filter(|&place| {
            let device = &node.devices[place];
            device.holder == Holder::Nobody
                && class.models[device.model]
                && class.device_memory.contains(&device.memory)
                && !class.avoid_devices.contains(&(number, place))
        })
        .collect();
    places.sort_by_key(|&place| node.devices[place].memory);
    places.truncate(class.devices);
    places
}
