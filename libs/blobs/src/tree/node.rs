//! The canonical bytes of a directory.
//!
//! ```text
//! node  = 1 entry*                      (sorted by name, strictly)
//!       | 2 content                     (the bytes of a node of form 1, too large for one chunk)
//! entry = kind:u8 name_len:u16 name digest:32 [size:u64 depth:u8, for files]
//! kind  = 0 file, 1 executable file, 2 directory
//! ```

use bytes::{Buf as _, Bytes};
use runyard_types::Digest;

use super::content::DEPTH_MAX;
use super::{Content, check_name};
use crate::chunk::{Chunk, WHOLE_BYTES_MAX, cut_bytes};

const PLAIN: u8 = 1;
const INDIRECT: u8 = 2;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File {
        executable: bool,
        content: Content,
    },
    /// The digest of the directory's node.
    Dir(Digest),
}

/// A named entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub kind: Kind,
}

/// A decoded node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    Entries(Vec<DirEntry>),
    /// The entries are these bytes.
    Indirect(Content),
}

/// Encodes a directory whose entries are sorted; all chunks it takes are appended to `chunks`.
pub fn encode_dir(
    entries: &[DirEntry],
    chunks: &mut Vec<Chunk>,
) -> Result<Digest, super::TreeError> {
    let mut out = vec![PLAIN];
    for entry in entries {
        write_entry(entry, &mut out);
    }
    if out.len() > WHOLE_BYTES_MAX {
        let parts = cut_bytes(out.into());
        let refs: Vec<_> = parts.iter().map(Chunk::reference).collect();
        chunks.extend(parts);
        out = vec![INDIRECT];
        write_content(&Content::of(&refs, chunks)?, &mut out);
    }
    let node = Chunk::new(out.into());
    let id = node.id;
    chunks.push(node);
    Ok(id)
}

fn write_entry(entry: &DirEntry, out: &mut Vec<u8>) {
    out.push(match entry.kind {
        Kind::File { executable, .. } => u8::from(executable),
        Kind::Dir(_) => 2,
    });
    let len = u16::try_from(entry.name.len()).expect("checked names are at most 255 bytes long");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(entry.name.as_bytes());
    match &entry.kind {
        Kind::File { content, .. } => write_content(content, out),
        Kind::Dir(id) => out.extend_from_slice(id.as_bytes()),
    }
}

fn write_content(content: &Content, out: &mut Vec<u8>) {
    out.extend_from_slice(content.id.as_bytes());
    out.extend_from_slice(&content.size.to_le_bytes());
    out.push(content.depth);
}

/// Decodes a directory that fits one chunk; strict: one content has one encoding.
pub fn decode_dir(bytes: &Bytes) -> Result<Vec<DirEntry>, &'static str> {
    match decode_node(bytes.clone())? {
        Node::Entries(entries) => Ok(entries),
        Node::Indirect(_) => Err("it is larger than one chunk"),
    }
}

pub(super) fn decode_node(mut bytes: Bytes) -> Result<Node, &'static str> {
    if bytes.is_empty() {
        return Err("it is empty");
    }
    match bytes.get_u8() {
        PLAIN => decode_entries(bytes).map(Node::Entries),
        INDIRECT => {
            let content = read_content(&mut bytes)?;
            if content.size <= WHOLE_BYTES_MAX as u64 || !bytes.is_empty() {
                return Err("an indirect directory is not canonical");
            }
            Ok(Node::Indirect(content))
        }
        _ => Err("it begins with an unknown byte"),
    }
}

/// The bytes behind an indirect node, which are a node of the plain form.
pub(super) fn decode_plain(mut bytes: Bytes) -> Result<Vec<DirEntry>, &'static str> {
    if bytes.is_empty() || bytes.get_u8() != PLAIN {
        return Err("an indirect directory leads to no plain one");
    }
    decode_entries(bytes)
}

fn decode_entries(mut bytes: Bytes) -> Result<Vec<DirEntry>, &'static str> {
    let mut entries: Vec<DirEntry> = Vec::new();
    while !bytes.is_empty() {
        let kind = bytes.get_u8();
        let len = bytes.try_get_u16_le().map_err(|_| SHORT)?;
        if bytes.len() < usize::from(len) {
            return Err(SHORT);
        }
        let name = bytes.split_to(usize::from(len));
        let name = std::str::from_utf8(&name).map_err(|_| "a name is not UTF-8")?.to_owned();
        check_name(&name).map_err(|_| "a name could leave its directory (`/`, `..`, NUL)")?;
        if entries.last().is_some_and(|last| last.name >= name) {
            return Err("its names are not sorted, or one stands twice");
        }
        let kind = match kind {
            0 | 1 => Kind::File { executable: kind == 1, content: read_content(&mut bytes)? },
            2 => Kind::Dir(read_digest(&mut bytes)?),
            _ => return Err("an entry is neither file nor directory"),
        };
        entries.push(DirEntry { name, kind });
    }
    Ok(entries)
}

const SHORT: &str = "it is cut short";

fn read_digest(bytes: &mut Bytes) -> Result<Digest, &'static str> {
    if bytes.len() < 32 {
        return Err(SHORT);
    }
    Ok(Digest::from_slice(&bytes.split_to(32)).expect("32 bytes were split off"))
}

fn read_content(bytes: &mut Bytes) -> Result<Content, &'static str> {
    let id = read_digest(bytes)?;
    let size = bytes.try_get_u64_le().map_err(|_| SHORT)?;
    let depth = bytes.try_get_u8().map_err(|_| SHORT)?;
    if depth > DEPTH_MAX {
        return Err("a chunk list is too deep");
    }
    if size == 0 && (depth > 0 || id != Digest::of(&[])) {
        return Err("an empty file has chunks");
    }
    Ok(Content { size, depth, id })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str, size: u64) -> DirEntry {
        let content = Content { size, depth: 0, id: Digest::of(&size.to_le_bytes()) };
        DirEntry { name: name.into(), kind: Kind::File { executable: false, content } }
    }

    #[test]
    fn a11_evil_nodes_are_refused() {
        let raw = |entries: &[DirEntry]| {
            let mut out = vec![PLAIN];
            entries.iter().for_each(|entry| write_entry(entry, &mut out));
            Bytes::from(out)
        };
        for name in ["..", ".", "", "/etc", "a/b", "../x", "a\0"] {
            assert!(decode_dir(&raw(&[file(name, 1)])).is_err(), "{name:?} was accepted");
        }
        assert!(decode_dir(&raw(&[file("b", 1), file("a", 1)])).is_err(), "unsorted");
        assert!(decode_dir(&raw(&[file("a", 1), file("a", 1)])).is_err(), "twice");
        let mut link = raw(&[file("a", 1)]).to_vec();
        link[1] = 3;
        assert!(decode_dir(&link.into()).is_err(), "an unknown kind");
        let good = raw(&[file("a", 1), file("b", 2)]);
        assert_eq!(decode_dir(&good).expect("good").len(), 2);
        for len in 0..good.len() {
            let cut = decode_dir(&good.slice(..len));
            assert!(cut.is_err() || cut.is_ok_and(|entries| entries.len() < 2), "cut at {len}");
        }
    }

    proptest! {
        #[test]
        fn a11_no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), plain: bool) {
            let mut bytes = bytes;
            if plain && !bytes.is_empty() { bytes[0] = PLAIN; }
            let bytes = Bytes::from(bytes);
            if let Ok(Node::Entries(entries)) = decode_node(bytes.clone()) {
                // Canonical: what decodes, encodes to the same bytes.
                let mut again = vec![PLAIN];
                entries.iter().for_each(|entry| write_entry(entry, &mut again));
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
