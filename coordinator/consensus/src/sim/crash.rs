//! What a power cut leaves of what was not synced.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{PendingWrite, SimFile, World, put};
use crate::log::sector::SECTOR;

/// A power cut. Unsynced writes are numbered in the order they were made, over all files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crash {
    /// Nothing unsynced survives, names neither.
    KeepNothing,
    /// All of it survives. Also what a kill -9 of the process leaves.
    KeepAll,
    /// All names survive, and the first so many of the unsynced bytes.
    Bytes(usize),
    /// All names survive, and of the unsynced sectors those whose bit is set (lowest first).
    Sectors(u64),
    /// Each sector and each change of a name survives or not, by the seed.
    Seeded(u64),
}

/// A write as the disk carries it out: cut at the sectors' borders.
pub(super) fn pieces(write: &PendingWrite) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = write.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let offset = write.offset + at;
        let count = (SECTOR - offset % SECTOR).min(rest.len());
        at += count;
        Some((offset, &rest[..count]))
    })
}

pub(super) fn after(world: &World, plan: &Crash) -> World {
    let mut coin = Coin(match plan {
        Crash::Seeded(seed) => *seed,
        _ => 0,
    });
    let mut names = world.durable_names.clone();
    for op in &world.name_ops {
        let keep = match plan {
            Crash::KeepNothing => false,
            Crash::Seeded(_) => coin.toss(),
            Crash::KeepAll | Crash::Bytes(_) | Crash::Sectors(_) => true,
        };
        if keep {
            op.apply(&mut names);
        }
    }

    let mut bytes: BTreeMap<u64, Vec<u8>> =
        world.files.iter().map(|(id, file)| (*id, file.durable.clone())).collect();
    let mut writes: Vec<(u64, &PendingWrite)> = world
        .files
        .iter()
        .flat_map(|(id, file)| file.pending.iter().map(move |write| (*id, write)))
        .collect();
    writes.sort_by_key(|(_, write)| write.order);
    let (mut passed, mut sector) = (0_usize, 0_u32);
    for (id, write) in writes {
        let file = bytes.get_mut(&id).expect("made from the same files");
        for (offset, piece) in pieces(write) {
            let keep = match plan {
                Crash::KeepNothing => 0,
                Crash::KeepAll => piece.len(),
                Crash::Bytes(count) => count.saturating_sub(passed).min(piece.len()),
                Crash::Sectors(mask) if sector < 64 && mask >> sector & 1 == 1 => piece.len(),
                Crash::Sectors(_) => 0,
                Crash::Seeded(_) => piece.len() * usize::from(coin.toss()),
            };
            if keep > 0 {
                put(file, offset, &piece[..keep]);
            }
            passed += piece.len();
            sector += 1;
        }
    }
    survivors(world, names, bytes)
}

fn survivors(
    world: &World,
    names: BTreeMap<std::path::PathBuf, u64>,
    mut bytes: BTreeMap<u64, Vec<u8>>,
) -> World {
    let named: BTreeSet<u64> = names.values().copied().collect();
    bytes.retain(|id, _| named.contains(id));
    let files = bytes
        .into_iter()
        .map(|(id, durable)| {
            let current = durable.clone();
            (id, SimFile { durable, current, pending: Vec::new() })
        })
        .collect();
    World {
        files,
        durable_names: names.clone(),
        names,
        dirs: world.dirs.clone(),
        capacity: world.capacity,
        next_file: world.next_file,
        next_write: world.next_write,
        ..World::default()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to scatter survivors, and the same everywhere.
struct Coin(u64);

impl Coin {
    fn toss(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 1
    }
}
