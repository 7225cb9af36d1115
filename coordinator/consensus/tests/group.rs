//! Three peers on one thread, with a network that loses messages.

mod common;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use common::{Ledger, Numbers, config, dir, founding};
use runyard_consensus::{
    Disk, Effects, Envelope, Input, Lockstep, PeerId, ProposeError, Role, init,
    sim::{Crash, SimDisk},
};

const PEERS: [PeerId; 3] = [PeerId(0xa1), PeerId(0xb2), PeerId(0xc3)];

struct Member {
    id: PeerId,
    disk: SimDisk,
    /// `None` while it is down.
    peer: Option<Lockstep<Ledger>>,
}

struct Net {
    members: Vec<Member>,
    in_flight: Vec<(PeerId, Envelope)>,
    numbers: Numbers,
    /// Per cent of the messages that are lost.
    loss: u64,
    acked: BTreeSet<u64>,
    refused: Vec<(u64, ProposeError)>,
    trace: Vec<String>,
    /// The digest of the last snapshot that was received.
    received: Option<[u8; 32]>,
}

impl Net {
    fn new(seed: u64, loss: u64) -> Self {
        let members = PEERS
            .map(|id| {
                let disk = SimDisk::new();
                init(&dir(), &disk, &founding(id, &PEERS)).expect("founded");
                let peer = start(id, &disk);
                Member { id, disk, peer: Some(peer) }
            })
            .into();
        let (acked, refused) = (BTreeSet::new(), Vec::new());
        let numbers = Numbers(seed);
        let (in_flight, trace, received) = (Vec::new(), Vec::new(), None);
        Self { members, in_flight, numbers, loss, acked, refused, trace, received }
    }

    fn step(&mut self, who: usize, input: Input) {
        let Some(peer) = &mut self.members[who].peer else { return };
        let effects = peer.step([input]).expect("the disk works");
        self.carry_out(who, effects);
    }

    fn carry_out(&mut self, who: usize, effects: Effects<usize>) {
        let from = self.members[who].id;
        for envelope in effects.messages {
            if envelope.names_snapshot {
                // The file's way is not what is tested: it always arrives.
                let sent = Input::SnapshotSent { to: envelope.to, arrived: true };
                let more = self.peer(who).step([sent]).expect("the disk works");
                self.in_flight.extend(more.messages.into_iter().map(|message| (from, message)));
            }
            self.in_flight.push((from, envelope));
        }
        for (id, reply) in effects.replies {
            match reply {
                Ok(_) => assert!(self.acked.insert(id), "{id} is acknowledged once"),
                Err(error) => self.refused.push((id, error)),
            }
        }
        if let Some((from, mark)) = effects.fetch_snapshot {
            let source = self.members.iter().find(|m| m.id == from).and_then(|m| m.peer.as_ref());
            if let Some(bytes) = source.and_then(|peer| peer.snapshot_bytes(&mark)) {
                let effects =
                    self.peer(who).receive_snapshot(&mark, &bytes).expect("the disk works");
                self.received = Some(mark.digest);
                self.trace.push(format!("{} took snapshot {}", self.members[who].id, mark.index));
                self.carry_out(who, effects);
            }
        }
    }

    fn peer(&mut self, who: usize) -> &mut Lockstep<Ledger> {
        self.members[who].peer.as_mut().expect("it runs")
    }

    /// One tick for everybody, and the messages of the last one in another order.
    fn round(&mut self) {
        for who in 0..self.members.len() {
            self.step(who, Input::Tick);
        }
        let mut messages = std::mem::take(&mut self.in_flight);
        while !messages.is_empty() {
            let next = self.numbers.below(messages.len() as u64) as usize;
            let (from, envelope) = messages.swap_remove(next);
            if self.numbers.below(100) < self.loss {
                continue;
            }
            let to = self.members.iter().position(|member| member.id == envelope.to);
            self.trace.push(format!("{from} -> {}: {} bytes", envelope.to, envelope.bytes.len()));
            self.step(to.expect("a member"), Input::Message(envelope.bytes));
        }
    }

    fn leader(&self) -> Option<usize> {
        let mut leaders = self.members.iter().enumerate().filter_map(|(who, member)| {
            let status = member.peer.as_ref()?.status();
            (status.role == Role::Leader).then_some((status.term, who))
        });
        let first = leaders.next();
        leaders.chain(first).max().map(|(_, who)| who)
    }

    fn rounds_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..2_000 {
            if done(self) {
                return;
            }
            self.round();
        }
        let all: Vec<_> =
            self.members.iter().map(|m| m.peer.as_ref().map(Lockstep::status)).collect();
        panic!("{what} did not happen: {all:#?}");
    }

    fn propose(&mut self, ids: std::ops::Range<u64>) {
        for id in ids {
            if let Some(leader) = self.leader() {
                let data = format!("entry {id}").into_bytes();
                self.step(leader, Input::Propose { id, data });
            }
            self.round();
        }
    }

    fn kill(&mut self, who: usize) {
        self.members[who].peer = None;
        let disk = self.members[who].disk.crash(&Crash::KeepNothing);
        self.members[who].disk = disk;
    }

    fn restart(&mut self, who: usize) {
        let member = &mut self.members[who];
        member.peer = Some(start(member.id, &member.disk));
    }

    /// The names of the first and the last segment of a log.
    fn segments(&self, who: usize) -> (String, String) {
        let mut names = self.members[who].disk.list(&dir()).expect("a directory");
        names.retain(|name| name.ends_with(".log") && name.starts_with('0'));
        names.sort();
        let (first, last) = (names.first().cloned(), names.last().cloned());
        (first.expect("a segment"), last.expect("a segment"))
    }

    fn entries(&self, who: usize) -> Option<Arc<Vec<Vec<u8>>>> {
        Some(self.members[who].peer.as_ref()?.machine().entries.clone())
    }

    fn settle(&mut self) {
        self.loss = 0;
        self.rounds_until("one leader, all alike", |net| {
            let first = net.entries(0);
            let commits: BTreeSet<_> = net
                .members
                .iter()
                .filter_map(|m| m.peer.as_ref())
                .map(|peer| (peer.status().commit, peer.status().last_index))
                .collect();
            net.leader().is_some()
                && commits.len() == 1
                && (1..3).all(|who| net.entries(who) == first)
        });
        let entries = self.entries(0).expect("it runs");
        for id in &self.acked {
            let data = format!("entry {id}").into_bytes();
            let count = entries.iter().filter(|found| **found == data).count();
            assert_eq!(count, 1, "acknowledged entry {id}");
        }
    }
}

fn start(id: PeerId, disk: &SimDisk) -> Lockstep<Ledger> {
    let config = config(&PathBuf::from("/peer"), id);
    Lockstep::start(config, Arc::new(disk.clone()), Ledger::default()).expect("started")
}

#[test]
fn three_peers_elect_and_replicate_although_messages_are_lost() {
    for seed in 0..10 {
        let mut net = Net::new(seed, 20);
        net.rounds_until("an election", |net| net.leader().is_some());
        net.propose(0..60);
        net.settle();
        assert!(net.acked.len() > 30, "seed {seed}: {} acknowledged", net.acked.len());
    }
}

#[test]
fn f12_leaders_die_and_come_back_and_nothing_acknowledged_is_lost() {
    for seed in 0..6 {
        let mut net = Net::new(seed, 5);
        for round in 0..6 {
            net.rounds_until("an election", |net| net.leader().is_some());
            net.propose(round * 100..round * 100 + 30);
            let dead = net.leader().unwrap_or(0);
            net.kill(dead);
            net.rounds_until("another election", |net| net.leader().is_some());
            net.propose(round * 100 + 50..round * 100 + 70);
            net.restart(dead);
        }
        net.settle();
        assert!(net.acked.len() > 100, "seed {seed}: {} acknowledged", net.acked.len());
    }
}

#[test]
fn a_peer_that_was_away_for_long_gets_a_snapshot() {
    let mut net = Net::new(3, 0);
    net.rounds_until("an election", |net| net.leader().is_some());
    let away = (0..3).find(|who| Some(*who) != net.leader()).expect("three");
    net.kill(away);
    // More than two snapshots' worth: the leader has forgotten the entries in between.
    net.propose(0..100);
    net.restart(away);
    net.settle();
    assert!(net.trace.iter().any(|line| line.contains("took snapshot")));
    net.propose(100..110);
    net.settle();
    assert_eq!(net.acked.len(), 110);
    // And it can start from what it received.
    net.kill(away);
    net.restart(away);
    net.settle();
}

#[test]
fn a_peer_that_once_received_a_snapshot_starts_after_many_of_its_own() {
    let mut met = 0;
    // So many entries before it is away: the segment ends so much sooner after the snapshot.
    for before in [10, 20, 30, 40, 50] {
        let mut net = Net::new(5, 0);
        net.rounds_until("an election", |net| net.leader().is_some());
        net.propose(0..before);
        let away = (0..3).find(|who| Some(*who) != net.leader()).expect("three");
        net.kill(away);
        net.propose(1_000..1_100);
        net.restart(away);
        net.settle();
        let received = net.received.expect("it took a snapshot");
        let (_, last) = net.segments(away);
        // Segments repeat the mark of what was received. At some time the first one that is left does,
        // and its entries begin long behind it.
        let mut is_repeated = false;
        for round in 2_000..2_030 {
            net.propose(round * 10..round * 10 + 4);
            net.settle();
            let (first, _) = net.segments(away);
            let bytes = net.members[away].disk.bytes(&dir().join(&first)).expect("it is there");
            // Of each sector the first byte is no payload.
            let bytes: Vec<u8> = bytes.chunks(512).flat_map(|s| s[1..].to_vec()).collect();
            is_repeated |= first > last && bytes.windows(32).any(|found| found == received);
            net.kill(away);
            net.restart(away);
        }
        net.settle();
        met += u32::from(is_repeated);
    }
    assert!(met > 0, "no segment began with the mark of the received snapshot");
}

#[test]
fn a_peer_stands_for_election_right_after_it_received_a_snapshot() {
    let mut net = Net::new(6, 0);
    net.rounds_until("an election", |net| net.leader().is_some());
    let away = (0..3).find(|who| Some(*who) != net.leader()).expect("three");
    net.kill(away);
    net.propose(0..100);
    net.restart(away);
    let took = |net: &Net| net.trace.iter().any(|line| line.contains("took snapshot"));
    net.rounds_until("a snapshot", took);
    // The leader dies at that moment: before one more entry.
    let dead = net.leader().expect("it sent it");
    net.kill(dead);
    net.in_flight.clear();
    for _ in 0..50 {
        net.step(away, Input::Tick);
    }
    assert_ne!(net.peer(away).status().role, Role::Follower);
    net.rounds_until("another election", |net| net.leader().is_some());
    net.restart(dead);
    net.settle();
    assert_eq!(net.acked.len(), 100);
}

#[test]
fn reads_on_any_peer_see_what_was_acknowledged() {
    let mut net = Net::new(4, 0);
    net.rounds_until("an election", |net| net.leader().is_some());
    net.propose(0..10);
    let leader = net.leader().expect("elected");
    let committed = net.peer(leader).status().commit;
    for who in 0..3 {
        let mut served = None;
        let mut effects = net.peer(who).step([Input::Read { id: 77 }]).expect("works");
        for _ in 0..50 {
            served = served.or(effects.reads.pop());
            effects.reads.clear();
            net.carry_out(who, std::mem::take(&mut effects));
            net.round_for(who, &mut effects);
            if served.is_some() {
                break;
            }
        }
        let (id, index) = served.expect("the read is served");
        assert_eq!(id, 77);
        assert!(index.expect("confirmed") >= committed);
    }
}

impl Net {
    /// A round in which the effects of `who` are kept for the caller.
    fn round_for(&mut self, who: usize, kept: &mut Effects<usize>) {
        let messages = std::mem::take(&mut self.in_flight);
        for (_, envelope) in messages {
            let to = self.members.iter().position(|m| m.id == envelope.to).expect("a member");
            let effects =
                self.peer(to).step([Input::Message(envelope.bytes)]).expect("the disk works");
            if to == who {
                kept.messages.extend(effects.messages);
                kept.reads.extend(effects.reads);
            } else {
                self.carry_out(to, effects);
            }
        }
        for other in 0..3 {
            if other != who {
                self.step(other, Input::Tick);
            }
        }
        let effects = self.peer(who).step([Input::Tick]).expect("the disk works");
        kept.messages.extend(effects.messages);
        kept.reads.extend(effects.reads);
    }
}

#[test]
fn one_seed_gives_one_history() {
    let run = || {
        let mut net = Net::new(11, 15);
        net.rounds_until("an election", |net| net.leader().is_some());
        net.propose(0..30);
        let dead = net.leader().unwrap_or(0);
        net.kill(dead);
        net.propose(30..50);
        net.restart(dead);
        net.propose(50..60);
        net.trace
    };
    let (first, second) = (run(), run());
    assert!(first.len() > 300, "{}", first.len());
    assert!(first == second, "the two histories differ");
}

#[test]
fn a_follower_refuses_proposals_and_names_the_leader() {
    let mut net = Net::new(2, 0);
    net.rounds_until("an election", |net| net.leader().is_some());
    for _ in 0..5 {
        net.round();
    }
    let leader = net.leader().expect("elected");
    let follower = (leader + 1) % 3;
    net.step(follower, Input::Propose { id: 5, data: b"x".to_vec() });
    let hint = Some(net.members[leader].id);
    assert_eq!(net.refused, [(5, ProposeError::NotLeader { hint })]);
}

#[test]
fn a37_garbled_large_and_foreign_messages_are_dropped() {
    let mut net = Net::new(2, 0);
    let peer = net.peer(0);
    let before = peer.status();
    let mut nested = Vec::new();
    // A message field nested in itself far deeper than any real message.
    for _ in 0..2_000 {
        let mut outer = vec![0x4a];
        let mut length = nested.len();
        while length >= 0x80 {
            outer.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend_from_slice(&nested);
        nested = outer;
    }
    // Groups (wire types 3 and 4), nested.
    let groups = vec![0x0b; 100_000];
    for bytes in [vec![], vec![0xff; 100], vec![0; 5 << 20], nested, groups] {
        let effects = peer.step([Input::Message(bytes)]).expect("works");
        assert!(effects.messages.is_empty());
    }
    assert_eq!(peer.status(), before);
}
