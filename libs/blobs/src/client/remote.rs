//! One project's blobs at a coordinator: the calls, repeated where that helps.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use runyard_proto::v1::blobs_client::BlobsClient;
use runyard_proto::v1::{
    FindMissingRequest, PackStatusRequest, PutChunksRequest, ReadChunksRequest, UploadPackRequest,
};
use runyard_types::{Digest, ProjectName};
use tokio::sync::mpsc;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::{Meter, Retry, TransferError};
use crate::chunk::{CHUNK_BYTES_MAX, Chunk};
use crate::pack::{Pack, PackBuilder};
use crate::service::DATA_BYTES;

/// Ids in one message, far below the message limit.
const IDS_MAX: usize = 16_384;
/// Bytes of small chunks in one message; the limit of a message is 4 MiB.
const PUT_BYTES_MAX: usize = 3 << 20;

/// A project's blobs at a coordinator.
#[derive(Debug, Clone)]
pub struct Remote {
    client: BlobsClient<Channel>,
    project: ProjectName,
    metadata: MetadataMap,
    retry: Retry,
}

impl Remote {
    /// The blobs of `project` behind `channel`.
    pub fn new(channel: Channel, project: ProjectName) -> Self {
        let client = BlobsClient::new(channel);
        Self { client, project, metadata: MetadataMap::new(), retry: Retry::default() }
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
        let pack = super::blocking(move || {
            let mut builder = PackBuilder::new().map_err(io)?;
            builder.push(&chunk);
            Ok(builder.finish())
        });
        self.upload_pack(&pack.await?, &Meter::new(0, 0, None)).await?;
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
    pub(crate) async fn upload_pack(
        &self,
        pack: &Pack,
        meter: &Arc<Meter>,
    ) -> Result<(), TransferError> {
        let what = "upload a pack";
        let (mut failed, mut farthest) = (0, 0);
        loop {
            let message = PackStatusRequest { project: self.project(), pack: wire_pack(pack) };
            let there = self
                .repeat(what, async |mut client| {
                    client.pack_status(self.request(message.clone())).await
                })
                .await?;
            if there.complete {
                return Ok(());
            }
            if there.received_bytes > farthest {
                (failed, farthest) = (0, there.received_bytes);
            }
            let messages = self.pack_messages(pack, there.received_bytes, meter.clone());
            let request = self.request(tokio_stream::iter(messages));
            match self.client.clone().upload_pack(request).await {
                Ok(_) => return Ok(()),
                Err(status) => {
                    failed += 1;
                    let waited = self.retry.wait(failed, status).await;
                    waited.map_err(|source| TransferError::Remote { what, source })?;
                }
            }
        }
    }

    /// The messages that carry a pack from `offset` on; at least one, which names it.
    fn pack_messages(
        &self,
        pack: &Pack,
        offset: u64,
        meter: Arc<Meter>,
    ) -> impl Iterator<Item = UploadPackRequest> + Send + 'static {
        let (bytes, size_bytes) = (pack.bytes.clone(), pack.bytes.len() as u64);
        let (project, name) = (self.project(), wire_pack(pack));
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let mut first = true;
        std::iter::from_fn(move || {
            if at == bytes.len() && !first {
                return None;
            }
            let data = bytes.slice(at..(at + DATA_BYTES).min(bytes.len()));
            let (project, pack) =
                if first { (project.clone(), name.clone()) } else { Default::default() };
            let message = UploadPackRequest { project, pack, size_bytes, offset: at as u64, data };
            (first, at) = (false, at + message.data.len());
            meter.add(0, 0, message.data.len() as u64);
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

fn wire_pack(pack: &Pack) -> Bytes {
    Bytes::copy_from_slice(pack.id.as_bytes())
}
