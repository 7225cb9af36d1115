//! Unfinished handshakes: few per address, few in all, and the oldest gives way.
//!
//! An honest handshake takes milliseconds; those that fill the table are the idle ones. Letting the
//! oldest go, instead of refusing the newest, keeps room for agents' heartbeats during a flood, even
//! for an agent behind the attacker's own address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct HalfOpen {
    table: Mutex<Table>,
    per_ip_max: usize,
    max: usize,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    by_age: BTreeMap<u64, (IpAddr, CancellationToken)>,
    per_ip: HashMap<IpAddr, BTreeSet<u64>>,
}

/// A place in the table, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    owner: Arc<HalfOpen>,
    id: u64,
    /// Cancelled when a newer handshake took the place.
    pub(super) evicted: CancellationToken,
}

impl HalfOpen {
    pub(super) fn new(per_ip_max: usize, max: usize) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), per_ip_max, max })
    }

    /// Makes room for a handshake with `ip`, if need be at the cost of the oldest of that address,
    /// else of the oldest of all.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Slot {
        let ip = group(ip);
        let mut table = self.lock();
        let crowded = table.per_ip.get(&ip).filter(|ids| ids.len() >= self.per_ip_max);
        if let Some(oldest) = crowded.and_then(|ids| ids.first().copied()) {
            table.evict(oldest);
        } else if table.by_age.len() >= self.max
            && let Some(oldest) = table.by_age.keys().next().copied()
        {
            table.evict(oldest);
        }
        let id = table.next;
        table.next += 1;
        let evicted = CancellationToken::new();
        table.by_age.insert(id, (ip, evicted.clone()));
        table.per_ip.entry(ip).or_default().insert(id);
        Slot { owner: self.clone(), id, evicted }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each section leaves the table whole, so a panic elsewhere does not spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().by_age.len()
    }
}

impl Table {
    fn evict(&mut self, id: u64) {
        if let Some(token) = self.remove(id) {
            token.cancel();
        }
    }

    fn remove(&mut self, id: u64) -> Option<CancellationToken> {
        let (ip, token) = self.by_age.remove(&id)?;
        if let Some(ids) = self.per_ip.get_mut(&ip) {
            ids.remove(&id);
            if ids.is_empty() {
                self.per_ip.remove(&ip);
            }
        }
        Some(token)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.owner.lock().remove(self.id);
    }
}

/// Whose address it is: a customer usually has a whole /64 of IPv6.
pub(super) fn group(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let s = v6.segments();
            IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a38_the_oldest_of_a_crowded_address_gives_way() {
        let table = HalfOpen::new(2, 100);
        let (first, second) = (table.admit(ip("10.0.0.1")), table.admit(ip("10.0.0.1")));
        let other = table.admit(ip("10.0.0.2"));
        let third = table.admit(ip("::ffff:10.0.0.1"));
        assert!(first.evicted.is_cancelled());
        for kept in [&second, &other, &third] {
            assert!(!kept.evicted.is_cancelled());
        }
        assert_eq!(table.len(), 3);
        drop((first, second, other, third));
        assert_eq!(table.len(), 0);
        assert!(table.lock().per_ip.is_empty());
    }

    #[test]
    fn a38_the_whole_table_is_bounded() {
        let table = HalfOpen::new(100, 3);
        let slots: Vec<Slot> = (1..=10).map(|n| table.admit(ip(&format!("10.0.0.{n}")))).collect();
        let kept: Vec<bool> = slots.iter().map(|slot| !slot.evicted.is_cancelled()).collect();
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 3);
        assert!(kept[7] && kept[8] && kept[9], "the newest stay: {kept:?}");
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn a38_one_prefix_of_ipv6_is_one_address() {
        let table = HalfOpen::new(1, 100);
        let first = table.admit(ip("2001:db8:1:2::1"));
        let _second = table.admit(ip("2001:db8:1:2:ffff::9"));
        assert!(first.evicted.is_cancelled());
        let third = table.admit(ip("2001:db8:1:3::1"));
        assert!(!third.evicted.is_cancelled());
    }
}
