//! Whether a tree is whole, without unfolding it.
//!
//! A few nodes that name each other twice unfold to millions of paths. Here every distinct node and list is
//! read once, however often it is named, and what it would unfold to is added up in numbers: no path is
//! ever made. So the answer costs what was uploaded, and a tree that no walk would take is refused.

use std::collections::HashMap;

use bytes::Bytes;
use runyard_types::Digest;

use super::content::decode_list;
use super::name::PATH_BYTES_MAX;
use super::node::{Node, decode_node, decode_plain};
use super::walk::{DIR_BYTES_MAX, malformed};
use super::{ChunkSource, Content, DirEntry, Kind, TreeError, TreeLimits};
use crate::chunk::ChunkRef;

/// Whether all bytes of the tree at `root` are there: nodes and lists are read from `source`, chunks of files
/// are looked up by `has`. A tree beyond `limits` when unfolded is an error, as in [`super::read_tree`].
pub fn is_whole<S: ChunkSource>(
    source: &S,
    root: Digest,
    limits: TreeLimits,
    has: impl Fn(&Digest) -> bool,
) -> Result<bool, S::Error> {
    let (lists, missing) = (HashMap::new(), false);
    Visit { source, limits, has, lists, read: 0, missing }.run(root)
}

/// What a directory unfolds to. Sums stop at the largest number, which is beyond any limit that matters.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// Files and directories below it.
    paths: u64,
    /// Entries of the lists that they need.
    parts: u64,
    /// Bytes of all files.
    bytes: u64,
    /// Bytes of all paths, each with a `/` before every name.
    path_bytes: u64,
    /// Bytes of the longest of them.
    path_bytes_max: u64,
    /// Directories within each other below it.
    height: usize,
}

impl Sums {
    /// Adds a directory whose name and `/` have `step` bytes.
    fn add_dir(&mut self, step: u64, below: &Self) {
        self.add_path(step.saturating_add(below.path_bytes_max), step);
        let steps = step.saturating_mul(below.paths);
        self.paths = self.paths.saturating_add(below.paths);
        self.parts = self.parts.saturating_add(below.parts);
        self.bytes = self.bytes.saturating_add(below.bytes);
        self.path_bytes = self.path_bytes.saturating_add(below.path_bytes).saturating_add(steps);
        self.height = self.height.max(below.height + 1);
    }

    fn add_path(&mut self, longest: u64, step: u64) {
        self.paths = self.paths.saturating_add(1);
        self.path_bytes = self.path_bytes.saturating_add(step);
        self.path_bytes_max = self.path_bytes_max.max(longest);
    }

    fn check(&self, limits: &TreeLimits) -> Result<(), TreeError> {
        let too_large = |what, limit| Err(TreeError::TooLarge { what, limit });
        if self.paths.saturating_add(self.parts) > limits.entries {
            return too_large("files, directories and chunks", limits.entries);
        }
        if self.bytes > limits.bytes {
            return too_large("bytes", limits.bytes);
        }
        // The first name of a path has no `/` before it.
        if self.path_bytes - self.paths.min(self.path_bytes) > limits.path_bytes {
            return too_large("bytes of paths", limits.path_bytes);
        }
        if self.path_bytes_max > PATH_BYTES_MAX as u64 + 1 {
            return too_large("bytes in one path", PATH_BYTES_MAX as u64);
        }
        Ok(())
    }
}

/// What a list leads to.
#[derive(Debug, Clone, Copy)]
struct Listed {
    bytes: u64,
    parts: u64,
}

/// A directory that is being added up, inside the one before it.
#[derive(Debug)]
struct Frame {
    node: Digest,
    /// Bytes of its name in the one before it, and of a `/`.
    step: u64,
    sums: Sums,
    /// Directories in it that are not added up yet, with the lengths of their names.
    todo: Vec<(Digest, u8)>,
}

struct Visit<'a, S, H> {
    source: &'a S,
    limits: TreeLimits,
    has: H,
    lists: HashMap<(Digest, u8), Listed>,
    /// Entries of what was read so far.
    read: u64,
    /// A file's chunk is not there.
    missing: bool,
}

impl<S: ChunkSource, H: Fn(&Digest) -> bool> Visit<'_, S, H> {
    fn run(mut self, root: Digest) -> Result<bool, S::Error> {
        let mut known: HashMap<Digest, Sums> = HashMap::new();
        let mut frames = vec![self.open(root, 0)?];
        while let Some(frame) = frames.last_mut() {
            if self.missing {
                return Ok(false);
            }
            // Digests make a circle impossible: what is still open is not named again below.
            if let Some((node, name_len)) = frame.todo.pop() {
                let step = u64::from(name_len) + 1;
                match known.get(&node) {
                    Some(below) => frame.sums.add_dir(step, below),
                    None => {
                        self.check_depth(frames.len())?;
                        frames.push(self.open(node, step)?);
                        continue;
                    }
                }
            }
            let (depth, frame) = (frames.len() - 1, frames.last().expect("it was there above"));
            frame.sums.check(&self.limits)?;
            self.check_depth(depth + frame.sums.height)?;
            if frame.todo.is_empty() {
                let Some(done) = frames.pop() else { break };
                if let Some(above) = frames.last_mut() {
                    above.sums.add_dir(done.step, &done.sums);
                }
                known.insert(done.node, done.sums);
            }
        }
        Ok(!self.missing)
    }

    /// Reads a directory and adds up its files.
    fn open(&mut self, node: Digest, step: u64) -> Result<Frame, S::Error> {
        let mut frame = Frame { node, step, sums: Sums::default(), todo: Vec::new() };
        let entries = match decode_node(self.source.chunk(&node)?).map_err(malformed(node))? {
            Node::Entries(entries) => entries,
            Node::Indirect(content) => {
                let (entries, parts) = self.indirect(&content)?;
                frame.sums.parts = parts;
                entries
            }
        };
        self.count(entries.len() as u64)?;
        for DirEntry { name, kind } in entries {
            match kind {
                Kind::Dir(below) => {
                    let len = u8::try_from(name.len());
                    frame
                        .todo
                        .push((below, len.expect("checked names are at most 255 bytes long")));
                }
                Kind::File { content, .. } => {
                    let step = name.len() as u64 + 1;
                    frame.sums.add_path(step, step);
                    let parts = self.file(&content)?;
                    frame.sums.parts = frame.sums.parts.saturating_add(parts);
                    frame.sums.bytes = frame.sums.bytes.saturating_add(content.size);
                }
            }
        }
        Ok(frame)
    }

    /// Looks a file's chunks up; answers with the number of entries of its lists.
    fn file(&mut self, content: &Content) -> Result<u64, S::Error> {
        if content.depth == 0 {
            if u32::try_from(content.size).is_err() {
                return Err(malformed(content.id)("one chunk cannot be that long").into());
            }
            self.missing |= content.size > 0 && !(self.has)(&content.id);
            return Ok(0);
        }
        let listed = self.list(content.id, content.depth)?;
        if listed.bytes != content.size {
            return Err(malformed(content.id)("the lengths of its chunks do not add up").into());
        }
        Ok(listed.parts)
    }

    fn list(&mut self, id: Digest, depth: u8) -> Result<Listed, S::Error> {
        if let Some(listed) = self.lists.get(&(id, depth)) {
            return Ok(*listed);
        }
        let refs = self.refs(id)?;
        let mut listed = Listed { bytes: 0, parts: refs.len() as u64 };
        for part in refs {
            if depth > 1 {
                // A file's lists are at most two deep.
                let inner = self.list(part.id, depth - 1)?;
                listed.bytes = listed.bytes.saturating_add(inner.bytes);
                listed.parts = listed.parts.saturating_add(inner.parts);
            } else {
                listed.bytes = listed.bytes.saturating_add(u64::from(part.len));
                self.missing |= !(self.has)(&part.id);
            }
        }
        self.lists.insert((id, depth), listed);
        Ok(listed)
    }

    /// Reads a directory that is larger than a chunk; answers with the number of entries of its lists too.
    fn indirect(&mut self, content: &Content) -> Result<(Vec<DirEntry>, u64), S::Error> {
        let bad = malformed(content.id);
        if content.size > DIR_BYTES_MAX {
            let what = "bytes in one directory";
            return Err(TreeError::TooLarge { what, limit: DIR_BYTES_MAX }.into());
        }
        let mut parts = match u32::try_from(content.size) {
            Ok(len) => vec![ChunkRef { id: content.id, len }],
            Err(_) => return Err(bad("one chunk cannot be that long").into()),
        };
        let mut listed = 0;
        for _ in 0..content.depth {
            let mut inner = Vec::new();
            for part in parts {
                inner.extend(self.refs(part.id)?);
            }
            listed += inner.len() as u64;
            parts = inner;
        }
        if parts.iter().map(|part| u64::from(part.len)).sum::<u64>() != content.size {
            return Err(bad("the lengths of its chunks do not add up").into());
        }
        let mut bytes = Vec::new();
        for part in &parts {
            let chunk = self.source.chunk(&part.id)?;
            if chunk.len() != part.len as usize {
                return Err(malformed(part.id)("its length is not as listed").into());
            }
            bytes.extend_from_slice(&chunk);
        }
        let entries = decode_plain(Bytes::from(bytes)).map_err(malformed(content.id))?;
        Ok((entries, listed))
    }

    fn refs(&mut self, list: Digest) -> Result<Vec<ChunkRef>, S::Error> {
        let refs = decode_list(&self.source.chunk(&list)?).map_err(malformed(list))?;
        self.count(refs.len() as u64)?;
        Ok(refs)
    }

    /// Bounds what is held in memory, before the sums of the whole tree are known.
    fn count(&mut self, more: u64) -> Result<(), TreeError> {
        self.read = self.read.saturating_add(more);
        if self.read > self.limits.entries {
            let (what, limit) = ("files, directories and chunks", self.limits.entries);
            return Err(TreeError::TooLarge { what, limit });
        }
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), TreeError> {
        if depth > self.limits.depth {
            let limit = self.limits.depth as u64;
            return Err(TreeError::TooLarge { what: "directories within each other", limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::chunk::Chunk;
    use crate::tree::{FAN_OUT, Tree, encode_dir};

    #[derive(Default)]
    struct Memory {
        chunks: HashMap<Digest, Bytes>,
        reads: Cell<usize>,
    }

    impl ChunkSource for Memory {
        type Error = TreeError;
        fn chunk(&self, id: &Digest) -> Result<Bytes, TreeError> {
            self.reads.set(self.reads.get() + 1);
            self.chunks.get(id).cloned().ok_or(TreeError::Malformed { node: *id, why: "lost" })
        }
    }

    impl Memory {
        fn dir(&mut self, entries: &[(&str, Kind)]) -> Digest {
            let mut chunks = Vec::new();
            let entry =
                |(name, kind): &(&str, Kind)| DirEntry { name: (*name).into(), kind: *kind };
            let entries: Vec<DirEntry> = entries.iter().map(entry).collect();
            let id = encode_dir(&entries, &mut chunks).expect("encodes");
            self.chunks.extend(chunks.into_iter().map(|chunk| (chunk.id, chunk.data)));
            id
        }
        /// Directories within each other, each naming the next one twice.
        fn doubled(&mut self, levels: usize) -> Digest {
            (0..levels).fold(self.dir(&[]), |node, _| {
                self.dir(&[("a", Kind::Dir(node)), ("b", Kind::Dir(node))])
            })
        }
        fn file(&mut self, parts: &[ChunkRef]) -> Kind {
            let mut lists = Vec::new();
            let content = Content::of(parts, &mut lists).expect("it fits the lists");
            self.chunks.extend(lists.into_iter().map(|chunk| (chunk.id, chunk.data)));
            Kind::File { executable: false, content }
        }
    }

    const BOUNDLESS: TreeLimits =
        TreeLimits { entries: u64::MAX, bytes: u64::MAX, path_bytes: u64::MAX, depth: 128 };

    fn too_large<T: std::fmt::Debug>(result: Result<T, TreeError>) -> &'static str {
        match result {
            Err(TreeError::TooLarge { what, .. }) => what,
            other => panic!("it was not too large: {other:?}"),
        }
    }

    #[test]
    fn a12_a_node_that_is_named_often_is_read_once_and_never_unfolded() {
        let mut memory = Memory::default();
        let root = memory.doubled(60);
        // 2^60 paths: only what never makes one comes to an end.
        assert!(is_whole(&memory, root, BOUNDLESS, |_| true).expect("it is whole"));
        assert_eq!(memory.reads.get(), 61);
        let found = is_whole(&memory, root, TreeLimits::default(), |_| true);
        assert_eq!(too_large(found), "bytes of paths");
    }

    #[test]
    fn a12_the_bytes_of_paths_are_limited_alike_whole_and_walked() {
        let mut memory = Memory::default();
        let root = memory.doubled(8);
        // 2^n paths of n names, for n from 1 to 8: their letters, and the slashes between them.
        let bytes: u64 = (1..=8u64).map(|n| (1 << n) * (2 * n - 1)).sum();
        for (path_bytes, fits) in [(bytes, true), (bytes - 1, false)] {
            let limits = TreeLimits { path_bytes, ..TreeLimits::default() };
            let (walked, whole) =
                (Tree::walk(&memory, root, limits), is_whole(&memory, root, limits, |_| true));
            if fits {
                assert_eq!(walked.expect("it fits").dirs.len(), 510);
                assert!(whole.expect("it fits"));
            } else {
                assert_eq!(
                    (too_large(walked), too_large(whole)),
                    ("bytes of paths", "bytes of paths")
                );
            }
        }
        // Eight million paths of 23 names: gigabytes, if they were made.
        let root = memory.doubled(22);
        let walked = Tree::walk(
            &memory,
            root,
            TreeLimits { entries: u64::MAX, path_bytes: 1 << 20, ..BOUNDLESS },
        );
        assert_eq!(too_large(walked), "bytes of paths");
        let whole = is_whole(&memory, root, TreeLimits::default(), |_| true);
        assert_eq!(too_large(whole), "bytes of paths");
    }

    #[test]
    fn a12_depth_is_limited_through_what_is_known_already() {
        let mut memory = Memory::default();
        let (mut low, mut roots) = (memory.dir(&[]), Vec::new());
        for _ in 0..129 {
            low = memory.dir(&[("d", Kind::Dir(low))]);
            roots.push(low);
        }
        let whole = |memory: &Memory, root| is_whole(memory, root, BOUNDLESS, |_| true);
        assert!(whole(&memory, roots[127]).expect("128 are allowed"));
        assert_eq!(too_large(whole(&memory, roots[128])), "directories within each other");
        // The last entry is read first, high up; the first leads to it once more, too far down.
        let mut long = roots[100];
        for _ in 0..40 {
            long = memory.dir(&[("e", Kind::Dir(long))]);
        }
        let root = memory.dir(&[("a", Kind::Dir(long)), ("b", Kind::Dir(roots[100]))]);
        assert_eq!(too_large(whole(&memory, root)), "directories within each other");
        assert_eq!(
            too_large(Tree::walk(&memory, root, BOUNDLESS)),
            "directories within each other"
        );
    }

    #[test]
    fn a_list_that_many_files_share_is_read_once_and_counted_each_time() {
        let mut memory = Memory::default();
        let parts: Vec<ChunkRef> = (0..FAN_OUT as u32 * 3)
            .map(|n| ChunkRef { id: Digest::of(&n.to_le_bytes()), len: n + 1 })
            .collect();
        let file = memory.file(&parts);
        let root = memory.dir(&[("a", file), ("b", file), ("c", file)]);
        assert!(is_whole(&memory, root, BOUNDLESS, |_| true).expect("it is whole"));
        assert_eq!(memory.reads.get(), 1 + 4, "a node, a list of three lists");
        let lost = parts[FAN_OUT + 7].id;
        assert!(!is_whole(&memory, root, BOUNDLESS, |id| *id != lost).expect("answers"));
        let entries = 3 * (1 + 3 + parts.len() as u64);
        for (entries, fits) in [(entries, true), (entries - 1, false)] {
            let limits = TreeLimits { entries, ..BOUNDLESS };
            assert_eq!(is_whole(&memory, root, limits, |_| true).is_ok(), fits);
            assert_eq!(Tree::walk(&memory, root, limits).is_ok(), fits);
        }
        let Kind::File { mut content, .. } = file else { panic!("a file was made") };
        content.size += 1;
        let root = memory.dir(&[("a", Kind::File { executable: false, content })]);
        assert!(is_whole(&memory, root, BOUNDLESS, |_| true).is_err(), "lengths do not add up");
    }

    #[test]
    fn a_directory_larger_than_a_chunk_is_whole_with_all_its_parts() {
        let mut memory = Memory::default();
        let names: Vec<String> = (0..12_000).map(|n| format!("{n:06}")).collect();
        let empty = Kind::File {
            executable: false,
            content: Content { size: 0, depth: 0, id: Digest::of(&[]) },
        };
        let entries: Vec<(&str, Kind)> = names.iter().map(|name| (name.as_str(), empty)).collect();
        let root = memory.dir(&entries);
        assert!(memory.chunks.len() > 3, "it is indirect");
        assert!(is_whole(&memory, root, BOUNDLESS, |_| false).expect("empty files need no chunk"));
        for id in memory.chunks.keys().copied().collect::<Vec<_>>() {
            let data = memory.chunks.remove(&id).expect("it was there");
            assert!(is_whole(&memory, root, BOUNDLESS, |_| true).is_err(), "without {id}");
            memory.chunks.insert(id, data);
        }
    }

    proptest! {
        /// Nodes that name earlier ones as they like: the verdict is that of the walk, which unfolds.
        #[test]
        fn a12_the_verdict_is_that_of_the_walk(
            nodes in prop::collection::vec(prop::collection::vec((0usize..8, 1usize..40, any::<bool>()), 0..4), 1..8),
            entries in 1u64..200, path_bytes in 0u64..2_000, bytes in 0u64..2_000, depth in 0usize..7,
        ) {
            let mut memory = Memory::default();
            let mut made: Vec<Digest> = Vec::new();
            for node in &nodes {
                let named: Vec<(String, Kind)> = node.iter().enumerate().map(|(n, (which, len, dir))| {
                    let kind = match made.get(*which).filter(|_| *dir) {
                        Some(below) => Kind::Dir(*below),
                        None => {
                            let chunk = Chunk::new(vec![*which as u8; *len].into());
                            memory.file(&vec![chunk.reference(); which % 3])
                        }
                    };
                    (format!("{n}{}", "x".repeat(*len)), kind)
                }).collect();
                let entries: Vec<(&str, Kind)> = named.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
                made.push(memory.dir(&entries));
            }
            let root = *made.last().expect("there is one");
            let limits = TreeLimits { entries, bytes, path_bytes, depth };
            let walked = Tree::walk(&memory, root, limits);
            let whole = is_whole(&memory, root, limits, |_| true);
            prop_assert_eq!(walked.is_ok(), whole.is_ok(), "{:?} {:?}", walked, whole);
        }
    }
}
