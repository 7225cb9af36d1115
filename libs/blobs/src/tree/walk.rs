//! Reading a tree without doing the reading: the walk says which chunks it needs, round by round, and
//! whoever has a store or a connection supplies them.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use runyard_types::Digest;

use super::content::decode_list;
use super::node::{Node, decode_node, decode_plain};
use super::{Content, Kind, RelPath, TreeError};
use crate::chunk::ChunkRef;

/// What a tree may hold before it is refused, so that a small evil one cannot unfold without end.
#[derive(Debug, Clone, Copy)]
pub struct TreeLimits {
    /// Files, directories and chunks in all.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of all paths: a node that is named often is small itself, its paths are not.
    pub path_bytes: u64,
    /// Directories within each other.
    pub depth: usize,
}

/// Bytes of the largest directory, encoded; it is read into memory whole.
pub(super) const DIR_BYTES_MAX: u64 = 256 << 20;

impl Default for TreeLimits {
    fn default() -> Self {
        Self { entries: 20_000_000, bytes: 64 << 40, path_bytes: 256 << 20, depth: 128 }
    }
}

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    pub path: RelPath,
    pub executable: bool,
    /// Bytes.
    pub size: u64,
    /// Its bytes, in order.
    pub chunks: Vec<ChunkRef>,
}

/// A tree that was read whole, without its files' bytes.
#[derive(Debug, Clone)]
pub struct Tree {
    pub root: Digest,
    /// All directories but the root, parents before children.
    pub dirs: Vec<RelPath>,
    /// All files, sorted by path.
    pub files: Vec<TreeFile>,
    /// The chunks of nodes and lists.
    pub nodes: BTreeSet<Digest>,
}

impl Tree {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
    /// The file at `path`.
    pub fn file(&self, path: &RelPath) -> Option<&TreeFile> {
        self.files.binary_search_by(|file| file.path.cmp(path)).ok().map(|at| &self.files[at])
    }
    /// The files at or below `path`; all for the empty path.
    pub fn list<'a>(&'a self, path: &'a RelPath) -> impl Iterator<Item = &'a TreeFile> {
        self.files.iter().filter(move |file| {
            path.is_empty()
                || file.path == *path
                || file
                    .path
                    .as_str()
                    .strip_prefix(path.as_str())
                    .is_some_and(|r| r.starts_with('/'))
        })
    }
    /// Every chunk of the tree once: nodes, lists and files.
    pub fn all_chunks(&self) -> BTreeSet<Digest> {
        let files = self.files.iter().flat_map(|file| file.chunks.iter().map(|chunk| chunk.id));
        self.nodes.iter().copied().chain(files).collect()
    }
}

/// Where a pending content's bytes go.
#[derive(Debug)]
enum Owner {
    File {
        path: RelPath,
        executable: bool,
    },
    /// An indirect directory: its bytes are needed as well.
    Dir {
        path: RelPath,
        depth: usize,
    },
}

#[derive(Debug)]
enum Wanted {
    Dir {
        path: RelPath,
        depth: usize,
        node: Digest,
    },
    /// Lists yet to be opened: `parts` all have the same depth.
    Lists {
        owner: Owner,
        content: Content,
        parts: Vec<ChunkRef>,
        depth: u8,
    },
    /// The chunks of an indirect directory.
    Bytes {
        path: RelPath,
        depth: usize,
        content: Content,
        parts: Vec<ChunkRef>,
    },
}

/// A tree being read.
#[derive(Debug)]
pub struct TreeWalk {
    limits: TreeLimits,
    tree: Tree,
    wanted: Vec<Wanted>,
    entries: u64,
    bytes: u64,
    path_bytes: u64,
}

impl TreeWalk {
    /// Begins at `root`.
    pub fn new(root: Digest, limits: TreeLimits) -> Self {
        let tree = Tree { root, dirs: Vec::new(), files: Vec::new(), nodes: BTreeSet::new() };
        let wanted = vec![Wanted::Dir { path: RelPath::default(), depth: 0, node: root }];
        Self { limits, tree, wanted, entries: 0, bytes: 0, path_bytes: 0 }
    }

    /// The chunks of the next round, each once; empty when the tree is complete.
    pub fn needs(&self) -> Vec<Digest> {
        let mut ids = BTreeSet::new();
        for wanted in &self.wanted {
            match wanted {
                Wanted::Dir { node, .. } => {
                    ids.insert(*node);
                }
                Wanted::Lists { parts, .. } | Wanted::Bytes { parts, .. } => {
                    ids.extend(parts.iter().map(|part| part.id));
                }
            }
        }
        ids.into_iter().collect()
    }

    /// Takes the chunks that [`Self::needs`] named; they are verified already.
    pub fn supply(&mut self, chunks: &HashMap<Digest, Bytes>) -> Result<(), TreeError> {
        self.tree.nodes.extend(chunks.keys());
        for wanted in std::mem::take(&mut self.wanted) {
            match wanted {
                Wanted::Dir { path, depth, node } => {
                    let bytes = take(chunks, node)?;
                    match decode_node(bytes).map_err(malformed(node))? {
                        Node::Entries(entries) => self.enter(&path, depth, entries)?,
                        Node::Indirect(content) => {
                            self.want(Owner::Dir { path, depth }, content)?;
                        }
                    }
                }
                Wanted::Lists { owner, content, parts, depth } => {
                    let parts = self.open_lists(chunks, &parts)?;
                    self.resolve(owner, content, parts, depth - 1)?;
                }
                Wanted::Bytes { path, depth, content, parts } => {
                    let mut bytes = Vec::new();
                    for part in &parts {
                        let chunk = take(chunks, part.id)?;
                        if chunk.len() != part.len as usize {
                            return Err(malformed(part.id)("its length is not as listed"));
                        }
                        bytes.extend_from_slice(&chunk);
                    }
                    let entries = decode_plain(bytes.into()).map_err(malformed(content.id))?;
                    self.enter(&path, depth, entries)?;
                }
            }
        }
        Ok(())
    }

    /// The tree, once nothing more is needed.
    pub fn finish(mut self) -> Tree {
        debug_assert!(self.wanted.is_empty(), "the walk is not over");
        self.tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.tree.dirs.sort();
        self.tree
    }

    fn enter(
        &mut self,
        path: &RelPath,
        depth: usize,
        entries: Vec<super::DirEntry>,
    ) -> Result<(), TreeError> {
        if depth > self.limits.depth {
            let limit = self.limits.depth as u64;
            return Err(TreeError::TooLarge { what: "directories within each other", limit });
        }
        self.count(entries.len() as u64)?;
        for entry in entries {
            let path = path.join(&entry.name)?;
            self.path_bytes = self.path_bytes.saturating_add(path.as_str().len() as u64);
            if self.path_bytes > self.limits.path_bytes {
                let limit = self.limits.path_bytes;
                return Err(TreeError::TooLarge { what: "bytes of paths", limit });
            }
            match entry.kind {
                Kind::Dir(node) => {
                    self.tree.dirs.push(path.clone());
                    self.wanted.push(Wanted::Dir { path, depth: depth + 1, node });
                }
                Kind::File { executable, content } => {
                    self.bytes = self.bytes.saturating_add(content.size);
                    if self.bytes > self.limits.bytes {
                        let limit = self.limits.bytes;
                        return Err(TreeError::TooLarge { what: "bytes", limit });
                    }
                    self.want(Owner::File { path, executable }, content)?;
                }
            }
        }
        Ok(())
    }

    fn want(&mut self, owner: Owner, content: Content) -> Result<(), TreeError> {
        let bad = malformed(content.id);
        if let Owner::Dir { .. } = owner
            && content.size > DIR_BYTES_MAX
        {
            let (what, limit) = ("bytes in one directory", DIR_BYTES_MAX);
            return Err(TreeError::TooLarge { what, limit });
        }
        let root = match (content.depth, u32::try_from(content.size)) {
            (0, Ok(0)) => Vec::new(),
            (0, Ok(len)) => vec![ChunkRef { id: content.id, len }],
            (0, Err(_)) => return Err(bad("one chunk cannot be that long")),
            // The length of a list chunk is not known from outside, nor needed.
            (_, _) => vec![ChunkRef { id: content.id, len: 0 }],
        };
        self.resolve(owner, content, root, content.depth)
    }

    fn resolve(
        &mut self,
        owner: Owner,
        content: Content,
        parts: Vec<ChunkRef>,
        depth: u8,
    ) -> Result<(), TreeError> {
        if depth > 0 {
            self.wanted.push(Wanted::Lists { owner, content, parts, depth });
            return Ok(());
        }
        let size: u64 = parts.iter().map(|part| u64::from(part.len)).sum();
        if size != content.size {
            return Err(malformed(content.id)("the lengths of its chunks do not add up"));
        }
        match owner {
            Owner::File { path, executable } => {
                self.tree.files.push(TreeFile { path, executable, size, chunks: parts });
            }
            Owner::Dir { path, depth } => {
                self.wanted.push(Wanted::Bytes { path, depth, content, parts });
            }
        }
        Ok(())
    }

    fn open_lists(
        &mut self,
        chunks: &HashMap<Digest, Bytes>,
        lists: &[ChunkRef],
    ) -> Result<Vec<ChunkRef>, TreeError> {
        let mut parts = Vec::new();
        for list in lists {
            let inner = decode_list(&take(chunks, list.id)?).map_err(malformed(list.id))?;
            self.count(inner.len() as u64)?;
            parts.extend(inner);
        }
        Ok(parts)
    }

    fn count(&mut self, more: u64) -> Result<(), TreeError> {
        self.entries = self.entries.saturating_add(more);
        if self.entries > self.limits.entries {
            let limit = self.limits.entries;
            return Err(TreeError::TooLarge { what: "files, directories and chunks", limit });
        }
        Ok(())
    }
}

pub(super) fn malformed(node: Digest) -> impl Fn(&'static str) -> TreeError {
    move |why| TreeError::Malformed { node, why }
}

fn take(chunks: &HashMap<Digest, Bytes>, id: Digest) -> Result<Bytes, TreeError> {
    chunks.get(&id).cloned().ok_or_else(|| malformed(id)("it was not supplied"))
}
