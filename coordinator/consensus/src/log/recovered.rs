//! What the log says, folded from its items.

use raft::eraftpb::Entry;

use super::Item;
use crate::{members::Members, snapshot::SnapshotMark};

/// The entry that stands for the founding of the group: no log begins before it.
pub(crate) const GENESIS_INDEX: u64 = 1;
/// The term of the founding.
pub(crate) const GENESIS_TERM: u64 = 1;

/// All that the log says except its entries. It is repeated at the beginning of each segment, so
/// that older segments can go.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Head {
    pub(crate) genesis: Option<Members>,
    pub(crate) incarnation: u64,
    pub(crate) generation: u64,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) commit: u64,
    /// The last two snapshots, the newer one last.
    pub(crate) snapshots: Vec<SnapshotMark>,
}

/// How many snapshots are kept.
const SNAPSHOTS: usize = 2;

impl Head {
    pub(crate) fn note(&mut self, item: &Item) {
        match item {
            Item::Genesis(members) => {
                self.genesis = Some(members.clone());
                self.term = self.term.max(GENESIS_TERM);
                self.commit = self.commit.max(GENESIS_INDEX);
            }
            Item::Started { incarnation } => self.incarnation = *incarnation,
            Item::Generation(generation) => self.generation = *generation,
            Item::Vote { term, vote } => (self.term, self.vote) = (*term, *vote),
            Item::Entry(_) => {}
            Item::Commit(index) => self.commit = self.commit.max(*index),
            Item::Snapshot(mark) => {
                if self.snapshots.iter().all(|known| known.index < mark.index) {
                    self.snapshots.push(mark.clone());
                    let surplus = self.snapshots.len().saturating_sub(SNAPSHOTS);
                    self.snapshots.drain(..surplus);
                }
            }
        }
    }

    /// Items that say the same.
    pub(crate) fn items(&self) -> Vec<Item> {
        let mut items: Vec<Item> = self.genesis.iter().cloned().map(Item::Genesis).collect();
        items.push(Item::Started { incarnation: self.incarnation });
        items.push(Item::Generation(self.generation));
        items.push(Item::Vote { term: self.term, vote: self.vote });
        items.push(Item::Commit(self.commit));
        items.extend(self.snapshots.iter().cloned().map(Item::Snapshot));
        items
    }

    /// Up to which index entries may go: the snapshot before the newest has them.
    pub(crate) fn cut(&self) -> u64 {
        match self.snapshots.as_slice() {
            [older, _newer] => older.index,
            _ => 0,
        }
    }
}

/// The whole log.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) head: Head,
    /// Contiguous; may begin before the snapshots.
    pub(crate) entries: Vec<Entry>,
    /// The index of a received snapshot that all entries are behind, else 0.
    floor: u64,
}

impl Recovered {
    /// Adds an item; the error says what is impossible about it.
    pub(crate) fn add(&mut self, item: Item) -> Result<(), &'static str> {
        // Each segment repeats the marks of the one before. Only the first time that a received one is
        // met, the log began anew behind it: also where entries of another term went further.
        let received = match &item {
            Item::Snapshot(mark) if mark.received && !self.head.snapshots.contains(mark) => {
                Some(mark.index)
            }
            _ => None,
        };
        self.head.note(&item);
        if let Some(index) = received {
            self.floor = index;
            self.entries.clear();
        }
        match item {
            Item::Entry(entry) => self.add_entry(entry),
            _ => Ok(()),
        }
    }

    fn add_entry(&mut self, entry: Entry) -> Result<(), &'static str> {
        if let Some(first) = self.entries.first().map(|first| first.index) {
            if entry.index < first {
                return Err("an entry replaces one that was cut off long ago");
            }
            if entry.index > self.last_index() + 1 {
                return Err("entries are missing between two others");
            }
            self.entries.truncate(usize::try_from(entry.index - first).map_err(|_| "too many")?);
        } else if entry.index <= self.floor {
            return Err("an entry is older than a received snapshot");
        }
        // Behind the floor entries may be missing: where the mark is a repeated one they were cut off
        // since. Whether the log continues the snapshot that is chosen is asked at the start.
        let before = self.entries.last().map_or(0, |last| last.term);
        if entry.term < before {
            return Err("an entry is of an older term than the one before it");
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The last index in the log.
    pub(crate) fn last_index(&self) -> u64 {
        match self.entries.last() {
            Some(last) => last.index,
            None => self.floor.max(GENESIS_INDEX),
        }
    }

    /// Whether all entries from the one behind `index` to the last are there.
    pub(crate) fn continues(&self, index: u64) -> bool {
        match self.entries.first() {
            Some(first) => first.index <= index + 1 && index <= self.last_index(),
            None => index == self.last_index(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Item {
        Item::Entry(Entry { index, term, ..Entry::default() })
    }

    #[test]
    fn an_entry_replaces_all_from_its_index_on() {
        let mut log = Recovered::default();
        for item in [entry(2, 1), entry(3, 1), entry(4, 1), entry(3, 2)] {
            log.add(item).expect("possible");
        }
        let terms: Vec<_> = log.entries.iter().map(|e| (e.index, e.term)).collect();
        assert_eq!(terms, [(2, 1), (3, 2)]);
        assert!(log.continues(1) && log.continues(3) && !log.continues(0) && !log.continues(4));
    }

    #[test]
    fn gaps_and_terms_that_go_back_are_refused() {
        for items in [[entry(2, 1), entry(4, 1)], [entry(2, 2), entry(3, 1)]] {
            let mut log = Recovered::default();
            let added: Result<Vec<()>, _> = items.into_iter().map(|item| log.add(item)).collect();
            assert!(added.is_err());
        }
    }

    #[test]
    fn the_head_repeats_itself() {
        let mut head = Head::default();
        head.note(&Item::Genesis(Members::of_voters(vec![3])));
        for index in [4, 8, 12] {
            let members = Members::of_voters(vec![3]);
            head.note(&Item::Snapshot(SnapshotMark { index, members, ..SnapshotMark::default() }));
        }
        assert_eq!(head.cut(), 8);
        let mut again = Head::default();
        head.items().iter().for_each(|item| again.note(item));
        assert_eq!(again, head);
    }

    fn received(index: u64, term: u64) -> Item {
        let members = Members::of_voters(vec![3]);
        Item::Snapshot(SnapshotMark {
            index,
            term,
            members,
            received: true,
            ..SnapshotMark::default()
        })
    }

    fn indexes(log: &Recovered) -> Vec<(u64, u64)> {
        log.entries.iter().map(|entry| (entry.index, entry.term)).collect()
    }

    #[test]
    fn a_received_snapshot_that_a_later_head_repeats_is_no_beginning() {
        // The first segment that is kept begins long after the entry behind the snapshot.
        let mut log = Recovered::default();
        for item in [received(100, 2), entry(600, 2), received(100, 2), entry(601, 2)] {
            log.add(item).expect("possible");
        }
        assert_eq!(indexes(&log), [(600, 2), (601, 2)]);
        assert!(!log.continues(100) && log.continues(599) && log.continues(601));
        assert!(log.add(entry(99, 3)).is_err(), "older than what was received");
    }

    #[test]
    fn a_received_snapshot_ends_what_another_term_had_behind_it() {
        let mut log = Recovered::default();
        for item in [entry(2, 1), entry(3, 1), entry(4, 1), received(3, 2)] {
            log.add(item).expect("possible");
        }
        assert_eq!((indexes(&log), log.last_index()), (vec![], 3));
        log.add(entry(4, 2)).expect("possible");
        assert_eq!(indexes(&log), [(4, 2)]);
        assert!(log.continues(3) && !log.continues(2));
    }
}
