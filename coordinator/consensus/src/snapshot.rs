//! Snapshot files: saved whole or not at all, and verified before they are believed.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    disk::{self, Disk},
    log::codec::{Malformed, Reader, put_bytes, put_u32, put_u64},
    members::Members,
};

/// Raised when older binaries could not read what this one writes.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"RUNYSNAP";
/// Magic, format, length and checksum of the header's fields.
const PREFIX: usize = 8 + 4 + 4 + 4;

/// What the log says of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotMark {
    /// The last entry whose effect is in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The size of the state machine's bytes.
    pub bytes: u64,
    /// Their BLAKE3 digest.
    pub digest: [u8; 32],
    /// The group's members at `index`.
    pub members: Members,
    /// Whether it came from another peer: the log then begins behind it.
    pub received: bool,
}

impl SnapshotMark {
    pub(crate) fn of(index: u64, term: u64, members: Members, bytes: &[u8]) -> Self {
        let digest = *blake3::hash(bytes).as_bytes();
        Self { index, term, bytes: bytes.len() as u64, digest, members, received: false }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.index);
        put_u64(out, self.term);
        put_u64(out, self.bytes);
        out.extend_from_slice(&self.digest);
        self.members.encode(out);
        out.push(u8::from(self.received));
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            index: from.u64()?,
            term: from.u64()?,
            bytes: from.u64()?,
            digest: from.array()?,
            members: Members::decode(from)?,
            received: from.u8()? != 0,
        })
    }

    /// The name of its file. A received one is named apart: left over without a record in the
    /// log, it proves nothing, while one of our own above the log's end would.
    pub(crate) fn file_name(&self) -> String {
        let kind = if self.received { RECEIVED } else { OWN };
        format!("{kind}-{:016}.snap", self.index)
    }
}

const OWN: &str = "own";
const RECEIVED: &str = "received";

/// A snapshot file's name, taken apart: (received, index).
pub(crate) fn parse_name(name: &str) -> Option<(bool, u64)> {
    let (kind, digits) = name.strip_suffix(".snap")?.split_once('-')?;
    let index = digits.parse().ok()?;
    match kind {
        OWN => Some((false, index)),
        RECEIVED => Some((true, index)),
        _ => None,
    }
}

/// Saves a snapshot: temporary file, sync, rename, sync of the directory. On an error nothing is
/// left behind that could be taken for a snapshot.
pub(crate) fn save(
    disk: &dyn Disk,
    dir: &Path,
    mark: &SnapshotMark,
    bytes: &[u8],
) -> io::Result<()> {
    let path = dir.join(mark.file_name());
    let temp = path.with_extension("tmp");
    let mut fields = Vec::new();
    mark.encode(&mut fields);
    let mut header = MAGIC.to_vec();
    put_u32(&mut header, FORMAT);
    put_bytes(&mut header, &fields);
    // The checksum of all this stands in front of the fields.
    let crc = crc32c::crc32c(&header);
    header.splice(PREFIX - 4..PREFIX - 4, crc.to_le_bytes());

    let write = || {
        let file = disk.create(&temp)?;
        file.write_at(0, &header)?;
        file.write_at(header.len() as u64, bytes)?;
        file.sync()
    };
    if let Err(error) = write() {
        // Best effort: a leftover is removed at the next start.
        let _ = disk.remove(&temp);
        return Err(error);
    }
    disk.rename(&temp, &path)?;
    disk.sync_dir(dir)
}

/// Why a snapshot file is not to be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is damaged at byte {offset}: {what}")]
    Damaged { offset: u64, what: &'static str },
    #[error("has format {0}, which a newer version wrote")]
    Newer(u32),
}

/// The state machine's bytes of the snapshot that `mark` names, verified.
pub(crate) fn load(disk: &dyn Disk, dir: &Path, mark: &SnapshotMark) -> Result<Vec<u8>, LoadError> {
    let damaged = |offset: usize, what| LoadError::Damaged { offset: offset as u64, what };
    let file = disk.open(&dir.join(mark.file_name()))?;
    let mut bytes = disk::read_all(file.as_ref())?;
    let mut from = Reader::new(&bytes);
    if from.take(MAGIC.len()) != Ok(MAGIC) {
        return Err(damaged(0, "it does not begin as a snapshot does"));
    }
    let short = |e: Malformed| damaged(0, e.0);
    let format = from.u32().map_err(short)?;
    let length = from.u32().map_err(short)? as usize;
    let crc = from.u32().map_err(short)?;
    let fields = from.take(length).map_err(short)?;
    let expected = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), fields);
    if crc != expected {
        return Err(damaged(16, "its header's checksum is wrong"));
    }
    if format != FORMAT {
        return Err(LoadError::Newer(format));
    }
    let found = SnapshotMark::decode(&mut Reader::new(fields)).map_err(short)?;
    if found != *mark {
        return Err(damaged(PREFIX, "it is another snapshot than the log names"));
    }
    let body = PREFIX + length;
    if bytes.len() as u64 != body as u64 + mark.bytes {
        return Err(damaged(bytes.len(), "its size is not the one the log names"));
    }
    if *blake3::hash(&bytes[body..]).as_bytes() != mark.digest {
        return Err(damaged(body, "its contents do not have the digest that the log names"));
    }
    bytes.drain(..body);
    Ok(bytes)
}

/// The paths of snapshot files that are in `dir`, with (received, index).
pub(crate) fn files(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(PathBuf, bool, u64)>> {
    let names = disk.list(dir)?;
    let parsed = names.into_iter().filter_map(|name| Some((dir.join(&name), parse_name(&name)?)));
    Ok(parsed.map(|(path, (received, index))| (path, received, index)).collect())
}

/// Which of the snapshot files that the log does not name may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prune {
    /// All: nobody is about to name one.
    Unnamed,
    /// Those before the newest named one. A later one may just have been saved, and is named next.
    Older,
}

/// Removes snapshot files that `kept`, the last the newest, does not name.
pub(crate) fn prune(
    disk: &dyn Disk,
    dir: &Path,
    kept: &[SnapshotMark],
    which: Prune,
) -> io::Result<()> {
    let newest = kept.last().map_or(0, |mark| mark.index);
    for (path, received, index) in files(disk, dir)? {
        let is_named = kept.iter().any(|mark| (mark.received, mark.index) == (received, index));
        if !is_named && (which == Prune::Unnamed || index < newest) {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    #[test]
    fn what_was_saved_while_an_older_one_was_named_stays() {
        let (disk, dir) = (SimDisk::new(), Path::new("/peer"));
        disk.create_dir(dir).expect("a directory");
        let marks: Vec<SnapshotMark> = [10, 20, 30, 40]
            .map(|index| SnapshotMark::of(index, 1, Members::of_voters(vec![7]), b"state"))
            .into();
        for mark in &marks {
            save(&disk, dir, mark, b"state").expect("saved");
        }
        let left = || {
            let found = files(&disk, dir).expect("listed");
            found.into_iter().map(|(_, _, index)| index).collect::<Vec<_>>()
        };
        // The log names the third; the fourth is saved, and its name on its way.
        prune(&disk, dir, &marks[1..3], Prune::Older).expect("pruned");
        assert_eq!(left(), [20, 30, 40]);
        assert_eq!(load(&disk, dir, &marks[3]).expect("it is there"), b"state");
        // At a start nothing is on its way.
        prune(&disk, dir, &marks[1..3], Prune::Unnamed).expect("pruned");
        assert_eq!(left(), [20, 30]);
    }
}
