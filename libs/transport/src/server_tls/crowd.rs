//! Connections of those who showed no certificate: so many per address, so many in all.
//!
//! Unlike half-open handshakes these may be honest and long-lived (somebody reads a log), so it is the
//! newest that is turned away. Agents and peers are known by their certificates and are not counted:
//! whatever users and strangers do, there is room for heartbeats.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::half_open::group;

#[derive(Debug)]
pub(super) struct Crowd {
    table: Mutex<Table>,
    per_ip_max: usize,
    max: usize,
}

#[derive(Debug, Default)]
struct Table {
    all: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// A place in the crowd, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    owner: Arc<Crowd>,
    ip: IpAddr,
}

impl Crowd {
    pub(super) fn new(per_ip_max: usize, max: usize) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), per_ip_max, max })
    }

    /// A place for a connection from `ip`; `None`: its address or the whole has no more.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Ticket> {
        let ip = group(ip);
        let mut table = self.lock();
        let here = table.per_ip.get(&ip).copied().unwrap_or(0);
        if here >= self.per_ip_max || table.all >= self.max {
            return None;
        }
        table.per_ip.insert(ip, here + 1);
        table.all += 1;
        Some(Ticket { owner: self.clone(), ip })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each section leaves the table whole, so a panic elsewhere does not spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut table = self.owner.lock();
        table.all = table.all.saturating_sub(1);
        match table.per_ip.get_mut(&self.ip) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(table.per_ip.remove(&self.ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a38_the_newest_of_a_crowd_is_turned_away_and_places_come_back() {
        let crowd = Crowd::new(2, 3);
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = crowd.enter(ip("10.0.0.1")).expect("room");
        let _second = crowd.enter(ip("::ffff:10.0.0.1")).expect("room");
        assert!(crowd.enter(ip("10.0.0.1")).is_none(), "its address has its two");
        let third = crowd.enter(ip("10.0.0.2")).expect("room for another address");
        assert!(crowd.enter(ip("10.0.0.3")).is_none(), "all three are taken");
        drop((first, third));
        assert_eq!(crowd.lock().per_ip.len(), 1, "an address without connections is forgotten");
        let _again = crowd.enter(ip("10.0.0.1")).expect("its place came back");
        assert!(crowd.enter(ip("10.0.0.1")).is_none());
    }
}
