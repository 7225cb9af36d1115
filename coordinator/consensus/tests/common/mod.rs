//! A state machine that remembers everything, and peers to run it on.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use runyard_consensus::{
    CannotApply, Config, Effects, Fatal, Founding, GroupId, Input, Lockstep, PeerId, RestoreError,
    Serialise, StartError, StateMachine, init,
    sim::{Crash, SimDisk},
};

pub(crate) const GROUP: GroupId = GroupId(0x1234_5678_9abc_def0);
pub(crate) const PEER: PeerId = PeerId(7);

/// All entries, in order.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// An older program: it does not understand entries that begin with this byte.
    pub(crate) stranger: Option<u8>,
    pub(crate) entries: Arc<Vec<Vec<u8>>>,
    pub(crate) published: Option<Arc<std::sync::Mutex<Vec<Vec<u8>>>>>,
}

impl StateMachine for Ledger {
    /// How many entries there are now.
    type Reply = usize;

    fn admit(&mut self, _index: u64, data: &[u8]) -> Result<(), CannotApply> {
        match self.stranger {
            Some(stranger) if data.first() == Some(&stranger) => {
                Err(CannotApply("it needs version 2".into()))
            }
            _ => Ok(()),
        }
    }

    fn apply(&mut self, _index: u64, data: &[u8]) -> usize {
        let entries = Arc::make_mut(&mut self.entries);
        entries.push(data.to_vec());
        entries.len()
    }

    fn publish(&mut self, _index: u64) {
        if let Some(published) = &self.published {
            published.lock().expect("no panic").clone_from(&self.entries);
        }
    }

    fn snapshot(&self) -> Serialise {
        let entries = self.entries.clone();
        Box::new(move || {
            let mut bytes = Vec::new();
            for entry in entries.iter() {
                bytes.extend_from_slice(&(entry.len() as u32).to_le_bytes());
                bytes.extend_from_slice(entry);
            }
            bytes
        })
    }

    fn restore(&mut self, mut bytes: &[u8]) -> Result<(), RestoreError> {
        let mut entries = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let (entry, rest) = rest
                .split_at_checked(u32::from_le_bytes(*length) as usize)
                .ok_or_else(|| RestoreError("cut short".into()))?;
            entries.push(entry.to_vec());
            bytes = rest;
        }
        self.entries = Arc::new(entries);
        Ok(())
    }
}

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/peer")
}

pub(crate) fn founding(peer: PeerId, voters: &[PeerId]) -> Founding {
    Founding { group: GROUP, peer, generation: 1, voters: voters.to_vec(), segment_bytes: 32 << 10 }
}

pub(crate) fn config(dir: &Path, peer: PeerId) -> Config {
    Config {
        segment_bytes: 32 << 10,
        snapshot_every_entries: 20,
        max_entry_bytes: 8 << 10,
        ..Config::new(dir.to_owned(), GROUP, peer)
    }
}

pub(crate) fn found(disk: &SimDisk) -> Result<(), StartError> {
    init(&dir(), disk, &founding(PEER, &[PEER]))
}

pub(crate) fn start_with(disk: &SimDisk, config: Config) -> Result<Lockstep<Ledger>, StartError> {
    let mut peer = Lockstep::start(config, Arc::new(disk.clone()), Ledger::default())?;
    peer.step([])?;
    Ok(peer)
}

pub(crate) fn start(disk: &SimDisk) -> Result<Lockstep<Ledger>, StartError> {
    start_with(disk, config(&dir(), PEER))
}

/// The entry with this number: of many sizes, and recognisable.
pub(crate) fn entry(number: usize) -> Vec<u8> {
    let mut entry = format!("entry {number} ").into_bytes();
    entry.resize(20 + number * 97 % 1400, b'.');
    entry
}

/// Proposes the entries in one step; the last number acknowledged, if all were.
pub(crate) fn propose(
    peer: &mut Lockstep<Ledger>,
    numbers: std::ops::Range<usize>,
) -> Result<Effects<usize>, Fatal> {
    peer.step(numbers.map(|n| Input::Propose { id: n as u64, data: entry(n) }))
}

/// Asserts that the entries are exactly the first so many, and returns how many.
pub(crate) fn assert_prefix(entries: &[Vec<u8>], what: &str) -> usize {
    for (number, found) in entries.iter().enumerate() {
        let found = String::from_utf8_lossy(found);
        let expected = entry(number);
        assert!(
            found.as_bytes() == expected,
            "{what}: in place of entry {number}: {:.40}",
            found.trim_end_matches('.')
        );
    }
    entries.len()
}

/// A life of a peer: proposes batches of 1 to 3 up to `count` entries; how many were acknowledged
/// before the disk failed, and whether it did.
pub(crate) fn live(disk: &SimDisk, count: usize) -> (usize, Result<(), StartError>) {
    let mut acked = 0;
    let result = (|| {
        found(disk)?;
        let mut peer = start(disk)?;
        while acked < count {
            let next = (acked + 1 + acked % 3).min(count);
            let effects = propose(&mut peer, acked..next)?;
            assert!(effects.replies.iter().all(|(_, reply)| reply.is_ok()));
            assert_eq!(effects.replies.len(), next - acked);
            acked = next;
        }
        Ok(())
    })();
    (acked, result)
}

/// Starts from what the crash left and checks all that must hold.
pub(crate) fn check_after(disk: &SimDisk, plan: &Crash, acked: usize, batch: usize, what: &str) {
    let disk = disk.crash(plan);
    let mut peer = match start(&disk) {
        Ok(peer) => peer,
        Err(StartError::Empty { .. }) if acked == 0 => {
            found(&disk).unwrap_or_else(|error| panic!("{what}: founding again: {error}"));
            start(&disk).unwrap_or_else(|error| panic!("{what}: {error}"))
        }
        Err(error) => panic!("{what}: {error}"),
    };
    let present = assert_prefix(&peer.machine().entries, what);
    assert!(
        present == acked || present == acked + batch,
        "{what}: {present} entries, {acked} acknowledged, the last batch had {batch}"
    );
    let effects = propose(&mut peer, present..present + 1).expect("the disk works again");
    assert_eq!(effects.replies, [(present as u64, Ok(present + 1))], "{what}");
    drop(peer);
    // All that this life built on must have been made durable by it.
    let again = start(&disk.crash(&Crash::KeepNothing))
        .unwrap_or_else(|error| panic!("{what}: after a second power cut: {error}"));
    assert_eq!(assert_prefix(&again.machine().entries, what), present + 1, "{what}: again");
}

/// SplitMix64: the same numbers everywhere.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
