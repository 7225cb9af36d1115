//! What is in the cache, in memory.

use std::collections::{BTreeSet, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use runyard_types::Digest;

use crate::chunk::ChunkRef;

#[derive(Debug)]
struct Object {
    bytes: u64,
    used: u64,
    pins: u32,
    /// Chunks of a longer object.
    chunks: Vec<Digest>,
}

#[derive(Debug)]
pub(super) struct State {
    limit: u64,
    bytes: u64,
    /// Bytes of objects that are held.
    pinned: u64,
    /// Bytes of objects that are being written.
    reserved: u64,
    clock: u64,
    objects: HashMap<Digest, Object>,
    /// Objects that are not pinned, by last use.
    idle: BTreeSet<(u64, Digest)>,
    /// Chunks inside longer objects.
    inside: HashMap<Digest, (Digest, u64, u32)>,
}

impl State {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            bytes: 0,
            pinned: 0,
            reserved: 0,
            clock: 0,
            objects: HashMap::new(),
            idle: BTreeSet::new(),
            inside: HashMap::new(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Later than any use before, and near the wall clock, so that it can be compared with file times.
    pub(super) fn now(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        self.clock = u64::try_from(now).unwrap_or(0).max(self.clock + 1);
        self.clock
    }

    pub(super) fn add(&mut self, id: Digest, bytes: u64, used: u64, list: Option<&[ChunkRef]>) {
        self.forget(&id);
        let mut offset = 0;
        let list = list.unwrap_or_default();
        for chunk in list {
            self.inside.insert(chunk.id, (id, offset, chunk.len));
            offset += u64::from(chunk.len);
        }
        let chunks = list.iter().map(|chunk| chunk.id).collect();
        self.objects.insert(id, Object { bytes, used, pins: 0, chunks });
        self.idle.insert((used, id));
        self.bytes += bytes;
    }

    pub(super) fn has(&self, id: &Digest) -> bool {
        self.objects.contains_key(id)
    }

    pub(super) fn find_chunk(&self, chunk: &ChunkRef) -> Option<(Digest, u64)> {
        if self.objects.contains_key(&chunk.id) {
            return Some((chunk.id, 0));
        }
        let &(object, offset, len) = self.inside.get(&chunk.id)?;
        (len == chunk.len).then_some((object, offset))
    }

    pub(super) fn pin(&mut self, id: &Digest) -> Option<()> {
        let now = self.now();
        let object = self.objects.get_mut(id)?;
        self.idle.remove(&(object.used, *id));
        if object.pins == 0 {
            self.pinned += object.bytes;
        }
        object.pins += 1;
        object.used = now;
        Some(())
    }

    pub(super) fn unpin(&mut self, id: &Digest) {
        // An object that was dropped as damaged while it was pinned is no longer here.
        if let Some(object) = self.objects.get_mut(id) {
            // One that was dropped and written anew has fewer pins than holders.
            let held = object.pins > 0;
            object.pins = object.pins.saturating_sub(1);
            if held && object.pins == 0 {
                self.pinned -= object.bytes;
                self.idle.insert((object.used, *id));
            }
        }
    }

    pub(super) fn forget(&mut self, id: &Digest) {
        let Some(object) = self.objects.remove(id) else { return };
        self.idle.remove(&(object.used, *id));
        self.bytes -= object.bytes;
        if object.pins > 0 {
            self.pinned -= object.bytes;
        }
        for chunk in object.chunks {
            if self.inside.get(&chunk).is_some_and(|(owner, ..)| owner == id) {
                self.inside.remove(&chunk);
            }
        }
    }

    /// Makes room for an object; answers with those that go, or `None` if there cannot be room.
    pub(super) fn reserve(&mut self, size: u64) -> Option<Vec<Digest>> {
        if size > self.limit / 2 {
            return None;
        }
        if self.pinned + self.reserved + size > self.limit {
            return None;
        }
        let gone = self.shrink(size);
        self.reserved += size;
        Some(gone)
    }

    pub(super) fn release(&mut self, size: u64) {
        self.reserved -= size;
    }

    /// Forgets idle objects until `more` bytes fit.
    pub(super) fn shrink(&mut self, more: u64) -> Vec<Digest> {
        let mut gone = Vec::new();
        while self.bytes + self.reserved + more > self.limit
            && let Some(&(_, id)) = self.idle.first()
        {
            self.forget(&id);
            gone.push(id);
        }
        gone
    }
}
