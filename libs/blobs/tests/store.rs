//! The store on disk: uploads that stop, damage, crashes, many at once.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{noise, project};
use runyard_blobs::pack::{Bundle, BundleBuilder, Pack, PackBuilder, PackId};
use runyard_blobs::store::{PackUpload, StoreOptions};
use runyard_blobs::tree::TreeBuilder;
use runyard_blobs::{Chunk, LocalStore, StoreError};
use runyard_types::{Digest, ProjectName};

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

fn assert_has(store: &LocalStore, chunks: &[Chunk]) {
    for chunk in chunks {
        let read = store.read_chunk(&project(), &chunk.id).expect("the chunk is there");
        assert_eq!(read, chunk.data);
    }
}

fn ids(chunks: &[Chunk]) -> Vec<Digest> {
    chunks.iter().map(|chunk| chunk.id).collect()
}

fn packs_dir(dir: &Path) -> PathBuf {
    dir.join("projects/default/packs")
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs_err::read_dir(dir).expect("lists").map(|entry| entry.expect("lists").path());
    all.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn f40_an_upload_goes_on_after_a_cut_at_every_message() {
    const MESSAGE: usize = 10_000;
    for restart in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = open(dir.path());
        for cut in 0..6 {
            let chunks = chunks(cut as u64, &[9_000, 20_000, 15_000]);
            let pack = pack_of(&chunks);
            let size = pack.bytes.len() as u64;
            let first = store.upload_pack(&project(), pack.id, size).expect("begins");
            let messages: Vec<&[u8]> = pack.bytes.chunks(MESSAGE).collect();
            assert_eq!(messages.len(), 5);
            for (n, message) in messages.iter().take(cut).enumerate() {
                first.append((n * MESSAGE) as u64, message).expect("takes it");
            }
            drop(first);
            assert_eq!(store.find_missing(&project(), &ids(&chunks)), ids(&chunks));
            if restart {
                drop(store);
                store = open(dir.path());
            }
            let status = store.pack_status(&project(), pack.id).expect("answers");
            assert_eq!(status.received_bytes, (cut * MESSAGE).min(pack.bytes.len()) as u64);
            assert!(!status.complete);
            let second = store.upload_pack(&project(), pack.id, size).expect("goes on");
            let far = second.append(status.received_bytes + 1, b"x");
            assert!(matches!(far, Err(StoreError::Gap { .. })));
            if cut < 5 {
                assert!(second.finish().is_err(), "it is not whole");
            }
            // Overlapping what is there, as a client does that did not hear the last answer.
            let from = status.received_bytes.saturating_sub(77) as usize;
            second.append(from as u64, &pack.bytes[from..]).expect("takes the rest");
            assert_eq!(second.finish().expect("is whole"), 3);
            assert_eq!(second.finish().expect("the same again"), 3);
            assert_has(&store, &chunks);
            assert!(store.pack_status(&project(), pack.id).expect("answers").complete);
        }
        drop(store);
        assert_eq!(open(dir.path()).chunk_count(&project()), 18);
    }
}

#[test]
fn f40_the_same_pack_from_many_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(open(dir.path()));
    let chunks = chunks(1, &[200_000; 10]);
    let pack = pack_of(&chunks);
    std::thread::scope(|scope| {
        for piece in [4_096, 100_000, 65_536, 1 << 20] {
            let (store, pack) = (store.clone(), pack.clone());
            scope.spawn(move || {
                let size = pack.bytes.len() as u64;
                let upload = store.upload_pack(&project(), pack.id, size).expect("begins");
                for (n, data) in pack.bytes.chunks(piece).enumerate() {
                    upload.append((n * piece) as u64, data).expect("takes it");
                }
                assert_eq!(upload.finish().expect("is whole"), 10);
            });
        }
    });
    assert_has(&store, &chunks);
    assert_eq!(files(&packs_dir(dir.path()), "pack").len(), 1);
    assert_eq!(files(&dir.path().join("projects/default/uploads"), "part").len(), 0);
}

fn bundle_of(chunks: &[Chunk]) -> Bundle {
    let mut builder = BundleBuilder::new().expect("zstd has memory");
    assert!(chunks.iter().all(|chunk| builder.push(chunk)));
    builder.finish()
}

fn begin(store: &LocalStore, bundle: &Bundle) -> Result<PackUpload, StoreError> {
    store.upload_indexed(&project(), bundle.id, bundle.index.clone(), bundle.size)
}

#[test]
fn f40_an_indexed_upload_goes_on_after_a_cut_and_a_restart_and_gets_the_packs_name() {
    const MESSAGE: usize = 10_000;
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    for cut in 0..6 {
        let mut chunks = chunks(cut as u64, &[9_000, 20_000, 15_000]);
        chunks.push(Chunk::new(vec![cut as u8; 30_000].into()));
        let (bundle, pack) = (bundle_of(&chunks), pack_of(&chunks));
        let bytes = bundle.parts.concat();
        let first = begin(&store, &bundle).expect("begins");
        for (n, message) in bytes.chunks(MESSAGE).take(cut).enumerate() {
            first.append((n * MESSAGE) as u64, message).expect("takes it");
        }
        drop(first);
        if cut % 2 == 0 {
            drop(store);
            store = open(dir.path());
        }
        let called = PackId::from_bytes(*bundle.id.as_bytes());
        let status = store.pack_status(&project(), called).expect("answers");
        let there = (cut * MESSAGE).min(bytes.len());
        assert_eq!((status.received_bytes, status.complete), (there as u64, false));
        assert_eq!(store.find_missing(&project(), &ids(&chunks)), ids(&chunks));
        let second = begin(&store, &bundle).expect("goes on");
        let from = there.saturating_sub(77);
        second.append(from as u64, &bytes[from..]).expect("takes the rest");
        assert_eq!(second.finish().expect("is whole"), 4);
        assert_eq!(second.finish().expect("the same again"), 4);
        assert!(store.pack_status(&project(), pack.id).expect("answers").complete);
        assert_has(&store, &chunks);
        // All of it once more, as after an answer that was lost.
        let third = begin(&store, &bundle).expect("begins");
        third.append(0, &bytes).expect("takes it");
        assert_eq!(third.finish().expect("is whole"), 4);
    }
    assert_eq!(files(&packs_dir(dir.path()), "pack").len(), 6);
    assert_eq!(files(&dir.path().join("projects/default/uploads"), "part").len(), 0);
}

#[test]
fn f41_an_indexed_upload_that_is_damaged_is_refused_where_it_is_and_begins_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let chunks = chunks(1, &[9_000, 20_000]);
    let bundle = bundle_of(&chunks);
    let bytes = bundle.parts.concat();
    let upload = begin(&store, &bundle).expect("begins");
    let mut bad = bytes.clone();
    bad[8 + 9_000 + 5] ^= 1;
    let error = upload.append(0, &bad).expect_err("a chunk is not what it says");
    assert!(error.to_string().contains(&chunks[1].id.to_string()), "{error}");
    assert_eq!(upload.status().expect("answers").received_bytes, 0);
    // Damage at rest, between two processes: what lies there is not built upon.
    upload.append(0, &bytes[..15_000]).expect("takes it");
    drop(upload);
    let part = files(&dir.path().join("projects/default/uploads"), "part").pop().expect("a part");
    let mut there = fs_err::read(&part).expect("reads");
    there[100] ^= 1;
    fs_err::write(&part, there).expect("writes");
    let upload = begin(&store, &bundle).expect("begins");
    assert_eq!(upload.status().expect("answers").received_bytes, 0);
    assert!(matches!(upload.append(15_000, &bytes[15_000..]), Err(StoreError::Gap { .. })));
    upload.append(0, &bytes).expect("takes it");
    assert!(store.find_missing(&project(), &ids(&chunks)).len() == 2, "not before its end");
    assert_eq!(upload.finish().expect("is whole"), 2);
    assert_has(&store, &chunks);
    // A name that is not the index's.
    let id = Digest::of(b"another");
    let named = store.upload_indexed(&project(), id, bundle.index.clone(), bundle.size);
    assert!(matches!(named, Err(StoreError::BadPack { .. })));
    let sized = store.upload_indexed(&project(), bundle.id, bundle.index, 99);
    assert!(matches!(sized, Err(StoreError::BadPack { source: Some(_), .. })));
}

#[test]
fn f40_the_same_indexed_pack_from_many_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(open(dir.path()));
    let chunks = chunks(1, &[200_000; 10]);
    let bundle = bundle_of(&chunks);
    let bytes = bundle.parts.concat();
    std::thread::scope(|scope| {
        for piece in [4_096, 100_000, 65_536, 1 << 20] {
            let (store, bundle, bytes) = (&store, &bundle, &bytes);
            scope.spawn(move || {
                let upload = begin(store, bundle).expect("begins");
                for (n, data) in bytes.chunks(piece).enumerate() {
                    upload.append((n * piece) as u64, data).expect("takes it");
                }
                assert_eq!(upload.finish().expect("is whole"), 10);
            });
        }
    });
    assert_has(&store, &chunks);
    assert_eq!(files(&packs_dir(dir.path()), "pack").len(), 1);
    assert_eq!(files(&dir.path().join("projects/default/uploads"), "part").len(), 0);
}

#[test]
fn f40_a_pack_that_is_not_what_it_says_is_never_visible() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let good = chunks(1, &[5_000]);
    let pack = pack_of(&good);
    let mut wrong = pack.clone();
    wrong.bytes = [b"RYPACK\x01\x00junk".as_slice(), &pack.bytes[12..]].concat().into();
    assert!(matches!(upload(&store, &wrong), Err(StoreError::BadPack { source: None, .. })));
    // Its own SHA-256 is right, but a chunk's name is a lie.
    let liar = Chunk { id: Digest::of(b"something else"), data: noise(9, 700).into() };
    let lying = pack_of(&[good[0].clone(), liar.clone()]);
    assert!(matches!(upload(&store, &lying), Err(StoreError::BadPack { source: Some(_), .. })));
    let nonsense = noise(3, 900);
    let id = PackId::of(&nonsense);
    let not_a_pack = Pack { id, bytes: nonsense.into(), entries: Vec::new() };
    assert!(matches!(upload(&store, &not_a_pack), Err(StoreError::BadPack { .. })));
    let long = store.upload_pack(&project(), pack.id, 10).expect("begins");
    assert!(matches!(long.append(0, &pack.bytes), Err(StoreError::BadPack { .. })));
    assert!(store.upload_pack(&project(), pack.id, (64 << 20) + 1).is_err());
    drop(long);
    assert_eq!(store.find_missing(&project(), &[good[0].id, liar.id]).len(), 2);
    assert_eq!(files(&packs_dir(dir.path()), "pack").len(), 0);
    // After all that the true pack is taken.
    assert_eq!(upload(&store, &pack).expect("is whole"), 1);
    assert_has(&store, &good);
}

#[test]
fn f41_damage_at_rest_is_named_counts_as_missing_and_heals() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let chunks = chunks(1, &[3_000, 4_000]);
    let pack = pack_of(&chunks);
    upload(&store, &pack).expect("is whole");
    drop(store);
    let file = files(&packs_dir(dir.path()), "pack").remove(0);
    let mut bytes = fs_err::read(&file).expect("reads");
    bytes[pack.entries[0].offset as usize + 1_500] ^= 1;
    fs_err::write(&file, bytes).expect("writes");
    let store = open(dir.path());
    let error = store.read_chunk(&project(), &chunks[0].id).expect_err("is damaged");
    assert!(matches!(error, StoreError::Corrupt(id) if id == chunks[0].id), "{error}");
    assert_has(&store, &chunks[1..]);
    assert_eq!(store.find_missing(&project(), &ids(&chunks)), [chunks[0].id]);
    store.put_chunks(&project(), chunks.clone()).expect("stores it anew");
    assert_has(&store, &chunks);
    // After a restart the damaged copy may be found first; the good one is searched for.
    drop(store);
    let store = open(dir.path());
    assert_has(&store, &chunks);
}

#[test]
fn a_run_is_what_lies_side_by_side_and_f41_damage_in_it_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let all = chunks(1, &[60_000, 200_000, 4_000, 250_000, 250_000, 250_000, 250_000, 9_000]);
    upload(&store, &pack_of(&all[..7])).expect("is whole");
    store.put_chunks(&project(), vec![all[7].clone()]).expect("puts");
    let mut asked = ids(&all);
    asked.push(Digest::of(b"nowhere"));
    let (mut got, mut runs) = (Vec::new(), Vec::new());
    while got.len() < asked.len() {
        let run = store.read_run(&project(), &asked[got.len()..]);
        runs.push(run.len());
        got.extend(run);
    }
    // Within a mebibyte; then the rest of the pack; a journal's chunks by themselves; the absent one.
    assert_eq!(runs, [6, 1, 1, 1]);
    assert!(matches!(got.pop(), Some(Err(StoreError::NotFound(_)))));
    for (chunk, data) in all.iter().zip(got) {
        assert_eq!(data.expect("is there"), chunk.data);
    }
    assert_eq!(store.read_run(&project(), &[asked[1], asked[0]]).len(), 1, "not in that order");
    assert!(store.read_run(&project(), &[]).is_empty());
    // One flipped byte: that chunk is named, its neighbours are right.
    let path = files(&packs_dir(dir.path()), "pack").pop().expect("a pack");
    let mut bytes = fs_err::read(&path).expect("reads");
    bytes[8 + 60_000 + 77] ^= 4;
    fs_err::write(&path, bytes).expect("writes");
    let run = store.read_run(&project(), &asked[..3]);
    assert_eq!(run.len(), 3);
    assert!(matches!(&run[1], Err(StoreError::Corrupt(id)) if *id == asked[1]));
    assert_eq!(*run[0].as_ref().expect("right"), all[0].data);
    assert_eq!(*run[2].as_ref().expect("right"), all[2].data);
}

#[test]
fn f41_a_pack_whose_index_is_damaged_is_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let chunks = chunks(1, &[3_000]);
    upload(&open(dir.path()), &pack_of(&chunks)).expect("is whole");
    let file = files(&packs_dir(dir.path()), "pack").remove(0);
    let bytes = fs_err::read(&file).expect("reads");
    fs_err::write(&file, &bytes[..bytes.len() - 1]).expect("writes");
    let store = open(dir.path());
    assert_eq!(store.find_missing(&project(), &ids(&chunks)).len(), 1);
    assert_eq!(files(&packs_dir(dir.path()), "damaged").len(), 1);
    upload(&store, &pack_of(&chunks)).expect("is taken again");
    assert_has(&store, &chunks);
}

#[test]
fn f1_a_crash_at_every_byte_of_a_journal_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let chunks = chunks(1, &[50, 300, 20]);
    let journal = || packs_dir(dir.path()).join("0.journal");
    let store = open(dir.path());
    let mut ends = Vec::new();
    for chunk in &chunks {
        store.put_chunks(&project(), vec![chunk.clone()]).expect("is durable");
        ends.push(fs_err::metadata(journal()).expect("is there").len() as usize);
    }
    drop(store);
    let whole = fs_err::read(journal()).expect("reads");
    fs_err::remove_file(journal()).expect("removes");
    for len in 0..=whole.len() {
        // What lies behind the torn place is old, and is not what would have been written.
        let old = [!whole.get(len).copied().unwrap_or(0); 40];
        for torn in [&whole[..len], &[&whole[..len], &old[..]].concat()] {
            let dir = tempfile::tempdir().expect("a directory");
            fs_err::create_dir_all(packs_dir(dir.path())).expect("creates");
            fs_err::write(packs_dir(dir.path()).join("0.journal"), torn).expect("writes");
            // What a crash leaves beside it.
            fs_err::write(packs_dir(dir.path()).join(".tmp-1-1"), "half").expect("writes");
            let store = open(dir.path());
            let durable = ends.iter().take_while(|&&end| end <= len).count();
            assert_has(&store, &chunks[..durable]);
            assert_eq!(store.chunk_count(&project()), durable, "cut at {len}");
            let left = fs_err::read_dir(packs_dir(dir.path())).expect("lists");
            let left = left.filter(|e| {
                let name = e.as_ref().expect("lists").file_name();
                let name = name.to_string_lossy().into_owned();
                name.starts_with(".tmp") || name.ends_with(".journal")
            });
            assert_eq!(left.count(), 0);
        }
    }
}

#[test]
fn small_puts_of_many_share_journals_which_become_packs() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(open(dir.path()));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..40 {
                    let own = chunks(thread * 100 + n, &[70_000]);
                    store.put_chunks(&project(), own.clone()).expect("is durable");
                    assert_has(&store, &own);
                }
            });
        }
    });
    assert_eq!(store.chunk_count(&project()), 320);
    assert_eq!(files(&packs_dir(dir.path()), "pack").len(), 1, "16 MiB became a pack");
    assert!(files(&packs_dir(dir.path()), "journal").len() <= 1);
    let all: Vec<Chunk> = (0..8)
        .flat_map(|t| (0..40).map(move |n| (t, n)))
        .flat_map(|(t, n)| chunks(t * 100 + n, &[70_000]))
        .collect();
    assert_has(&store, &all);
    drop(store);
    assert_has(&open(dir.path()), &all);
}

#[test]
fn a_tree_is_there_only_with_all_its_chunks() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let files = chunks(1, &[100, 200_000, 50]);
    let refs: Vec<_> = files.iter().map(Chunk::reference).collect();
    let mut builder = TreeBuilder::new();
    builder.file(&common::path("a/b"), false, &refs).expect("adds");
    builder.file(&common::path("a/empty"), false, &[]).expect("adds");
    let tree = builder.finish().expect("encodes");
    let all: Vec<Chunk> = files.into_iter().chain(tree.chunks).collect();
    for left_out in 0..all.len() {
        let project = ProjectName::new(&format!("p{left_out}")).expect("a name");
        let mut part = all.clone();
        let last = part.remove(left_out);
        store.put_chunks(&project, part).expect("is durable");
        assert!(!store.has_tree(&project, tree.root).expect("answers"), "without {left_out}");
        store.put_chunks(&project, vec![last]).expect("is durable");
        assert!(store.has_tree(&project, tree.root).expect("answers"));
    }
    // Deduplication and existence stay inside a project (A25).
    let other = ProjectName::new("other").expect("a name");
    assert_eq!(store.find_missing(&other, &ids(&all)).len(), all.len());
    assert!(!store.has_tree(&other, tree.root).expect("answers"));
}

#[test]
fn a_locator_says_where_the_chunks_lie() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let files = chunks(1, &[100, 5_000]);
    let refs: Vec<_> = files.iter().map(Chunk::reference).collect();
    let mut builder = TreeBuilder::new();
    builder.file(&common::path("f"), false, &refs).expect("adds");
    let tree = builder.finish().expect("encodes");
    let pack = pack_of(&[files, tree.chunks].concat());
    upload(&store, &pack).expect("is whole");
    let locator = store.locate(&project(), tree.root).expect("locates");
    let places = &locator.packs[&pack.id.to_string()];
    assert_eq!(places.len(), 4, "two chunks, a list, a node");
    assert_eq!(places[1].offset, pack.entries[1].offset);
    let again = runyard_blobs::store::Locator::decode(&locator.encode()).expect("decodes");
    assert_eq!(again, locator);
}

#[test]
fn action_objects_go_by_last_use_and_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = StoreOptions { action_bytes_max: 3_100, ..StoreOptions::default() };
    let store = LocalStore::open_with(dir.path(), options).expect("opens");
    let key = |n: u8| Digest::of(&[n]);
    for n in 0..3 {
        store.ac_put(&project(), &key(n), &[n; 1_000]).expect("puts");
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    assert_eq!(store.ac_get(&project(), &key(0)), Some(vec![0; 1_000]));
    store.ac_put(&project(), &key(3), &[3; 1_000]).expect("puts");
    assert_eq!(store.ac_get(&project(), &key(1)), None, "the least recently used went");
    store.ac_put(&project(), &key(3), &[4; 1_000]).expect("replaces");
    assert!(store.ac_put(&project(), &key(4), &vec![0; 2 << 20]).is_err());
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.ac_get(&project(), &key(3)), Some(vec![4; 1_000]));
    let name = key(3).to_string();
    let file = dir.path().join("projects/default/ac").join(&name[..2]).join(&name);
    let mut bytes = fs_err::read(&file).expect("reads");
    bytes[500] ^= 1;
    fs_err::write(&file, bytes).expect("writes");
    assert_eq!(store.ac_get(&project(), &key(3)), None, "a damaged one is a miss");
    assert!(!file.exists());
}

#[test]
fn a_second_process_and_a_foreign_directory_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    assert!(matches!(LocalStore::open(dir.path()), Err(StoreError::InUse(_))));
    drop(store);
    fs_err::write(dir.path().join("format"), "runyard blobs 9\n").expect("writes");
    let error = LocalStore::open(dir.path()).expect_err("refuses").to_string();
    assert!(error.contains("blobs 9"), "{error}");
}

#[test]
fn blobs_of_impossible_sizes_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    assert!(store.put_blob(&project(), Vec::new()).is_err());
    assert!(store.put_blob(&project(), vec![0; (16 << 20) + 1]).is_err());
    let id = store.put_blob(&project(), noise(1, 9 << 20)).expect("a segment fits");
    assert_eq!(store.get_blob(&project(), &id).expect("reads").len(), 9 << 20);
    let unknown = Digest::of(b"unknown");
    assert!(matches!(store.get_blob(&project(), &unknown), Err(StoreError::NotFound(_))));
}
