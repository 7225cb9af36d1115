//! Reading trees and files from a source of chunks that answers at once.

use std::collections::HashMap;

use bytes::Bytes;
use runyard_types::Digest;

use super::{RelPath, Tree, TreeError, TreeFile, TreeLimits, TreeWalk};

/// A store that has chunks at hand. What it answers is verified.
pub trait ChunkSource {
    /// Why a chunk could not be had.
    type Error: From<TreeError>;
    /// The bytes of a chunk.
    fn chunk(&self, id: &Digest) -> Result<Bytes, Self::Error>;
}

/// Reads the tree at `root`, without its files' bytes.
pub fn read_tree<S: ChunkSource>(
    source: &S,
    root: Digest,
    limits: TreeLimits,
) -> Result<Tree, S::Error> {
    let mut walk = TreeWalk::new(root, limits);
    loop {
        let needs = walk.needs();
        if needs.is_empty() {
            return Ok(walk.finish());
        }
        let mut chunks = HashMap::with_capacity(needs.len());
        for id in needs {
            chunks.insert(id, source.chunk(&id)?);
        }
        walk.supply(&chunks)?;
    }
}

/// Reads a file's bytes, at most `bytes_max` of them.
pub fn read_file<S: ChunkSource>(
    source: &S,
    file: &TreeFile,
    bytes_max: u64,
) -> Result<Vec<u8>, S::Error> {
    if file.size > bytes_max {
        let what = "bytes in a file that is read into memory";
        return Err(TreeError::TooLarge { what, limit: bytes_max }.into());
    }
    let mut out = Vec::new();
    for part in &file.chunks {
        let chunk = source.chunk(&part.id)?;
        if chunk.len() != part.len as usize {
            let why = "its length is not as listed";
            return Err(TreeError::Malformed { node: part.id, why }.into());
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

impl Tree {
    /// Reads the tree at `root` from `source`.
    pub fn walk<S: ChunkSource>(
        source: &S,
        root: Digest,
        limits: TreeLimits,
    ) -> Result<Self, S::Error> {
        read_tree(source, root, limits)
    }

    /// The bytes of the file at `path`, or `None` if there is none.
    pub fn read<S: ChunkSource>(
        &self,
        source: &S,
        path: &RelPath,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, S::Error> {
        self.file(path).map(|file| read_file(source, file, bytes_max)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::{Chunk, ChunkRef, cut_bytes};
    use crate::testing::noise;
    use crate::tree::{Content, FAN_OUT, TreeBuilder};

    #[derive(Default)]
    struct Memory(HashMap<Digest, Bytes>);

    impl Memory {
        fn add(&mut self, chunks: impl IntoIterator<Item = Chunk>) -> Vec<ChunkRef> {
            chunks
                .into_iter()
                .map(|chunk| {
                    self.0.insert(chunk.id, chunk.data.clone());
                    chunk.reference()
                })
                .collect()
        }
    }

    impl ChunkSource for Memory {
        type Error = TreeError;
        fn chunk(&self, id: &Digest) -> Result<Bytes, TreeError> {
            self.0.get(id).cloned().ok_or(TreeError::Malformed { node: *id, why: "lost" })
        }
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).expect(text)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_tree_comes_back_whatever_the_order(
            names in prop::collection::btree_map("[a-c]{1,2}(/[a-c]{1,2}){0,3}", 0usize..700_000, 0..12),
            turn in 0usize..12,
        ) {
            let mut memory = Memory::default();
            let mut files: Vec<(RelPath, Vec<u8>)> = Vec::new();
            for (name, len) in names {
                let inside = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|r| r.starts_with('/'));
                if files.iter().any(|(p, _)| inside(p.as_str(), &name) || inside(&name, p.as_str())) { continue; }
                files.push((path(&name), noise(len as u64, len)));
            }
            let mut roots = Vec::new();
            for turn in [0, turn] {
                let mut order = files.clone();
                if !order.is_empty() { let n = order.len(); order.rotate_left(turn % n); }
                let mut builder = TreeBuilder::new();
                for (path, data) in &order {
                    let parts = memory.add(cut_bytes(data.clone().into()));
                    builder.file(path, data.len() % 2 == 1, &parts).expect("no duplicates");
                }
                let built = builder.finish().expect("encodes");
                memory.add(built.chunks);
                roots.push(built.root);
            }
            prop_assert_eq!(roots[0], roots[1]);
            let tree = Tree::walk(&memory, roots[0], TreeLimits::default()).expect("reads");
            prop_assert_eq!(tree.files.len(), files.len());
            for (path, data) in &files {
                let read = tree.read(&memory, path, u64::MAX).expect("reads");
                prop_assert_eq!(read.as_ref(), Some(data));
            }
        }
    }

    #[test]
    fn a_directory_larger_than_a_chunk_comes_back() {
        let mut memory = Memory::default();
        let mut builder = TreeBuilder::new();
        for n in 0..12_000 {
            let parts = memory.add([Chunk::new(Bytes::from(format!("{n}")))]);
            builder.file(&path(&format!("d/{n:06}")), false, &parts).expect("no duplicate");
        }
        builder.dir(&path("empty/inner")).expect("a directory");
        let built = builder.finish().expect("encodes");
        assert!(built.chunks.iter().all(|c| c.data.len() <= crate::chunk::WHOLE_BYTES_MAX));
        memory.add(built.chunks);
        let tree = Tree::walk(&memory, built.root, TreeLimits::default()).expect("reads");
        assert_eq!(tree.files.len(), 12_000);
        assert_eq!(tree.dirs, [path("d"), path("empty"), path("empty/inner")]);
        assert_eq!(
            tree.read(&memory, &path("d/011999"), 10).expect("reads"),
            Some(b"11999".into())
        );
        assert_eq!(tree.list(&path("d")).count(), 12_000);
        assert_eq!(tree.list(&path("d/0")).count(), 0);
    }

    #[test]
    fn a_file_of_lists_of_lists_comes_back() {
        let parts: Vec<ChunkRef> = (0..FAN_OUT as u32 + 5)
            .map(|n| ChunkRef { id: Digest::of(&n.to_le_bytes()), len: n + 1 })
            .collect();
        let mut builder = TreeBuilder::new();
        builder.file(&path("large"), true, &parts).expect("no duplicate");
        let built = builder.finish().expect("encodes");
        let mut memory = Memory::default();
        memory.add(built.chunks);
        let tree = Tree::walk(&memory, built.root, TreeLimits::default()).expect("reads");
        assert_eq!(tree.files[0].chunks, parts);
        assert_eq!(tree.all_chunks().len(), parts.len() + 1 + 3);
    }

    #[test]
    fn a12_a_small_tree_cannot_unfold_without_end() {
        let mut memory = Memory::default();
        let mut chunks = Vec::new();
        let mut node = crate::tree::encode_dir(&[], &mut chunks).expect("encodes");
        for _ in 0..60 {
            let twice = ["a", "b"].map(|name| crate::tree::DirEntry {
                name: name.into(),
                kind: crate::tree::Kind::Dir(node),
            });
            node = crate::tree::encode_dir(&twice, &mut chunks).expect("encodes");
        }
        memory.add(chunks);
        let limits = TreeLimits { entries: 10_000, ..TreeLimits::default() };
        let error = Tree::walk(&memory, node, limits).expect_err("it has 2^60 directories");
        assert!(error.to_string().contains("more than 10000"), "{error}");
    }

    #[test]
    fn a12_a_sparse_petabyte_is_refused() {
        let one = ChunkRef { id: Digest::of(b"x"), len: u32::MAX };
        let mut lists = Vec::new();
        let content = Content::of(&vec![one; FAN_OUT * 64], &mut lists).expect("it fits the lists");
        let kind = crate::tree::Kind::File { executable: false, content };
        let entry = crate::tree::DirEntry { name: "sparse".into(), kind };
        let root = crate::tree::encode_dir(&[entry], &mut lists).expect("encodes");
        let mut memory = Memory::default();
        memory.add(lists);
        assert!(matches!(
            Tree::walk(&memory, root, TreeLimits::default()),
            Err(TreeError::TooLarge { what: "bytes", .. })
        ));
    }

    #[test]
    fn a_file_is_no_directory() {
        let mut builder = TreeBuilder::new();
        builder.file(&path("a"), false, &[]).expect("first");
        assert!(matches!(builder.file(&path("a/b"), false, &[]), Err(TreeError::Duplicate(_))));
        assert!(matches!(builder.file(&path("a"), false, &[]), Err(TreeError::Duplicate(_))));
        assert!(matches!(builder.dir(&path("a")), Err(TreeError::Duplicate(_))));
    }
}
