//! Nodes kept free for a demand that has waited too long.
//!
//! Everything that fits is placed although something before it does not fit, so that a large gang
//! blocks nobody; in exchange the first demand that has waited longer than the limit has the nodes
//! it will take first withheld from all behind it, so that it is not starved by a stream of small
//! ones. There is one reservation at a time, and it is chosen afresh in each pass: nodes that are
//! emptying come out ahead, so the choice holds.

use crate::candidates::first_gang;
use crate::class::Class;
use crate::predicate::blockers;
use crate::view::{Holder, View};

/// The nodes on which only running work is in the way, the ones least occupied first; `None` if a
/// gang can't be had even when all work has ended.
pub(crate) fn nodes_for(view: &View<'_>, class: &Class) -> Option<Vec<usize>> {
    let mut ranked: Vec<(u64, usize)> = (0..view.nodes.len())
        .filter(|&number| blockers(view, number, class, true).iter().all(|b| b.passes()))
        .map(|number| (missing(view, number, class), number))
        .collect();
    ranked.sort_unstable();
    first_gang(view, class, ranked.into_iter().map(|(_, number)| number))
}

/// How much must end on the node before the worker fits, in thousandths of what it asks for.
fn missing(view: &View<'_>, number: usize, class: &Class) -> u64 {
    let node = &view.nodes[number];
    let free = node.devices.iter().enumerate().filter(|(place, device)| {
        device.holder == Holder::Nobody
            && class.models[device.model]
            && class.device_memory.contains(&device.memory)
            && !class.avoid_devices.contains(&(number, *place))
    });
    let free = if class.devices == 0 { 0 } else { free.count() as u64 };
    let part = |wanted: u64, free: u64| match wanted {
        0 => 0,
        _ => (u128::from(wanted.saturating_sub(free)) * 1_000 / u128::from(wanted)) as u64,
    };
    part(class.devices as u64, free)
        + part(class.cpu, node.cpu_free)
        + part(class.memory, node.memory_free)
}
