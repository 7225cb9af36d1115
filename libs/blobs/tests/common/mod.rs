//! A store behind a real server on loopback, and a way to disturb it.
#![expect(dead_code, reason = "each test file uses a part")]

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_blobs::client::Retry;
use runyard_blobs::{BlobService, LocalStore, RelPath, Remote};
use runyard_proto::v1::blobs_client::BlobsClient;
use runyard_proto::v1::blobs_server::{Blobs, BlobsServer};
use runyard_proto::v1::*;
use runyard_types::ProjectName;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

pub(crate) type Client = BlobsClient<tonic::transport::Channel>;

/// Bytes that do not compress, the same for the same seed (SplitMix64).
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(len);
    out
}

pub(crate) fn project() -> ProjectName {
    ProjectName::default_project()
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text).expect(text)
}

pub(crate) fn write(dir: &Path, name: &str, data: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs_err::create_dir_all(path.parent().expect("a parent")).expect("creates");
    fs_err::write(path, data).expect("writes");
}

/// What goes wrong, and how often.
#[derive(Default)]
pub(crate) struct Faults {
    /// Each upload takes one: it is cut before that message.
    pub(crate) cut_uploads: Mutex<VecDeque<usize>>,
    /// So many answers to `ReadChunks` have a bit flipped.
    pub(crate) flips: AtomicUsize,
    /// Each reading takes one: it is cut after so many messages.
    pub(crate) cut_reads: Mutex<VecDeque<usize>>,
    pub(crate) uploads: AtomicUsize,
}

#[derive(Clone)]
struct Faulty {
    inner: BlobService,
    faults: Arc<Faults>,
}

#[tonic::async_trait]
impl Blobs for Faulty {
    async fn find_missing(
        &self,
        request: Request<FindMissingRequest>,
    ) -> Result<Response<FindMissingResponse>, Status> {
        self.inner.find_missing(request).await
    }
    async fn pack_status(
        &self,
        request: Request<PackStatusRequest>,
    ) -> Result<Response<PackStatusResponse>, Status> {
        self.inner.pack_status(request).await
    }
    async fn put_chunks(
        &self,
        request: Request<PutChunksRequest>,
    ) -> Result<Response<PutChunksResponse>, Status> {
        self.inner.put_chunks(request).await
    }
    async fn upload_pack(
        &self,
        request: Request<Streaming<UploadPackRequest>>,
    ) -> Result<Response<UploadPackResponse>, Status> {
        self.faults.uploads.fetch_add(1, Ordering::SeqCst);
        let cut = self.faults.cut_uploads.lock().expect("not poisoned").pop_front();
        let (metadata, extensions, messages) = request.into_parts();
        let limit = cut.unwrap_or(usize::MAX);
        let end = cut.map(|_| Err(Status::unavailable("cut on purpose")));
        let messages = messages.take(limit).chain(tokio_stream::iter(end));
        self.inner.receive_pack(&metadata, &extensions, messages).await.map(Response::new)
    }
    type ReadChunksStream =
        Pin<Box<dyn Stream<Item = Result<ReadChunksResponse, Status>> + Send + 'static>>;
    async fn read_chunks(
        &self,
        request: Request<ReadChunksRequest>,
    ) -> Result<Response<Self::ReadChunksStream>, Status> {
        let faults = self.faults.clone();
        let cut = faults.cut_reads.lock().expect("not poisoned").pop_front();
        let end = cut.map(|_| Err(Status::unavailable("cut on purpose")));
        let stream = self.inner.read_chunks(request).await?.into_inner();
        let stream = stream.map(move |answer| {
            let mut answer = answer?;
            let left = |n: usize| n.checked_sub(1);
            if faults.flips.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
                let mut data = answer.data.to_vec();
                let middle = data.len() / 2;
                data[middle] ^= 8;
                answer.data = data.into();
            }
            Ok(answer)
        });
        let stream = stream.take(cut.unwrap_or(usize::MAX)).chain(tokio_stream::iter(end));
        Ok(Response::new(Box::pin(stream)))
    }
}

pub(crate) struct Served {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Arc<LocalStore>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) remote: Remote,
}

/// Starts a server with a store of its own.
pub(crate) async fn serve() -> Served {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(LocalStore::open(dir.path().join("store")).expect("opens"));
    let inner = BlobService::new(store.clone(), Arc::new(|_, _, _, _| Ok(())));
    let faults = Arc::<Faults>::default();
    let service = BlobsServer::new(Faulty { inner, faults: faults.clone() });
    let remote = Remote::new(start(service).await, project()).with_retry(quick());
    Served { dir, store, faults, remote }
}

/// Tries often without long pauses.
pub(crate) fn quick() -> Retry {
    let (pause, pause_max) = (Duration::from_millis(1), Duration::from_millis(2));
    Retry { tries: 4, pause, pause_max }
}

/// Serves on loopback; answers with a channel to it.
pub(crate) async fn start<T: Blobs>(service: BlobsServer<T>) -> tonic::transport::Channel {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("has an address");
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    runyard_transport::task::spawn("test server", async move {
        tonic::transport::Server::builder()
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(256 << 10)
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
            .expect("serves");
    });
    tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .expect("an address")
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_lazy()
}

/// All files below `dir` with their bytes and whether they are executable.
pub(crate) fn contents(dir: &Path) -> Vec<(String, Vec<u8>, bool)> {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut todo, mut all) = (vec![dir.to_owned()], Vec::new());
    while let Some(at) = todo.pop() {
        for entry in fs_err::read_dir(at).expect("lists") {
            let entry = entry.expect("lists");
            let meta = entry.metadata().expect("stats");
            if meta.is_dir() {
                todo.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(dir).expect("below").display().to_string();
                let executable = meta.permissions().mode() & 0o100 != 0;
                all.push((name, fs_err::read(entry.path()).expect("reads"), executable));
            }
        }
    }
    all.sort();
    all
}
