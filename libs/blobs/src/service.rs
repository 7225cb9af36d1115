//! The `Blobs` service over a [`LocalStore`].
//!
//! Disk and hashing run on blocking threads, whose number is bounded; messages carry at most
//! [`DATA_BYTES`]. Windows and frame sizes are the server's to set.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use runyard_proto::v1::blobs_server::Blobs;
use runyard_proto::v1::{
    FindMissingRequest, FindMissingResponse, PackStatusRequest, PackStatusResponse,
    PutChunksRequest, PutChunksResponse, ReadChunksRequest, ReadChunksResponse, UploadPackRequest,
    UploadPackResponse,
};
use runyard_types::{Digest, ProjectName};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::{SendTimeoutError, TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::chunk::Chunk;
use crate::pack::PackId;
use crate::store::{LocalStore, PackUpload, StoreError};

/// Bytes of data in one streamed message.
pub const DATA_BYTES: usize = 256 << 10;
/// Streams served at once; more are told to come back.
const STREAMS_MAX: usize = 256;
/// A sender that is silent for longer, or a reader that takes nothing for longer, is cut; it goes on where it
/// was.
const SILENCE: Duration = Duration::from_secs(60);

/// What a call wants to do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// Decides whether a caller may do that; it must not block.
pub type Authorise = Arc<
    dyn Fn(&MetadataMap, &Extensions, &ProjectName, Access) -> Result<(), Status> + Send + Sync,
>;

/// The service.
#[derive(Clone)]
pub struct BlobService {
    store: Arc<LocalStore>,
    authorise: Authorise,
    streams: Arc<Semaphore>,
    silence: Duration,
}

impl std::fmt::Debug for BlobService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobService").field("store", &self.store).finish_non_exhaustive()
    }
}

enum Arrival {
    Data(u64, Bytes),
    /// The sender has sent all.
    End,
}

impl BlobService {
    /// Serves `store` to those whom `authorise` lets in.
    pub fn new(store: Arc<LocalStore>, authorise: Authorise) -> Self {
        Self { store, authorise, streams: Arc::new(Semaphore::new(STREAMS_MAX)), silence: SILENCE }
    }

    /// Cuts senders and readers that are silent for longer than `silence`, instead of a minute.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    fn enter(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
        project: &str,
        access: Access,
    ) -> Result<ProjectName, Status> {
        let project = ProjectName::new(project)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        (self.authorise)(metadata, extensions, &project, access)?;
        Ok(project)
    }

    fn stream(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.streams.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("too many blob transfers at once; try again in a moment")
        })
    }

    /// Receives one pack from a stream of messages, the first of which names it.
    pub async fn receive_pack<S>(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
        mut messages: S,
    ) -> Result<UploadPackResponse, Status>
    where
        S: Stream<Item = Result<UploadPackRequest, Status>> + Unpin + Send,
    {
        let first = next(&mut messages, self.silence).await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the upload names no pack"))?;
        let project = self.enter(metadata, extensions, &first.project, Access::Write)?;
        let pack = pack_id(&first.pack)?;
        let permit = self.stream()?;
        let (arrivals, received) = mpsc::channel(8);
        let store = self.store.clone();
        let writing = spawn_blocking(move || {
            let upload = match first.index.is_empty() {
                true => store.upload_pack(&project, pack, first.size_bytes),
                false => {
                    let id = Digest::from_bytes(*pack.as_bytes());
                    store.upload_indexed(&project, id, first.index, first.size_bytes)
                }
            };
            let done =
                upload.and_then(|upload| write_pack(&upload, pack, first.size_bytes, received));
            drop(permit);
            done
        });
        // When the writer has failed its end of the channel is closed; its error is told below.
        let mut open = arrivals.send(Arrival::Data(first.offset, first.data)).await.is_ok();
        while open {
            match next(&mut messages, self.silence).await? {
                Some(message) => {
                    let arrival = Arrival::Data(message.offset, message.data);
                    open = arrivals.send(arrival).await.is_ok();
                }
                None => {
                    let _ = arrivals.send(Arrival::End).await;
                    break;
                }
            }
        }
        drop(arrivals);
        let chunks = joined(writing.await)?.map_err(|error| status(&error))?;
        Ok(UploadPackResponse { chunks })
    }
}

async fn next<S>(messages: &mut S, silence: Duration) -> Result<Option<UploadPackRequest>, Status>
where
    S: Stream<Item = Result<UploadPackRequest, Status>> + Unpin,
{
    match tokio::time::timeout(silence, messages.next()).await {
        Ok(message) => message.transpose(),
        Err(_) => {
            Err(Status::deadline_exceeded("the upload was silent for too long; go on with it"))
        }
    }
}

fn write_pack(
    upload: &PackUpload,
    pack: PackId,
    size: u64,
    mut received: mpsc::Receiver<Arrival>,
) -> Result<u64, StoreError> {
    while let Some(arrival) = received.blocking_recv() {
        match arrival {
            Arrival::Data(offset, data) => upload.append(offset, &data)?,
            Arrival::End => return upload.finish(),
        }
    }
    // The sender was cut off and nobody waits for an answer; what came stays for the next try.
    let received = upload.status()?.received_bytes;
    Err(StoreError::Gap { pack, received, offset: size })
}

#[tonic::async_trait]
impl Blobs for BlobService {
    async fn find_missing(
        &self,
        request: Request<FindMissingRequest>,
    ) -> Result<Response<FindMissingResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let project = self.enter(&metadata, &extensions, &request.project, Access::Read)?;
        let ids = digests(&request.chunks)?;
        let missing = self.store.find_missing(&project, &ids);
        let missing = missing.iter().map(|id| Bytes::copy_from_slice(id.as_bytes())).collect();
        Ok(Response::new(FindMissingResponse { missing }))
    }

    async fn pack_status(
        &self,
        request: Request<PackStatusRequest>,
    ) -> Result<Response<PackStatusResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let project = self.enter(&metadata, &extensions, &request.project, Access::Write)?;
        let pack = pack_id(&request.pack)?;
        let store = self.store.clone();
        let found = joined(spawn_blocking(move || store.pack_status(&project, pack)).await)?;
        let found = found.map_err(|error| status(&error))?;
        let (complete, received_bytes) = (found.complete, found.received_bytes);
        Ok(Response::new(PackStatusResponse { complete, received_bytes }))
    }

    async fn upload_pack(
        &self,
        request: Request<Streaming<UploadPackRequest>>,
    ) -> Result<Response<UploadPackResponse>, Status> {
        let (metadata, extensions, messages) = request.into_parts();
        self.receive_pack(&metadata, &extensions, messages).await.map(Response::new)
    }

    async fn put_chunks(
        &self,
        request: Request<PutChunksRequest>,
    ) -> Result<Response<PutChunksResponse>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let project = self.enter(&metadata, &extensions, &request.project, Access::Write)?;
        let stored = request.chunks.len() as u64;
        let permit = self.stream()?;
        let store = self.store.clone();
        let put = spawn_blocking(move || {
            let chunks = request.chunks.into_iter().map(Chunk::new).collect();
            let done = store.put_chunks(&project, chunks);
            drop(permit);
            done
        });
        joined(put.await)?.map_err(|error| status(&error))?;
        Ok(Response::new(PutChunksResponse { stored }))
    }

    type ReadChunksStream =
        Pin<Box<dyn Stream<Item = Result<ReadChunksResponse, Status>> + Send + 'static>>;

    async fn read_chunks(
        &self,
        request: Request<ReadChunksRequest>,
    ) -> Result<Response<Self::ReadChunksStream>, Status> {
        let (metadata, extensions, request) = request.into_parts();
        let project = self.enter(&metadata, &extensions, &request.project, Access::Read)?;
        let ids = digests(&request.chunks)?;
        let permit = self.stream()?;
        let (answers, stream) = mpsc::channel(8);
        let cut = Arc::new(AtomicBool::new(false));
        let answers = Answers { answers, silence: self.silence, cut: cut.clone() };
        let store = self.store.clone();
        spawn_blocking(move || {
            let mut rest = ids.as_slice();
            'all: while !rest.is_empty() {
                let run = store.read_run(&project, rest);
                let (these, next) = rest.split_at(run.len());
                for (id, data) in these.iter().zip(run) {
                    let sent = match data {
                        Ok(data) => answers.send_chunk(id, &data),
                        Err(error) => {
                            // The reader may be gone; then nobody is left to be told.
                            answers.send(Err(status(&error)));
                            false
                        }
                    };
                    if !sent {
                        break 'all;
                    }
                }
                rest = next;
            }
            drop(permit);
        });
        // Asked for only when all that was sent has been taken.
        let end = std::iter::from_fn(move || {
            let text = "the answer was not read for too long; ask again for what is missing";
            cut.swap(false, Ordering::AcqRel).then(|| Err(Status::deadline_exceeded(text)))
        });
        let stream = ReceiverStream::new(stream).chain(tokio_stream::iter(end));
        Ok(Response::new(Box::pin(stream)))
    }
}

type Answer = Result<ReadChunksResponse, Status>;

/// The way to a reader, from a blocking thread.
struct Answers {
    answers: mpsc::Sender<Answer>,
    silence: Duration,
    /// The reader took nothing for too long.
    cut: Arc<AtomicBool>,
}

impl Answers {
    /// Sends a chunk in messages of [`DATA_BYTES`]; false when the reader is gone or cut.
    fn send_chunk(&self, id: &Digest, data: &Bytes) -> bool {
        let chunk = Bytes::copy_from_slice(id.as_bytes());
        let mut offset = 0;
        while offset < data.len() {
            let end = (offset + DATA_BYTES).min(data.len());
            let answer = ReadChunksResponse {
                chunk: chunk.clone(),
                offset: offset as u64,
                data: data.slice(offset..end),
                last: end == data.len(),
            };
            if !self.send(Ok(answer)) {
                return false;
            }
            offset = end;
        }
        true
    }

    /// Waits for room, but not without end: a reader that reads nothing holds a thread and one of
    /// [`STREAMS_MAX`] places.
    fn send(&self, answer: Answer) -> bool {
        let answer = match self.answers.try_send(answer) {
            Ok(()) => return true,
            Err(TrySendError::Closed(_)) => return false,
            Err(TrySendError::Full(answer)) => answer,
        };
        let waiting = self.answers.send_timeout(answer, self.silence);
        match Handle::current().block_on(waiting) {
            Ok(()) => true,
            Err(SendTimeoutError::Closed(_)) => false,
            Err(SendTimeoutError::Timeout(_)) => {
                tracing::warn!("a reader of chunks took nothing for too long; its answer is cut");
                self.cut.store(true, Ordering::Release);
                false
            }
        }
    }
}

fn digests(ids: &[Bytes]) -> Result<Vec<Digest>, Status> {
    let ids: Result<_, _> = ids.iter().map(|id| Digest::from_slice(id)).collect();
    ids.map_err(|error| Status::invalid_argument(error.to_string()))
}

fn pack_id(bytes: &[u8]) -> Result<PackId, Status> {
    PackId::from_slice(bytes)
        .ok_or_else(|| Status::invalid_argument("a pack is named by 32 bytes, its SHA-256"))
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Status> {
    result.map_err(|error| {
        tracing::error!(%error, "a blob task failed");
        Status::internal("the blob store failed; the coordinator's log says why")
    })
}

fn status(error: &StoreError) -> Status {
    let text = error.to_string();
    match error {
        StoreError::NotFound(_) => Status::not_found(text),
        StoreError::Corrupt(_) => Status::data_loss(text),
        StoreError::BadPack { source: Some(_), .. } => Status::invalid_argument(text),
        // The bytes were damaged on their way: sending them again may help.
        StoreError::BadPack { source: None, .. } => Status::aborted(text),
        StoreError::Gap { .. } => Status::out_of_range(text),
        StoreError::ChunkSize(_) | StoreError::ActionSize(..) | StoreError::Tree(_) => {
            Status::invalid_argument(text)
        }
        StoreError::Busy(_) => Status::resource_exhausted(text),
        StoreError::Io { .. } if error.is_full() => {
            tracing::error!(%error, "the blob store's disk is full");
            Status::resource_exhausted("the coordinator's blob store is full; make room there")
        }
        StoreError::Io { .. }
        | StoreError::InUse(_)
        | StoreError::Format(..)
        | StoreError::Unreadable { .. }
        | StoreError::Newer { .. } => {
            tracing::error!(error = error as &dyn std::error::Error, "the blob store failed");
            Status::internal("the blob store failed; the coordinator's log says why")
        }
    }
}
