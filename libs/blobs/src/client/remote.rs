//! One project's blobs at a coordinator: the calls, repeated where that helps.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use runyard_proto::v1::blobs_client::BlobsClient;
use runyard_proto::v1::{
    FindMissingRequest, PackStatusRequest, PutChunksRequest, ReadChunksRequest, UploadPackRequest,
};
use runyard_types::{Digest, ProjectName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::send::{PackCodec, PackMessage, Slices};
use super::{Meter, Retry, TransferError};
use crate::chunk::{CHUNK_BYTES_MAX, Chunk};
use crate::pack::{Bundle, BundleBuilder};

/// Ids in one message, far below the message limit.
const IDS_MAX: usize = 16_384;
/// Bytes of small chunks in one message; the limit of a message is 4 MiB.
const PUT_BYTES_MAX: usize = 3 << 20;

/// A project's blobs at a coordinator.
#[derive(Debug, Clone)]
pub struct Remote {
    client: BlobsClient<Channel>,
    channel: Channel,
    project: ProjectName,
    metadata: MetadataMap,
    retry: Retry,
    /// Held by a pack while its bytes move, not while the other side makes it durable.
    moving: Arc<Semaphore>,
}

/// Packs that move at once: if more did, they would all arrive together, and then the connection would wait for
/// all their syncs.
const MOVING: usize = 2;

impl Remote {
    /// The blobs of `project` behind `channel`.
    pub fn new(channel: Channel, project: ProjectName) -> Self {
        let client = BlobsClient::new(channel.clone());
        let (metadata, moving) = (MetadataMap::new(), Arc::new(Semaphore::new(MOVING)));
        Self { client, channel, project, metadata, retry: Retry::default(), moving }
    }

    /// Sends `metadata` with each call (a token, an attempt).
    #[must_use]
    pub fn with_metadata(mut self, metadata: MetadataMap) -> Self {
        self.metadata = metadata;
        self
    }

    /// Repeats failed calls otherwise.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for pair in self.metadata.iter() {
            match pair {
                KeyAndValueRef::Ascii(key, value) => {
                    request.metadata_mut().append(key, value.clone());
                }
                KeyAndValueRef::Binary(key, value) => {
                    request.metadata_mut().append_bin(key, value.clone());
                }
            }
        }
        request
    }

    /// Those of `ids` that the project lacks.
    pub async fn find_missing(&self, ids: &[Digest]) -> Result<Vec<Digest>, TransferError> {
        let mut missing = Vec::new();
        for ids in ids.chunks(IDS_MAX) {
            let message = FindMissingRequest { project: self.project(), chunks: wire_ids(ids) };
            let answer = self
                .repeat("ask which chunks are missing", async |mut client| {
                    client.find_missing(self.request(message.clone())).await
                })
                .await?;
            for id in &answer.missing {
                missing.push(Digest::from_slice(id).map_err(|_| TransferError::Protocol)?);
            }
        }
        Ok(missing)
    }

    /// Stores chunks in single messages, where packs do not pay; each at most 3 MiB.
    pub(crate) async fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), TransferError> {
        let mut rest = chunks;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |chunk: &&Chunk| {
                bytes += chunk.data.len() + 16;
                bytes <= PUT_BYTES_MAX
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let chunks = rest[..count].iter().map(|chunk| chunk.data.clone()).collect();
            let message = PutChunksRequest { project: self.project(), chunks };
            self.repeat("store chunks", async |mut client| {
                client.put_chunks(self.request(message.clone())).await
            })
            .await?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Stores one blob (a segment, manifest or record; not empty); durable when it returns.
    pub async fn put_blob(&self, data: impl Into<Bytes>) -> Result<Digest, TransferError> {
        let chunk = Chunk::new(data.into());
        if chunk.data.is_empty() || chunk.data.len() > CHUNK_BYTES_MAX {
            let text = format!("a blob has 1 to {CHUNK_BYTES_MAX} bytes, not {}", chunk.data.len());
            let source = Status::invalid_argument(text);
            return Err(TransferError::Remote { what: "store a blob", source });
        }
        let id = chunk.id;
        if chunk.data.len() <= PUT_BYTES_MAX - 16 {
            self.put_chunks(&[chunk]).await?;
            return Ok(id);
        }
        let io = |source| TransferError::Io { what: "make a pack", source };
        let bundle = super::blocking(move || {
            let mut builder = BundleBuilder::new().map_err(io)?;
            builder.push(&chunk);
            Ok(builder.finish())
        });
        self.upload(&bundle.await?, &Meter::new(0, 0, None)).await?;
        Ok(id)
    }

    /// A blob's verified bytes; a damaged answer is asked for once more.
    pub async fn get_blob(&self, id: &Digest) -> Result<Bytes, TransferError> {
        for _ in 0..2 {
            let (answers, mut received) = mpsc::channel(1);
            let read = self.read_chunks(vec![*id], answers);
            let (read, chunk) = tokio::join!(read, received.recv());
            read?;
            let data = chunk.ok_or(TransferError::Protocol)?;
            if Digest::of(&data) == *id {
                return Ok(data);
            }
        }
        Err(TransferError::Corrupt { chunk: *id, path: "a blob".into() })
    }

    /// Sends a pack, going on where an earlier try stopped.
    pub(crate) async fn upload(
        &self,
        bundle: &Bundle,
        meter: &Arc<Meter>,
    ) -> Result<(), TransferError> {
        let what = "upload a pack";
        let (mut failed, mut farthest) = (0, 0);
        loop {
            let pack = Bytes::copy_from_slice(bundle.id.as_bytes());
            let message = PackStatusRequest { project: self.project(), pack };
            let there = self
                .repeat(what, async |mut client| {
                    client.pack_status(self.request(message.clone())).await
                })
                .await?;
            if there.received_bytes > farthest {
                (failed, farthest) = (0, there.received_bytes);
            }
            let permit = self.moving.clone().acquire_owned().await;
            let permit = permit.map_err(|_| TransferError::Stopped)?;
            let messages = self.pack_messages(bundle, there.received_bytes, meter.clone(), permit);
            match self.send_pack(messages).await {
                Ok(()) => return Ok(()),
                Err(status) => {
                    failed += 1;
                    let waited = self.retry.wait(failed, status).await;
                    waited.map_err(|source| TransferError::Remote { what, source })?;
                }
            }
            // The answer may have been lost on its way, not the pack.
            let ids: Vec<Digest> = bundle.entries.iter().map(|entry| entry.id).collect();
            if self.find_missing(&ids).await?.is_empty() {
                return Ok(());
            }
        }
    }

    async fn send_pack(
        &self,
        messages: impl Iterator<Item = PackMessage> + Send + 'static,
    ) -> Result<(), Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::unavailable(format!("no connection: {error}")))?;
        let path = PathAndQuery::from_static("/runyard.v1.Blobs/UploadPack");
        let request = self.request(tokio_stream::iter(messages));
        grpc.client_streaming(request, path, PackCodec).await.map(drop)
    }

    /// The messages that carry a pack from `offset` on; at least one, which names it.
    fn pack_messages(
        &self,
        bundle: &Bundle,
        offset: u64,
        meter: Arc<Meter>,
        permit: OwnedSemaphorePermit,
    ) -> impl Iterator<Item = PackMessage> + Send + 'static {
        let mut slices = Slices::from_offset(bundle.parts.clone(), offset);
        let mut head = UploadPackRequest {
            project: self.project(),
            pack: Bytes::copy_from_slice(bundle.id.as_bytes()),
            index: bundle.index.clone(),
            size_bytes: bundle.size,
            offset: offset.min(bundle.size),
            data: Bytes::new(),
        };
        let mut first = true;
        let mut permit = Some(permit);
        std::iter::from_fn(move || {
            let data = slices.next_data();
            if data.is_empty() && !first {
                // The next pack moves while this one is made durable.
                drop(permit.take());
                return None;
            }
            first = false;
            let offset = head.offset;
            let message = PackMessage { head: std::mem::take(&mut head), data };
            head.offset = offset + message.len() as u64;
            meter.add(0, 0, message.len() as u64);
            Some(message)
        })
    }

    /// Sends the bytes of `ids` to `answers` in their order, unverified; goes on after interruptions.
    /// Ends early, without error, when nobody receives any more.
    pub(crate) async fn read_chunks(
        &self,
        ids: Vec<Digest>,
        answers: mpsc::Sender<Bytes>,
    ) -> Result<(), TransferError> {
        let what = "read chunks";
        let (mut done, mut failed) = (0, 0);
        while done < ids.len() {
            let batch = &ids[done..(done + IDS_MAX).min(ids.len())];
            let before = done;
            match self.read_batch(batch, &answers, &mut done).await {
                Ok(true) => failed = 0,
                Ok(false) => return Ok(()),
                Err(status) => {
                    failed = if done > before { 1 } else { failed + 1 };
                    let waited = self.retry.wait(failed, status).await;
                    waited.map_err(|source| TransferError::Remote { what, source })?;
                }
            }
        }
        Ok(())
    }

    async fn read_batch(
        &self,
        ids: &[Digest],
        answers: &mpsc::Sender<Bytes>,
        done: &mut usize,
    ) -> Result<bool, Status> {
        let message = ReadChunksRequest { project: self.project(), chunks: wire_ids(ids) };
        let mut stream = self.client.clone().read_chunks(self.request(message)).await?.into_inner();
        for id in ids {
            let mut whole = BytesMut::new();
            let data = loop {
                let cut = || Status::unavailable("the answer ended too early");
                let part = stream.message().await?.ok_or_else(cut)?;
                let fits = part.chunk == id.as_bytes().as_slice()
                    && part.offset == whole.len() as u64
                    && whole.len() + part.data.len() <= CHUNK_BYTES_MAX;
                if !fits {
                    return Err(Status::internal("the chunks came out of order"));
                }
                if part.last && whole.is_empty() {
                    break part.data;
                }
                whole.extend_from_slice(&part.data);
                if part.last {
                    break whole.freeze();
                }
            };
            if answers.send(data).await.is_err() {
                return Ok(false);
            }
            *done += 1;
        }
        Ok(true)
    }

    async fn repeat<T>(
        &self,
        what: &'static str,
        call: impl AsyncFn(BlobsClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, TransferError> {
        let mut failed = 0;
        loop {
            match call(self.client.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => {
                    failed += 1;
                    let waited = self.retry.wait(failed, status).await;
                    waited.map_err(|source| TransferError::Remote { what, source })?;
                }
            }
        }
    }

    fn project(&self) -> String {
        self.project.as_str().to_owned()
    }
}

fn wire_ids(ids: &[Digest]) -> Vec<Bytes> {
    ids.iter().map(|id| Bytes::copy_from_slice(id.as_bytes())).collect()
}
