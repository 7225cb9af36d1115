//! The highest place in the group's history that was obeyed, on disk.
//!
//! It changes with every desired set, some hundred times a second: it is written in place, without
//! a file made for it. Two records take turns, each checksummed and in a sector of its own, so that
//! a write that is torn by a power cut costs the newer one at most.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::core::Position;

/// Where the two records begin.
const AT: [u64; 2] = [0, 512];
/// `GENERATION INDEX CHECKSUM\n`, the numbers with leading zeros.
const RECORD_BYTES: usize = 20 + 1 + 20 + 1 + 8 + 1;

/// The file, and what stands in it.
#[derive(Debug)]
pub(crate) struct PositionFile {
    file: File,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    at: Position,
    /// Which record is written next: never the one that holds `at`.
    next: usize,
}

impl PositionFile {
    /// Opens the file, or makes it. What can't be read in it is no position: a beginning.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = vec![0; AT[1] as usize + RECORD_BYTES];
        let mut len = 0;
        while len < bytes.len() {
            match file.read_at(&mut bytes[len..], len as u64)? {
                0 => break,
                got => len += got,
            }
        }
        bytes.truncate(len);
        let records = AT.map(|at| bytes.get(at as usize..).and_then(decode));
        let newest = usize::from(records[1] > records[0]);
        let now = match records[newest] {
            Some(at) => Now { at, next: 1 - newest },
            // As earlier versions wrote it, `GENERATION INDEX\n` and no more. Of anything longer
            // nothing is believed: a number too high would make the agent deaf.
            None => {
                let plain = decode_plain(&bytes).filter(|_| len < RECORD_BYTES);
                Now { at: plain.unwrap_or_default(), next: 1 }
            }
        };
        Ok(Self { file, now: Mutex::new(now) })
    }

    /// The highest position that was set.
    pub(crate) fn get(&self) -> Position {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).at
    }

    /// Notes a position. Not synced: what a power cut may lose here only lets an older set through,
    /// and that can neither stop nor repeat anything.
    pub(crate) fn set(&self, at: Position) -> io::Result<()> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if at <= now.at {
            return Ok(());
        }
        // In memory it holds whatever the disk says: no older set is obeyed by this process.
        now.at = at;
        self.file.write_all_at(&encode(at), AT[now.next])?;
        now.next = 1 - now.next;
        Ok(())
    }
}

fn encode(at: Position) -> Vec<u8> {
    let numbers = format!("{:020} {:020}", at.generation, at.index);
    let sum = crc32c::crc32c(numbers.as_bytes());
    format!("{numbers} {sum:08x}\n").into_bytes()
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let text = std::str::from_utf8(bytes.get(..RECORD_BYTES)?).ok()?;
    let (numbers, sum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (crc32c::crc32c(numbers.as_bytes()) == sum).then(|| decode_plain(numbers.as_bytes()))?
}

fn decode_plain(bytes: &[u8]) -> Option<Position> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut words = text.split_ascii_whitespace().map(str::parse::<u64>);
    match (words.next(), words.next()) {
        (Some(Ok(generation)), Some(Ok(index))) => Some(Position { generation, index }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: u64, index: u64) -> Position {
        Position { generation, index }
    }

    #[test]
    fn f28_the_highest_position_is_kept_and_none_below_it_replaces_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("position");
        let file = PositionFile::open(&path).expect("opened");
        assert_eq!(file.get(), Position::default());
        for index in 1..=9 {
            file.set(at(2, index)).expect("written");
            assert_eq!(PositionFile::open(&path).expect("opened").get(), at(2, index));
        }
        for older in [at(2, 3), at(1, 100), at(0, 0), at(2, 9)] {
            file.set(older).expect("passed over");
            assert_eq!(file.get(), at(2, 9));
            assert_eq!(PositionFile::open(&path).expect("opened").get(), at(2, 9));
        }
        file.set(at(3, 0)).expect("written");
        assert_eq!(PositionFile::open(&path).expect("opened").get(), at(3, 0));
        let largest = at(u64::MAX, u64::MAX);
        file.set(largest).expect("written");
        assert_eq!(PositionFile::open(&path).expect("opened").get(), largest);
        let size = path.metadata().expect("there").len();
        assert_eq!(size, AT[1] + RECORD_BYTES as u64, "it grows");
    }

    #[test]
    fn f28_a_torn_record_costs_the_newer_position_at_most() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("position");
        let file = PositionFile::open(&path).expect("opened");
        for index in 1..=4 {
            file.set(at(7, index)).expect("written");
        }
        let whole = std::fs::read(&path).expect("read");
        for from in AT {
            for byte in from as usize..from as usize + RECORD_BYTES - 1 {
                let mut torn = whole.clone();
                torn[byte] ^= 0x15;
                std::fs::write(&path, &torn).expect("written");
                let again = PositionFile::open(&path).expect("opened");
                assert!([at(7, 3), at(7, 4)].contains(&again.get()), "{:?}", again.get());
                // And what is written next stands beside the one that was found.
                again.set(at(7, 5)).expect("written");
                assert_eq!(PositionFile::open(&path).expect("opened").get(), at(7, 5));
            }
        }
        for cut in [0, 10, RECORD_BYTES, 300, 520] {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let got = PositionFile::open(&path).expect("opened").get();
            assert!(got == Position::default() || got.generation == 7, "{got:?}");
        }
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read_and_rubbish_is_a_beginning() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("position");
        std::fs::write(&path, "2 77\n").expect("written");
        let file = PositionFile::open(&path).expect("opened");
        assert_eq!(file.get(), at(2, 77));
        file.set(at(2, 78)).expect("written");
        assert_eq!(PositionFile::open(&path).expect("opened").get(), at(2, 78));
        file.set(at(2, 79)).expect("written");
        assert_eq!(PositionFile::open(&path).expect("opened").get(), at(2, 79));
        for rubbish in [&b"torn"[..], b"\xff\xfe 1", b"1", b""] {
            std::fs::write(&path, rubbish).expect("written");
            assert_eq!(PositionFile::open(&path).expect("opened").get(), Position::default());
        }
    }
}
