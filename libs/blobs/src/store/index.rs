//! Which chunk lies where, in memory.

use std::collections::{HashMap, HashSet};

use runyard_types::Digest;

use crate::pack::{Encoding, Entry, PackId};

/// A file that holds chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Home {
    Pack(PackId),
    Journal(u64),
}

/// A chunk's place: 16 bytes, of which there is one per chunk of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    home: u32,
    offset: u32,
    stored: u32,
    /// The chunk's length; the highest bit says that it is compressed.
    raw: u32,
}

const SQUEEZED: u32 = 1 << 31;

/// The index of a project.
#[derive(Debug, Default)]
pub(super) struct Index {
    chunks: HashMap<Digest, Place>,
    homes: Vec<Home>,
    numbers: HashMap<Home, u32>,
    /// Files of which a chunk was found damaged. What else they hold is still read from them.
    damaged: HashSet<Home>,
}

impl Index {
    /// Adds a file's chunks; a chunk that is known already keeps its place.
    pub(super) fn add(&mut self, home: Home, entries: &[Entry]) {
        let home = self.number(home);
        for entry in entries {
            self.chunks.entry(entry.id).or_insert_with(|| place(home, entry));
        }
    }

    /// Adds the chunks of a file that was just written whole, perhaps in the place of a damaged one.
    pub(super) fn renew(&mut self, home: Home, entries: &[Entry]) {
        self.damaged.remove(&home);
        self.add(home, entries);
    }

    /// Moves what lay in `from` to its places in `to`.
    pub(super) fn shift(&mut self, from: Home, to: Home, entries: &[Entry]) {
        let from = self.numbers.get(&from).copied();
        let to = self.number(to);
        for entry in entries {
            let old = self.chunks.get(&entry.id).map(|place| place.home);
            if old.is_none() || old == from {
                self.chunks.insert(entry.id, place(to, entry));
            }
        }
    }

    /// Where a chunk lies.
    pub(super) fn find(&self, id: &Digest) -> Option<(Home, Entry)> {
        let place = self.chunks.get(id)?;
        let encoding = if place.raw & SQUEEZED == 0 { Encoding::Raw } else { Encoding::Zstd };
        let entry = Entry {
            id: *id,
            offset: place.offset,
            stored: place.stored,
            raw: place.raw & !SQUEEZED,
            encoding,
        };
        Some((self.homes[place.home as usize], entry))
    }

    pub(super) fn contains(&self, id: &Digest) -> bool {
        self.chunks.contains_key(id)
    }

    /// Forgets a chunk that was found damaged at `home`, unless it has moved meanwhile; the file is no longer
    /// said to be there, so that it can be sent anew.
    pub(super) fn forget(&mut self, id: &Digest, home: Home) {
        if self.find(id).is_some_and(|(at, _)| at == home) {
            self.chunks.remove(id);
            self.damaged.insert(home);
        }
    }

    /// Whether a pack is there, and nothing of it was found damaged.
    pub(super) fn has_pack(&self, pack: PackId) -> bool {
        let home = Home::Pack(pack);
        self.numbers.contains_key(&home) && !self.damaged.contains(&home)
    }

    pub(super) fn packs(&self) -> impl Iterator<Item = PackId> {
        self.homes.iter().filter_map(|home| match home {
            Home::Pack(id) => Some(*id),
            Home::Journal(_) => None,
        })
    }

    pub(super) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    fn number(&mut self, home: Home) -> u32 {
        *self.numbers.entry(home).or_insert_with(|| {
            self.homes.push(home);
            u32::try_from(self.homes.len() - 1).expect("a store has far fewer than 2^32 packs")
        })
    }
}

fn place(home: u32, entry: &Entry) -> Place {
    let squeezed = if entry.encoding == Encoding::Zstd { SQUEEZED } else { 0 };
    Place { home, offset: entry.offset, stored: entry.stored, raw: entry.raw | squeezed }
}
