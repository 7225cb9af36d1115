//! What the store makes of damage, of newer formats and of a system that fails: nothing good is lost by it.

mod common;

use std::path::{Path, PathBuf};

use common::{noise, project};
use runyard_blobs::pack::{Pack, PackBuilder, PackId};
use runyard_blobs::store::StoreOptions;
use runyard_blobs::tree::{DirEntry, Kind, encode_dir};
use runyard_blobs::{Chunk, LocalStore, StoreError};
use runyard_types::Digest;

fn open(dir: &Path) -> LocalStore {
    LocalStore::open(dir).expect("the store opens")
}

fn chunks(seed: u64, sizes: &[usize]) -> Vec<Chunk> {
    let data = |(n, &len)| Chunk::new(noise(seed * 1_000 + n as u64, len).into());
    sizes.iter().enumerate().map(data).collect()
}

fn pack_of(chunks: &[Chunk]) -> Pack {
    let mut builder = PackBuilder::new().expect("zstd has memory");
    assert!(chunks.iter().all(|chunk| builder.push(chunk)));
    builder.finish()
}

fn upload(store: &LocalStore, pack: &Pack) -> Result<u64, StoreError> {
    let upload = store.upload_pack(&project(), pack.id, pack.bytes.len() as u64)?;
    upload.append(0, &pack.bytes)?;
    upload.finish()
}

fn ids(chunks: &[Chunk]) -> Vec<Digest> {
    chunks.iter().map(|chunk| chunk.id).collect()
}

fn assert_has(store: &LocalStore, chunks: &[Chunk]) {
    for chunk in chunks {
        let read = store.read_chunk(&project(), &chunk.id).expect("the chunk is there");
        assert_eq!(read, chunk.data);
    }
}

fn packs_dir(dir: &Path) -> PathBuf {
    dir.join("projects/default/packs")
}

fn pack_path(dir: &Path, pack: PackId) -> PathBuf {
    packs_dir(dir).join(format!("{pack}.pack"))
}

fn names(dir: &Path) -> Vec<String> {
    let all = fs_err::read_dir(dir).expect("lists");
    let mut names: Vec<String> =
        all.map(|entry| entry.expect("lists").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs_err::read(path).expect("reads");
    how(&mut bytes);
    fs_err::write(path, bytes).expect("writes");
}

/// A name that leads to itself: opening it fails with an error that says nothing about the file.
fn unreadable(path: &Path) -> PathBuf {
    let aside = path.with_extension("elsewhere");
    fs_err::rename(path, &aside).expect("renames");
    fs_err::os::unix::fs::symlink(path, path).expect("links");
    aside
}

fn readable(path: &Path, aside: &Path) {
    fs_err::remove_file(path).expect("removes");
    fs_err::rename(aside, path).expect("renames");
}

#[test]
fn f41_a_pack_that_cannot_be_judged_now_fails_the_opening_and_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (chunks(1, &[3_000]), chunks(2, &[3_000]));
    let (pack, other) = (pack_of(&one), pack_of(&two));
    let store = open(dir.path());
    upload(&store, &pack).expect("is whole");
    upload(&store, &other).expect("is whole");
    drop(store);
    // The other one is damaged: it is not moved either, as long as the store does not open.
    let (path, damaged) = (pack_path(dir.path(), pack.id), pack_path(dir.path(), other.id));
    change(&damaged, |bytes| bytes.truncate(2_000));
    let aside = unreadable(&path);
    let before = names(&packs_dir(dir.path()));
    let error = LocalStore::open(dir.path()).expect_err("a pack cannot be read");
    assert!(matches!(&error, StoreError::Unreadable { path: named, .. } if *named == path));
    let text = error.to_string();
    assert!(text.contains(&*path.to_string_lossy()) && text.contains("ulimit -n"), "{text}");
    assert_eq!(names(&packs_dir(dir.path())), before, "nothing was moved");
    readable(&path, &aside);
    // Of a newer format, beginning and end.
    let len = pack.bytes.len();
    let version = |header: u8, footer: u8| {
        change(&path, |bytes| (bytes[6], bytes[len - 8]) = (header, footer));
    };
    version(2, 2);
    let error = LocalStore::open(dir.path()).expect_err("a pack is newer");
    assert!(matches!(&error, StoreError::Newer { path: named, version: 2 } if *named == path));
    let text = error.to_string();
    assert!(text.contains(&*path.to_string_lossy()) && text.contains("upgrade"), "{text}");
    assert!(path.exists() && damaged.exists(), "nothing was moved");
    version(1, 1);
    let store = open(dir.path());
    assert_has(&store, &one);
    assert_eq!(store.find_missing(&project(), &ids(&two)), ids(&two));
    assert!(damaged.with_extension("damaged").exists());
    drop(store);
    // A flipped bit is damage, and no newer format.
    for (header, footer) in [(3, 1), (1, 3)] {
        version(header, footer);
        assert_eq!(open(dir.path()).chunk_count(&project()), 0);
        fs_err::rename(path.with_extension("damaged"), &path).expect("was set aside");
    }
}

/// A store's journal with these chunks in it, each put by itself, and where the records end.
fn journal(dir: &Path, chunks: &[Chunk]) -> (PathBuf, Vec<usize>) {
    let (store, path) = (open(dir), packs_dir(dir).join("0.journal"));
    let mut ends = Vec::new();
    for chunk in chunks {
        store.put_chunks(&project(), vec![chunk.clone()]).expect("is durable");
        ends.push(fs_err::metadata(&path).expect("is there").len() as usize);
    }
    (path, ends)
}

#[test]
fn f41_a_rotten_byte_in_a_journal_costs_its_record_and_none_behind_it() {
    let chunks = chunks(1, &[50, 300, 20]);
    let dir = tempfile::tempdir().expect("a directory");
    let (path, ends) = journal(dir.path(), &chunks);
    let whole = fs_err::read(path).expect("reads");
    // Every byte of the first two heads, and some of the rest.
    for at in (0..150).chain((150..whole.len()).step_by(11)) {
        let dir = tempfile::tempdir().expect("a directory");
        fs_err::create_dir_all(packs_dir(dir.path())).expect("creates");
        let mut rotten = whole.clone();
        rotten[at] ^= 0x40;
        fs_err::write(packs_dir(dir.path()).join("0.journal"), rotten).expect("writes");
        if at == 6 {
            // The version: better refused than taken for damage.
            assert!(matches!(LocalStore::open(dir.path()), Err(StoreError::Newer { .. })));
            continue;
        }
        let hit = ends.iter().position(|&end| at < end).filter(|_| at >= 8);
        let store = open(dir.path());
        for (n, chunk) in chunks.iter().enumerate() {
            let read = store.read_chunk(&project(), &chunk.id);
            assert_eq!(read.is_ok(), hit != Some(n), "chunk {n}, byte {at}");
        }
        assert!(packs_dir(dir.path()).join("0.damaged").exists(), "byte {at}");
        // What was lost is missing, and comes back.
        store.put_chunks(&project(), chunks.clone()).expect("is durable");
        assert_has(&store, &chunks);
    }
}

#[test]
fn f41_a_newer_or_unreadable_journal_fails_the_opening_and_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let chunks = chunks(1, &[50, 300]);
    let (path, _) = journal(dir.path(), &chunks);
    change(&path, |bytes| bytes[6] = 2);
    // A journal before it is not made a pack of, and a damaged pack not set aside: nothing is changed.
    let junk = pack_path(dir.path(), PackId::of(b"junk"));
    fs_err::write(&junk, b"junk").expect("writes");
    let before = names(&packs_dir(dir.path()));
    let error = LocalStore::open(dir.path()).expect_err("a journal is newer");
    assert!(matches!(&error, StoreError::Newer { path: named, version: 2 } if *named == path));
    assert!(error.to_string().contains("0.journal"), "{error}");
    assert_eq!(names(&packs_dir(dir.path())), before);
    change(&path, |bytes| bytes[6] = 1);
    let aside = unreadable(&path);
    let error = LocalStore::open(dir.path()).expect_err("a journal cannot be read");
    assert!(error.to_string().contains("0.journal"), "{error}");
    readable(&path, &aside);
    assert_has(&open(dir.path()), &chunks);
}

#[test]
fn f41_a_chunk_is_not_forgotten_because_reading_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let chunks = chunks(1, &[3_000, 4_000]);
    let pack = pack_of(&chunks);
    upload(&store, &pack).expect("is whole");
    let path = pack_path(dir.path(), pack.id);
    let aside = unreadable(&path);
    for _ in 0..2 {
        let error = store.read_chunk(&project(), &chunks[0].id).expect_err("cannot be read");
        assert!(matches!(&error, StoreError::Io { path: named, .. } if *named == path), "{error}");
        let run = store.read_run(&project(), &ids(&chunks));
        assert!(matches!(run.as_slice(), [Err(StoreError::Io { .. })]));
    }
    assert!(store.find_missing(&project(), &ids(&chunks)).is_empty());
    readable(&path, &aside);
    assert_has(&store, &chunks);
    // One whose file is gone is lost indeed.
    drop(store);
    let store = open(dir.path());
    fs_err::remove_file(&path).expect("removes");
    let error = store.read_chunk(&project(), &chunks[0].id).expect_err("is gone");
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert_eq!(store.find_missing(&project(), &ids(&chunks)), [chunks[0].id]);
}

#[test]
fn f41_a_damaged_pack_can_be_sent_anew() {
    for read_first in [vec![0], vec![0, 1]] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        let chunks = chunks(1, &[3_000, 4_000, 5_000]);
        let pack = pack_of(&chunks);
        upload(&store, &pack).expect("is whole");
        assert_has(&store, &chunks);
        change(&pack_path(dir.path(), pack.id), |bytes| {
            for entry in &pack.entries[..2] {
                bytes[entry.offset as usize + 1_500] ^= 1;
            }
        });
        assert!(store.pack_status(&project(), pack.id).expect("answers").complete, "not known yet");
        for n in read_first {
            assert!(store.read_chunk(&project(), &chunks[n].id).is_err());
        }
        let status = store.pack_status(&project(), pack.id).expect("answers");
        assert_eq!((status.complete, status.received_bytes), (false, 0));
        assert_has(&store, &chunks[2..]);
        assert_eq!(upload(&store, &pack).expect("is taken again"), 3);
        assert!(store.pack_status(&project(), pack.id).expect("answers").complete);
        // Those too whose damage nobody had noticed.
        assert_has(&store, &chunks);
        assert_eq!(names(&packs_dir(dir.path())), [format!("{}.pack", pack.id)]);
        drop(store);
        assert_has(&open(dir.path()), &chunks);
    }
}

#[test]
fn f40_a_part_longer_than_its_pack_does_not_stop_the_true_sender() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    for restart in [false, true] {
        let chunks = chunks(u64::from(restart), &[9_000]);
        let pack = pack_of(&chunks);
        let wrong = store.upload_pack(&project(), pack.id, 20_000).expect("begins");
        wrong.append(0, &noise(5, 15_000)).expect("nothing is known against it");
        drop(wrong);
        if restart {
            drop(store);
            store = open(dir.path());
        }
        assert_eq!(upload(&store, &pack).expect("is whole"), 1);
        assert_has(&store, &chunks);
    }
}

#[test]
fn f40_unfinished_uploads_take_no_more_room_than_they_may() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { part_bytes_max: 25_000, ..StoreOptions::default() };
    let store = LocalStore::open_with(dir.path(), options).expect("opens");
    let begin = |n: u64| {
        let upload =
            store.upload_pack(&project(), PackId::of(&noise(n, 8)), 60_000).expect("begins");
        upload.append(0, &noise(n, 10_000)).expect("takes it");
        upload
    };
    let uploads = dir.path().join("projects/default/uploads");
    let bytes = || -> u64 {
        let all = fs_err::read_dir(&uploads).expect("lists");
        all.map(|file| file.expect("lists").metadata().expect("stats").len()).sum()
    };
    let busy: Vec<_> = (0..4).map(begin).collect();
    assert_eq!(bytes(), 40_000, "what somebody sends is not counted");
    for n in 10..20 {
        drop(begin(n));
        assert!(bytes() <= 40_000 + 25_000, "{} bytes after {n}", bytes());
    }
    drop(busy);
    assert_eq!(bytes(), 20_000);
    // The youngest is there for its sender.
    let left = PackId::of(&noise(19, 8));
    assert_eq!(store.pack_status(&project(), left).expect("answers").received_bytes, 10_000);
}

#[test]
fn a12_a_submitted_tree_is_judged_without_unfolding_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut nodes = Vec::new();
    let mut root = encode_dir(&[], &mut nodes).expect("encodes");
    let mut roots = Vec::new();
    for _ in 0..60 {
        let twice = ["a", "b"].map(|name| DirEntry { name: name.into(), kind: Kind::Dir(root) });
        root = encode_dir(&twice, &mut nodes).expect("encodes");
        roots.push(root);
    }
    store.put_chunks(&project(), nodes).expect("is durable");
    assert!(store.has_tree(&project(), roots[9]).expect("a thousand paths are none too many"));
    for levels in [22, 23, 24, 60] {
        let found = store.has_tree(&project(), roots[levels - 1]);
        assert!(matches!(found, Err(StoreError::Tree(_))), "{levels}: {found:?}");
    }
}
