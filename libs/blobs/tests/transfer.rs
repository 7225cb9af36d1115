//! Publishing and fetching over a real connection, disturbed and undisturbed.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{contents, noise, path, project, serve, write};
use proptest::prelude::*;
use runyard_blobs::files::ScanLimits;
use runyard_blobs::tree::{Content, DirEntry, Kind, encode_dir};
use runyard_blobs::{
    BlobService, Cache, Chunk, Downloader, LocalStore, Remote, TransferError, Uploader,
};
use runyard_proto::v1::blobs_server::BlobsServer;
use runyard_types::Digest;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runs")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_tree_of_files_comes_back(
        files in prop::collection::btree_map("([e-h]{1,3}/){0,2}[a-d]{1,3}", (0usize..600_000, any::<bool>(), any::<bool>()), 0..10),
        cached: bool,
    ) {
        runtime().block_on(async {
            let served = serve().await;
            let from = served.dir.path().join("from");
            fs_err::create_dir_all(from.join("empty/dir")).expect("creates");
            for (name, (len, executable, dull)) in &files {
                let data = if *dull { vec![b'x'; *len] } else { noise(*len as u64, *len) };
                write(&from, name, data);
                if *executable {
                    use std::os::unix::fs::PermissionsExt as _;
                    let mode = std::fs::Permissions::from_mode(0o755);
                    fs_err::set_permissions(from.join(name), mode).expect("sets");
                }
            }
            let published = Uploader::new(served.remote.clone()).publish_dir(&from, &path("")).await.expect("publishes");
            assert!(served.store.has_tree(&project(), published.root).expect("answers"));
            let mut download = Downloader::new(served.remote.clone());
            if cached {
                download = download.with_cache(Cache::open(&served.dir.path().join("cache"), 1 << 30).expect("opens"));
            }
            for n in 0..2 {
                let to = served.dir.path().join(format!("to{n}"));
                let fetched = download.fetch(published.root, &to).await.expect("fetches");
                assert_eq!(contents(&to), contents(&from));
                assert!(to.join("empty/dir").is_dir());
                assert_eq!((fetched.files, fetched.bytes), (published.files, published.bytes));
                assert!(!cached || n == 0 || fetched.fetched_bytes == 0);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_percent_changed_sends_little_and_reads_little() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    let mut large = noise(1, 24 << 20);
    write(&from, "large", &large);
    for n in 0..500 {
        write(&from, &format!("small/{n}"), noise(n, 4_096));
    }
    tokio::time::sleep(Duration::from_millis(40)).await;
    let upload =
        Uploader::new(served.remote.clone()).with_stat_cache(served.dir.path().join("stat"));
    let first = upload.publish_dir(&from, &path("")).await.expect("publishes");
    assert_eq!(first.unread_files, 0);
    let again = upload.publish_dir(&from, &path("")).await.expect("publishes");
    assert_eq!((again.root, again.uploaded_bytes, again.unread_files), (first.root, 0, 501));
    for run in 0..4_usize {
        let at = run * 6_000_000;
        large[at..at + 60_000].copy_from_slice(&noise(77 + run as u64, 60_000));
    }
    write(&from, "large", &large);
    for n in 0..5 {
        write(&from, &format!("small/{}", n * 97), noise(1_000 + n, 4_096));
    }
    let third = upload.publish_dir(&from, &path("")).await.expect("publishes");
    assert_ne!(third.root, first.root);
    assert_eq!(third.unread_files, 495);
    let changed = 4 * 60_000 + 5 * 4_096;
    assert!(third.uploaded_bytes < 4 * changed, "{} for {changed}", third.uploaded_bytes);
    // A fetch beside the old version takes from the cache what has not changed.
    let cache = Cache::open(&served.dir.path().join("cache"), 1 << 30).expect("opens");
    let download = Downloader::new(served.remote.clone()).with_cache(cache);
    download.fetch(first.root, &served.dir.path().join("old")).await.expect("fetches");
    let new = served.dir.path().join("new");
    let fetched = download.fetch(third.root, &new).await.expect("fetches");
    assert!(fetched.fetched_bytes < 4 * changed, "{} for {changed}", fetched.fetched_bytes);
    assert_eq!(contents(&new), contents(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_lost_is_read_and_sent_again() {
    let served = serve().await;
    let other = serve().await;
    let from = served.dir.path().join("from");
    write(&from, "f", noise(1, 300_000));
    tokio::time::sleep(Duration::from_millis(40)).await;
    let stat = served.dir.path().join("stat");
    let upload = |remote: &Remote| Uploader::new(remote.clone()).with_stat_cache(stat.clone());
    let first = upload(&served.remote).publish_dir(&from, &path("")).await.expect("publishes");
    let second = upload(&other.remote).publish_dir(&from, &path("")).await.expect("publishes");
    assert_eq!(second.unread_files, 0);
    assert!(other.store.has_tree(&project(), first.root).expect("answers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f40_publishing_survives_a_cut_at_every_message() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    let upload = Uploader::new(served.remote.clone());
    for cut in 0..8 {
        write(&from, "f", noise(cut as u64, 1_500_000));
        // Two cuts in a row, at this message and, counted from there, at the one after.
        served.faults.cut_uploads.lock().expect("not poisoned").extend([cut, 1]);
        let published = upload.publish_dir(&from, &path("f")).await.expect("publishes");
        assert!(served.store.has_tree(&project(), published.root).expect("answers"));
        served.faults.cut_uploads.lock().expect("not poisoned").clear();
    }
    assert!(served.faults.uploads.load(Ordering::SeqCst) > 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn f40_fetching_survives_a_cut_at_every_message() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    write(&from, "a", noise(1, 400_000));
    write(&from, "b", noise(2, 100_000));
    let root = Uploader::new(served.remote.clone()).publish_dir(&from, &path("")).await;
    let root = root.expect("publishes").root;
    for cut in 0..12 {
        served.faults.cut_reads.lock().expect("not poisoned").extend([cut, cut, cut]);
        let to = served.dir.path().join(format!("to{cut}"));
        Downloader::new(served.remote.clone()).fetch(root, &to).await.expect("fetches");
        assert_eq!(contents(&to), contents(&from));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f41_bits_flipped_on_the_way_are_fetched_again_or_named() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    write(&from, "a", noise(1, 400_000));
    write(&from, "d/b", noise(2, 100_000));
    let root = Uploader::new(served.remote.clone()).publish_dir(&from, &path("")).await;
    let root = root.expect("publishes").root;
    let download = Downloader::new(served.remote.clone());
    let tree = download.tree(root).await.expect("reads");
    for flips in [0, 1, 2] {
        served.faults.flips.store(flips, Ordering::SeqCst);
        let to = served.dir.path().join(format!("to{flips}"));
        download.fetch_tree(&tree, &path(""), &to).await.expect("fetches");
        assert_eq!(contents(&to), contents(&from));
    }
    served.faults.flips.store(usize::MAX, Ordering::SeqCst);
    let bad = served.dir.path().join("bad");
    let error = download.fetch_tree(&tree, &path(""), &bad).await.expect_err("is corrupt");
    assert!(matches!(&error, TransferError::Corrupt { path, .. } if path == "a" || path == "d/b"));
    assert_eq!(contents(&bad), [], "no bad byte was left");
    let error = download.fetch(root, &bad).await.expect_err("is corrupt").to_string();
    assert!(error.contains(&root.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f41_a_flipped_bit_in_the_cache_is_fetched_again() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    write(&from, "large", noise(1, 700_000));
    write(&from, "small", noise(2, 1_000));
    write(&from, "twin", noise(2, 1_000));
    let root = Uploader::new(served.remote.clone()).publish_dir(&from, &path("")).await;
    let root = root.expect("publishes").root;
    let cache = Cache::open(&served.dir.path().join("cache"), 1 << 30).expect("opens");
    let download = Downloader::new(served.remote.clone()).with_cache(cache);
    download.fetch(root, &served.dir.path().join("first")).await.expect("fetches");
    let objects = served.dir.path().join("cache/objects");
    let mut hit = 0;
    for shard in fs_err::read_dir(objects).expect("lists") {
        for file in fs_err::read_dir(shard.expect("lists").path()).expect("lists") {
            let file = file.expect("lists").path();
            if file.extension().is_none() {
                let mut bytes = fs_err::read(&file).expect("reads");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs_err::write(&file, bytes).expect("writes");
                hit += 1;
            }
        }
    }
    assert!(hit >= 3, "two files and the tree's nodes");
    let to = served.dir.path().join("second");
    let fetched = download.fetch(root, &to).await.expect("fetches");
    assert_eq!(contents(&to), contents(&from));
    assert_eq!(fetched.fetched_bytes, 701_000);
    let third = served.dir.path().join("third");
    assert_eq!(download.fetch(root, &third).await.expect("fetches").fetched_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f41_damage_in_the_store_is_a_named_error() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    write(&from, "f", noise(1, 2_000_000));
    let root = Uploader::new(served.remote.clone()).publish_dir(&from, &path("")).await;
    let root = root.expect("publishes").root;
    let packs = served.dir.path().join("store/projects/default/packs");
    let mut pack = fs_err::read_dir(packs).expect("lists").map(|e| e.expect("lists").path());
    let pack = pack.find(|p| p.extension().is_some_and(|e| e == "pack")).expect("a pack");
    let mut bytes = fs_err::read(&pack).expect("reads");
    bytes[500_000] ^= 1;
    fs_err::write(&pack, bytes).expect("writes");
    let to = served.dir.path().join("to");
    let error = Downloader::new(served.remote.clone()).fetch(root, &to).await;
    let error = error.expect_err("is damaged").to_string();
    assert!(error.contains("corrupt in the store; publish its source again"), "{error}");
    assert!(!served.store.has_tree(&project(), root).expect("answers"));
    let again = Uploader::new(served.remote.clone()).publish_dir(&from, &path("")).await;
    assert_eq!(again.expect("publishes").root, root);
    let to = served.dir.path().join("healed");
    Downloader::new(served.remote.clone()).fetch(root, &to).await.expect("fetches");
    assert_eq!(contents(&to), contents(&from));
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_evil_trees_write_nothing_outside() {
    let served = serve().await;
    let outside = served.dir.path().join("outside");
    fs_err::create_dir(&outside).expect("creates");
    let data = Chunk::new(b"evil".to_vec().into());
    let content = Content { size: 4, depth: 0, id: data.id };
    let file = Kind::File { executable: true, content };
    let download = Downloader::new(served.remote.clone());
    for (n, name) in ["../outside/x", "..", "/etc/x", "a/../../outside/x"].iter().enumerate() {
        let mut chunks = vec![data.clone()];
        let root = encode_dir(&[DirEntry { name: (*name).into(), kind: file }], &mut chunks);
        let root = root.expect("encodes");
        served.store.put_chunks(&project(), chunks).expect("stores");
        let to = served.dir.path().join(format!("to{n}"));
        let error = download.fetch(root, &to).await.expect_err(name);
        assert!(matches!(error, TransferError::Tree(_)), "{name}: {error}");
        assert!(!to.exists(), "{name}: nothing was made");
    }
    // A good tree, into a directory where a link lies in its way.
    let mut chunks = vec![data.clone()];
    let inner = encode_dir(&[DirEntry { name: "x".into(), kind: file }], &mut chunks);
    let inner = Kind::Dir(inner.expect("encodes"));
    let root = encode_dir(&[DirEntry { name: "d".into(), kind: inner }], &mut chunks);
    let root = root.expect("encodes");
    served.store.put_chunks(&project(), chunks).expect("stores");
    let to = served.dir.path().join("linked");
    fs_err::create_dir(&to).expect("creates");
    std::os::unix::fs::symlink(&outside, to.join("d")).expect("links");
    assert!(download.fetch(root, &to).await.is_err());
    assert_eq!(fs_err::read_dir(&outside).expect("lists").count(), 0);
    // A size that lies.
    let lying = Kind::File { executable: false, content: Content { size: 5, ..content } };
    let mut chunks = vec![data];
    let root = encode_dir(&[DirEntry { name: "x".into(), kind: lying }], &mut chunks);
    served.store.put_chunks(&project(), chunks).expect("stores");
    let to = served.dir.path().join("lying");
    let error = download.fetch(root.expect("encodes"), &to).await.expect_err("lies");
    assert!(matches!(error, TransferError::Corrupt { .. }), "{error}");
    assert_eq!(contents(&to), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a13_outputs_that_are_no_files_are_refused_by_name() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    write(&from, "out/good", "x");
    std::os::unix::fs::symlink("/etc/passwd", from.join("out/bad")).expect("links");
    let upload = Uploader::new(served.remote.clone());
    let error = upload.publish_dir(&from, &path("out")).await.expect_err("refused").to_string();
    assert!(error.contains("`out/bad` is a symbolic link"), "{error}");
    assert_eq!(served.store.chunk_count(&project()), 0, "nothing is half done");
    let error = upload.publish_dir(&from, &path("none")).await.expect_err("missing").to_string();
    assert!(error.contains("`none` does not exist"), "{error}");
    let few = ScanLimits { bytes: 0, ..ScanLimits::default() };
    assert!(upload.with_limits(few).publish_dir(&from, &path("out/good")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn single_files_lists_and_code_become_trees() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    for (name, text) in [(".gitignore", "data\n"), ("a.py", "1"), ("data/x", "2"), (".git/c", "3")]
    {
        write(&from, name, text);
    }
    let upload = Uploader::new(served.remote.clone());
    let names = |root: Digest| {
        let tree = served.store.tree(&project(), root).expect("reads");
        tree.files.iter().map(|file| file.path.to_string()).collect::<Vec<_>>()
    };
    let one = upload.publish_dir(&from, &path("data/x")).await.expect("publishes");
    assert_eq!(names(one.root), ["x"]);
    let some = upload.publish_paths(&from, &[path("data"), path("a.py")]).await;
    assert_eq!(names(some.expect("publishes").root), ["a.py", "data/x"]);
    let code = upload.snapshot_code(&from).await.expect("publishes");
    assert_eq!(names(code.root), [".gitignore", "a.py"]);
    // Equal content has an equal digest, wherever it lies.
    let twin = served.dir.path().join("twin");
    write(&twin, "x", "2");
    let twin = upload.publish_dir(&twin, &path("")).await.expect("publishes");
    assert_eq!((twin.root, twin.uploaded_bytes), (one.root, 0));
    let tree = served.store.tree(&project(), code.root).expect("reads");
    let source = project();
    let text = tree.read(&served.store.source(&source), &path("a.py"), 100).expect("reads");
    assert_eq!(text, Some(b"1".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publish_the_same_at_once() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    write(&from, "f", noise(1, 3_000_000));
    let publish = || async {
        Uploader::new(served.remote.clone()).publish_dir(&from, &path("")).await.expect("publishes")
    };
    let all = futures::future::join_all((0..4).map(|_| publish())).await;
    assert!(all.iter().all(|published| published.root == all[0].root));
    assert!(served.store.has_tree(&project(), all[0].root).expect("answers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_all_sizes_and_progress() {
    let served = serve().await;
    for len in [1, 300_000, 5 << 20] {
        let data = noise(len as u64, len);
        let id = served.remote.put_blob(data.clone()).await.expect("stores");
        assert_eq!(served.remote.get_blob(&id).await.expect("reads"), data);
    }
    assert!(served.remote.put_blob(Vec::new()).await.is_err());
    let unknown = served.remote.get_blob(&Digest::of(b"unknown")).await.expect_err("unknown");
    assert!(unknown.to_string().contains("is not in the store"), "{unknown}");
    let from = served.dir.path().join("from");
    write(&from, "f", noise(9, 2_000_000));
    let last = Arc::new(std::sync::Mutex::new(None));
    let seen = last.clone();
    let upload = Uploader::new(served.remote.clone()).with_progress(Arc::new(move |progress| {
        *seen.lock().expect("not poisoned") = Some(progress);
    }));
    upload.publish_dir(&from, &path("")).await.expect("publishes");
    let last = last.lock().expect("not poisoned").expect("was told");
    assert_eq!(
        (last.files, last.files_total, last.bytes, last.bytes_total),
        (1, 1, 2_000_000, 2_000_000)
    );
    assert!(last.wire_bytes >= 2_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_caller_without_a_grant_learns_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(LocalStore::open(dir.path()).expect("opens"));
    let id = store.put_blob(&project(), b"secret".to_vec()).expect("stores");
    let service = BlobService::new(
        store,
        Arc::new(|metadata, _, _, _| match metadata.get("authorization") {
            Some(token) if token == "Bearer good" => Ok(()),
            _ => Err(tonic::Status::permission_denied("no grant for this project")),
        }),
    );
    let remote = Remote::new(common::start(BlobsServer::new(service)).await, project());
    let denied = |result: Result<(), TransferError>| match result {
        Err(TransferError::Remote { source, .. }) => {
            assert_eq!(source.code(), tonic::Code::PermissionDenied);
        }
        other => panic!("{other:?}"),
    };
    denied(remote.get_blob(&id).await.map(drop));
    denied(remote.find_missing(&[id]).await.map(drop));
    denied(remote.put_blob(b"x".to_vec()).await.map(drop));
    denied(remote.put_blob(noise(1, 5 << 20)).await.map(drop));
    let mut metadata = tonic::metadata::MetadataMap::new();
    metadata.insert("authorization", "Bearer good".parse().expect("is ASCII"));
    let blob = remote.with_metadata(metadata).get_blob(&id).await.expect("is granted");
    assert_eq!(&blob[..], b"secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_readers_that_never_read_are_cut_and_make_room() {
    use runyard_proto::v1::ReadChunksRequest;
    use runyard_proto::v1::blobs_server::Blobs as _;
    use tokio_stream::StreamExt as _;
    use tonic::{Code, Request};

    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(LocalStore::open(dir.path()).expect("opens"));
    let chunks: Vec<Chunk> = (0..40).map(|n| Chunk::new(noise(n, 10).into())).collect();
    store.put_chunks(&project(), chunks.clone()).expect("puts");
    let silence = Duration::from_millis(500);
    let service = BlobService::new(store, Arc::new(|_, _, _, _| Ok(()))).with_silence(silence);
    let ask = || {
        let ids = chunks.iter().map(|chunk| chunk.id.as_bytes().to_vec().into()).collect();
        let project = project().to_string();
        service.read_chunks(Request::new(ReadChunksRequest { project, chunks: ids }))
    };
    let mut held = Vec::new();
    let refused = loop {
        match ask().await {
            Ok(answer) => held.push(answer.into_inner()),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.code(), held.len()), (Code::ResourceExhausted, 256));
    // They read nothing, and still hold their answers; but their places are free again.
    let answer = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match ask().await {
                Ok(answer) => break answer,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    let answer = answer.await.expect("there is room again").into_inner();
    let all: Vec<_> = answer.collect().await;
    assert_eq!(all.iter().filter(|part| part.is_ok()).count(), chunks.len());
    assert_eq!(all.len(), chunks.len(), "a reader that reads is not cut");
    // One that reads at last is told that there is more.
    let mut cut = 0;
    for late in held {
        let late: Vec<_> = late.collect().await;
        if let Some(Err(last)) = late.last() {
            assert_eq!(last.code(), Code::DeadlineExceeded);
            assert!(late.len() <= chunks.len());
            cut += 1;
        } else {
            assert_eq!(late.len(), chunks.len(), "not cut, and whole");
        }
    }
    assert!(cut > 0);
}

#[tokio::test]
async fn f41_cached_files_that_are_gone_are_fetched_again() {
    let served = serve().await;
    let from = served.dir.path().join("from");
    for (name, len) in
        [("one", 900), ("again/one", 900), ("large", 700_000), ("again/large", 700_000)]
    {
        write(&from, name, noise(len as u64, len));
    }
    let published = Uploader::new(served.remote.clone()).publish_dir(&from, &path("")).await;
    let published = published.expect("publishes");
    let cache_dir = served.dir.path().join("cache");
    let cache = Cache::open(&cache_dir, 1 << 30).expect("opens");
    let download = Downloader::new(served.remote.clone()).with_cache(cache);
    for n in 0..3 {
        let to = served.dir.path().join(format!("to{n}"));
        download.fetch(published.root, &to).await.expect("fetches whatever the cache lost");
        assert_eq!(contents(&to), contents(&from));
        for shard in fs_err::read_dir(cache_dir.join("objects")).expect("lists") {
            fs_err::remove_dir_all(shard.expect("lists").path()).expect("removes");
        }
    }
}
