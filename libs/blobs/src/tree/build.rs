//! From a list of files to the nodes of a tree.

use std::collections::BTreeMap;

use runyard_types::Digest;

use super::{Content, DirEntry, Kind, RelPath, TreeError, encode_dir};
use crate::chunk::{Chunk, ChunkRef};

/// A tree's root and the chunks of its nodes and lists (not of its files' bytes).
#[derive(Debug, Clone)]
pub struct BuiltTree {
    pub root: Digest,
    pub chunks: Vec<Chunk>,
}

/// Collects files and directories in any order.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    root: Dir,
    lists: Vec<Chunk>,
}

#[derive(Debug, Default)]
struct Dir(BTreeMap<String, Slot>);

#[derive(Debug)]
enum Slot {
    File { executable: bool, content: Content },
    Dir(Dir),
}

impl TreeBuilder {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file made of `parts`; its directories come into being with it.
    pub fn file(
        &mut self,
        path: &RelPath,
        executable: bool,
        parts: &[ChunkRef],
    ) -> Result<(), TreeError> {
        let (dir, name) = path.split().ok_or_else(|| TreeError::Duplicate(path.to_string()))?;
        let content = Content::of(parts, &mut self.lists)?;
        let slots = &mut self.root.at(&dir)?.0;
        match slots.insert(name.to_owned(), Slot::File { executable, content }) {
            None => Ok(()),
            Some(_) => Err(TreeError::Duplicate(path.to_string())),
        }
    }

    /// Adds a directory, which may stay empty.
    pub fn dir(&mut self, path: &RelPath) -> Result<(), TreeError> {
        self.root.at(path).map(|_| ())
    }

    /// The nodes.
    pub fn finish(mut self) -> Result<BuiltTree, TreeError> {
        let mut chunks = std::mem::take(&mut self.lists);
        let root = self.root.encode(&mut chunks)?;
        Ok(BuiltTree { root, chunks })
    }
}

impl Dir {
    fn at(&mut self, path: &RelPath) -> Result<&mut Self, TreeError> {
        path.names().try_fold(self, |dir, name| {
            let slot = dir.0.entry(name.to_owned()).or_insert_with(|| Slot::Dir(Self::default()));
            match slot {
                Slot::Dir(inner) => Ok(inner),
                Slot::File { .. } => Err(TreeError::Duplicate(path.to_string())),
            }
        })
    }

    /// Recursion is bounded: a path's length bounds its depth.
    fn encode(self, chunks: &mut Vec<Chunk>) -> Result<Digest, TreeError> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (name, slot) in self.0 {
            let kind = match slot {
                Slot::File { executable, content } => Kind::File { executable, content },
                Slot::Dir(inner) => Kind::Dir(inner.encode(chunks)?),
            };
            entries.push(DirEntry { name, kind });
        }
        encode_dir(&entries, chunks)
    }
}
