//! Reading a pack's index back, and checking a whole pack.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

use super::{
    END, ENTRY_BYTES, Entry, FOOTER_BYTES, HEADER_BYTES, MAGIC, PACK_BYTES_MAX, PackError, VERSION,
    open_stored,
};

struct Footer {
    index_at: usize,
    count: usize,
    crc: u32,
}

/// Reads the index from the footer of a file of `len` bytes. Chunks are verified when they are read.
pub fn read_index(file: &File, len: u64) -> Result<Vec<Entry>, PackError> {
    let len = usize::try_from(len).ok().filter(|&len| len as u64 <= PACK_BYTES_MAX);
    let len = len.ok_or(PackError::Malformed("it is larger than any pack"))?;
    if len < HEADER_BYTES + FOOTER_BYTES {
        return Err(PackError::Malformed("it is too short"));
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, (len - FOOTER_BYTES) as u64)?;
    check_versions(&header, &footer)?;
    let footer = parse_footer(&footer, len)?;
    let mut index = vec![0; footer.count * ENTRY_BYTES];
    file.read_exact_at(&mut index, footer.index_at as u64)?;
    parse_index(&footer, &index)
}

/// Reads the index of a pack in memory.
pub fn parse_pack(pack: &[u8]) -> Result<Vec<Entry>, PackError> {
    if pack.len() < HEADER_BYTES + FOOTER_BYTES || pack.len() as u64 > PACK_BYTES_MAX {
        return Err(PackError::Malformed("it has an impossible size"));
    }
    let at = pack.len() - FOOTER_BYTES;
    let header = pack[..HEADER_BYTES].try_into().expect("the length was checked");
    let footer = pack[at..].try_into().expect("the length was checked");
    check_versions(header, footer)?;
    let footer = parse_footer(footer, pack.len())?;
    parse_index(&footer, &pack[footer.index_at..at])
}

/// Checks every chunk of a pack file against its digest; answers with the index.
pub fn verify_pack(file: &File, len: u64) -> Result<Vec<Entry>, PackError> {
    let entries = read_index(file, len)?;
    for entry in &entries {
        let mut stored = vec![0; entry.stored as usize];
        file.read_exact_at(&mut stored, u64::from(entry.offset))?;
        open_stored(entry, Bytes::from(stored))?;
    }
    Ok(entries)
}

/// Parses the bytes of an index that is not yet part of a pack.
pub(super) fn parse_entries(index: &[u8], index_at: usize) -> Result<Vec<Entry>, PackError> {
    let (entries, rest) = index.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(PackError::Malformed("its index is cut short"));
    }
    entries
        .iter()
        .map(|bytes| {
            let entry = Entry::read(bytes)?;
            let end = entry.offset as usize + entry.stored as usize;
            if (entry.offset as usize) < HEADER_BYTES || end > index_at {
                return Err(PackError::Malformed("an entry lies outside it"));
            }
            Ok(entry)
        })
        .collect()
}

/// Header and footer both say the version, so that a flipped bit in it is not taken for a newer format.
fn check_versions(
    header: &[u8; HEADER_BYTES],
    footer: &[u8; FOOTER_BYTES],
) -> Result<(), PackError> {
    if &header[..6] != MAGIC {
        return Err(PackError::Malformed("it does not begin like one"));
    }
    let version = u16::from_le_bytes([header[6], header[7]]);
    let ends_alike = &footer[14..] == END;
    match (version == VERSION, u16::from_le_bytes([footer[12], footer[13]]) == VERSION) {
        (true, true) => Ok(()),
        (true, false) | (false, true) if ends_alike => {
            Err(PackError::Malformed("its beginning and its end are of different formats"))
        }
        // What ends otherwise is torn; [`parse_footer`] says so.
        (true, _) => Ok(()),
        (false, _) => Err(PackError::Version(version)),
    }
}

fn parse_footer(bytes: &[u8; FOOTER_BYTES], len: usize) -> Result<Footer, PackError> {
    let number = |at: usize| {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were taken"))
    };
    if &bytes[14..] != END {
        return Err(PackError::Malformed("its end is missing"));
    }
    let (index_at, count, crc) = (number(0) as usize, number(4) as usize, number(8));
    let end = count.checked_mul(ENTRY_BYTES).and_then(|size| size.checked_add(index_at));
    if index_at < HEADER_BYTES || end != Some(len - FOOTER_BYTES) {
        return Err(PackError::Malformed("its index lies outside it"));
    }
    Ok(Footer { index_at, count, crc })
}

fn parse_index(footer: &Footer, index: &[u8]) -> Result<Vec<Entry>, PackError> {
    if crc32c::crc32c(index) != footer.crc {
        return Err(PackError::Malformed("its index is damaged"));
    }
    parse_entries(index, footer.index_at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::Chunk;
    use crate::pack::{Encoding, Pack, PackBuilder, PackId};
    use crate::testing::noise;

    fn pack_of(chunks: &[Chunk]) -> Pack {
        let mut builder = PackBuilder::new().expect("zstd has memory");
        assert!(chunks.iter().all(|chunk| builder.push(chunk)));
        builder.finish()
    }

    fn read_all(pack: &[u8]) -> Result<Vec<Chunk>, PackError> {
        parse_pack(pack)?
            .iter()
            .map(|e| {
                let at = e.offset as usize;
                let stored = Bytes::copy_from_slice(&pack[at..at + e.stored as usize]);
                Ok(Chunk { id: e.id, data: open_stored(e, stored)? })
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_was_packed_comes_back(sizes in prop::collection::vec((1usize..90_000, any::<bool>()), 0..12)) {
            let chunks: Vec<Chunk> = sizes.iter().enumerate().map(|(n, &(len, dull))| {
                Chunk::new(if dull { vec![n as u8; len] } else { noise(n as u64, len) }.into())
            }).collect();
            let pack = pack_of(&chunks);
            prop_assert_eq!(PackId::of(&pack.bytes), pack.id);
            prop_assert_eq!(read_all(&pack.bytes).expect("reads"), chunks);
        }

        #[test]
        fn a37_no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_all(&bytes);
        }
    }

    #[test]
    fn f41_every_flipped_bit_is_noticed() {
        let chunks = [Chunk::new(noise(1, 300).into()), Chunk::new(vec![b'a'; 400].into())];
        let pack = pack_of(&chunks);
        assert_eq!(pack.entries[1].encoding, Encoding::Zstd);
        let mut harmless = 0;
        for bit in 0..pack.bytes.len() * 8 {
            let mut bad = pack.bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(PackId::of(&bad), pack.id);
            match read_all(&bad) {
                Err(_) => {}
                // zstd frames have a few bits that no decoder looks at.
                Ok(same) if same == chunks => harmless += 1,
                Ok(_) => panic!("bit {bit} gave other bytes"),
            }
        }
        assert!(harmless <= 8, "{harmless} flips went unnoticed");
    }

    #[test]
    fn f41_every_cut_is_noticed() {
        let pack = pack_of(&[Chunk::new(noise(1, 300).into())]);
        for len in 0..pack.bytes.len() {
            assert!(read_all(&pack.bytes[..len]).is_err(), "a pack cut at {len} was read");
        }
    }

    #[test]
    fn a_full_pack_takes_no_more() {
        let mut builder = PackBuilder::new().expect("zstd has memory");
        let chunk = Chunk::new(noise(9, 8 << 20).into());
        let taken = (0..9).take_while(|_| builder.push(&chunk)).count();
        assert_eq!(taken, 7);
        assert!(builder.finish().bytes.len() as u64 <= PACK_BYTES_MAX);
    }
}
