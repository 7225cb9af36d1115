//! Election timeouts that replay.

use raft::{Raft, StateRole, Storage};

/// Sets raft's timeout after whatever may have made it draw a new one.
#[derive(Debug)]
pub(super) struct Elections {
    seed: u64,
    ticks: usize,
    seen: (u64, StateRole, u64),
    changes: u64,
}

impl Elections {
    pub(super) fn new(seed: u64, peer: u64, ticks: usize) -> Self {
        let seed = mix(seed ^ mix(peer));
        Self { seed, ticks, seen: (0, StateRole::Follower, 0), changes: 0 }
    }

    /// The timeout depends on the seed and on how often term, role or leader changed; not on what
    /// raft drew, which differs from run to run.
    pub(super) fn settle<T: Storage>(&mut self, raft: &mut Raft<T>) {
        let now = (raft.term, raft.state, raft.leader_id);
        if now != self.seen {
            self.seen = now;
            self.changes += 1;
        }
        let draw = mix(self.seed.wrapping_add(self.changes)) % self.ticks.max(1) as u64;
        raft.set_randomized_election_timeout(self.ticks + draw as usize);
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
