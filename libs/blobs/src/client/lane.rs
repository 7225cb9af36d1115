//! One lane of a fetch: files written in order, from the cache and from a stream of chunks.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use runyard_types::Digest;
use tokio::sync::mpsc;

use super::{Meter, TransferError};
use crate::cache::{Cache, ObjectWriter, Pinned};
use crate::chunk::ChunkRef;
use crate::files::{FileError, Root, write_slices};
use crate::tree::RelPath;

/// Content that goes to one or more places.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) chunks: Vec<ChunkRef>,
    pub(super) size: u64,
    /// Paths, and whether they are executable.
    pub(super) places: Vec<(RelPath, bool)>,
}

/// A job and why it must be done again.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) job: Job,
    pub(super) chunk: Digest,
}

/// Where a chunk comes from.
#[derive(Debug)]
enum Source {
    /// The next one of the stream.
    Stream,
    /// The same as the one before it, as in a file of zeros.
    Again,
    Cache(Pinned, u64),
}

#[derive(Debug)]
enum Step {
    /// The whole content is in the cache.
    Whole(Job, Pinned),
    Parts(Job, Vec<Source>),
}

/// What a lane does, and the chunks that its stream must bring, in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    steps: Vec<Step>,
    pub(super) stream: Vec<Digest>,
}

impl Plan {
    /// Plans the jobs; with a cache, what it has is not asked for.
    pub(super) fn new(jobs: Vec<Job>, cache: Option<&Arc<Cache>>) -> Self {
        let mut plan = Self::default();
        for job in jobs {
            let whole = cache.filter(|_| !job.chunks.is_empty());
            if let Some(pinned) = whole.and_then(|cache| cache.pin(&job.chunks)) {
                plan.steps.push(Step::Whole(job, pinned));
                continue;
            }
            let mut sources = Vec::with_capacity(job.chunks.len());
            let mut before = None;
            for chunk in &job.chunks {
                let source = match cache.and_then(|cache| cache.pin_chunk(chunk)) {
                    _ if before == Some(chunk.id) => Source::Again,
                    Some((pinned, offset)) => Source::Cache(pinned, offset),
                    None => {
                        plan.stream.push(chunk.id);
                        Source::Stream
                    }
                };
                before = Some(chunk.id);
                sources.push(source);
            }
            plan.steps.push(Step::Parts(job, sources));
        }
        plan
    }
}

/// What the lanes share.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) dest: Root,
    pub(super) cache: Option<Arc<Cache>>,
    /// The cache and the destination can share blocks.
    pub(super) share: bool,
    pub(super) meter: Arc<Meter>,
}

impl Site {
    /// Carries out a plan; answers with the jobs whose bytes were bad.
    pub(super) fn run(
        &self,
        plan: Plan,
        mut stream: mpsc::Receiver<Bytes>,
    ) -> Result<Vec<Failed>, TransferError> {
        let mut failed = Vec::new();
        for step in plan.steps {
            let (job, bad) = match step {
                Step::Whole(job, pinned) => {
                    let bad = self.place(&job, &pinned)?;
                    (job, bad)
                }
                Step::Parts(job, sources) => {
                    let bad = self.write(&job, sources, &mut stream)?;
                    (job, bad)
                }
            };
            match bad {
                None => self.meter.add(job.places.len() as u64, job.size, 0),
                Some(chunk) => failed.push(Failed { job, chunk }),
            }
        }
        Ok(failed)
    }

    fn place(&self, job: &Job, pinned: &Pinned) -> Result<Option<Digest>, TransferError> {
        use crate::cache::CacheError;
        for (path, executable) in &job.places {
            let file = self.dest.create_file(path, *executable)?;
            match pinned.place(&job.chunks, &file, self.share) {
                Ok(()) => {}
                Err(CacheError::Corrupt(chunk)) => {
                    self.clear(job)?;
                    return Ok(Some(chunk));
                }
                // The cache failed otherwise (a file is gone, say): the bytes can still be fetched.
                Err(error) => {
                    tracing::warn!(%error, "a cached object cannot be used");
                    self.clear(job)?;
                    return Ok(Some(job.chunks[0].id));
                }
            }
        }
        Ok(None)
    }

    /// Writes a job's content chunk by chunk, each verified before it is written.
    fn write(
        &self,
        job: &Job,
        sources: Vec<Source>,
        stream: &mut mpsc::Receiver<Bytes>,
    ) -> Result<Option<Digest>, TransferError> {
        let mut out = Output::open(self, job)?;
        let mut before = Bytes::new();
        let mut bad = None;
        for (chunk, source) in job.chunks.iter().zip(sources) {
            let data = match source {
                // The stream goes on whatever happens: the next job's chunks follow in it.
                Source::Stream => {
                    let data = stream.blocking_recv().ok_or(TransferError::Stopped)?;
                    self.meter.add(0, 0, data.len() as u64);
                    if verified(&data, chunk) { Some(data) } else { None }
                }
                Source::Again => Some(before.clone()).filter(|_| bad.is_none()),
                Source::Cache(pinned, offset) => {
                    let data = pinned.read(offset, chunk.len).ok();
                    let data = data.filter(|data| verified(data, chunk));
                    if data.is_none() {
                        pinned.discard();
                    }
                    data
                }
            };
            match data {
                Some(data) if bad.is_none() => {
                    before = data.clone();
                    out.write(data)?;
                }
                Some(_) => {}
                None => bad = bad.or(Some(chunk.id)),
            }
        }
        match bad {
            None => bad = out.finish()?,
            Some(_) => drop(out),
        }
        if bad.is_some() {
            self.clear(job)?;
        }
        Ok(bad)
    }

    /// Removes what a failed job has begun.
    fn clear(&self, job: &Job) -> Result<(), TransferError> {
        for (path, _) in &job.places {
            match self.dest.remove_file(path) {
                Ok(()) => {}
                Err(FileError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }
}

fn verified(data: &Bytes, chunk: &ChunkRef) -> bool {
    data.len() == chunk.len as usize && Digest::of(data) == chunk.id
}

/// Bytes that are written at once: few large writes cost the kernel less than many small ones.
const WRITE_BYTES: usize = 1 << 20;

/// The files that a job's bytes go to: its first place, or the cache where blocks are shared, or both.
struct Output<'a> {
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    site: &'a Site,
    job: &'a Job,
    cached: Option<ObjectWriter>,
    direct: Option<File>,
}

impl<'a> Output<'a> {
    fn open(site: &'a Site, job: &'a Job) -> Result<Self, TransferError> {
        let cache = site.cache.as_ref().filter(|_| !job.chunks.is_empty());
        let cached = match cache.map(|cache| cache.writer(job.size)) {
            None => None,
            Some(Ok(writer)) => writer,
            Some(Err(error)) => {
                tracing::warn!(%error, "a fetched file is not kept in the cache");
                None
            }
        };
        let (path, executable) = &job.places[0];
        let direct = match &cached {
            Some(_) if site.share => None,
            _ => Some(site.dest.create_file(path, *executable)?),
        };
        Ok(Self { waiting: Vec::new(), waiting_bytes: 0, site, job, cached, direct })
    }

    fn write(&mut self, data: Bytes) -> Result<(), TransferError> {
        self.waiting_bytes += data.len();
        self.waiting.push(data);
        if self.waiting_bytes >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), TransferError> {
        self.waiting_bytes = 0;
        let data = std::mem::take(&mut self.waiting);
        if let Some(file) = &mut self.direct {
            write_slices(file, &data).map_err(|source| {
                let path = self.site.dest.path().join(self.job.places[0].0.as_str());
                FileError::Io { what: "write", path, source }
            })?;
        }
        if let Some(writer) = &mut self.cached
            && let Err(error) = writer.write_slices(&data)
        {
            if self.direct.is_none() {
                return Err(error.into());
            }
            // A full cache disk must not stop a workspace on another one.
            tracing::warn!(%error, "a fetched file is not kept in the cache");
            self.cached = None;
        }
        Ok(())
    }

    /// Makes the other places; answers with a chunk if the cache lost the only copy meanwhile.
    fn finish(mut self) -> Result<Option<Digest>, TransferError> {
        self.flush()?;
        let Self { site, job, cached, direct, .. } = self;
        if let Some(writer) = cached
            && let Err(error) = writer.commit(&job.chunks)
        {
            if direct.is_none() {
                return Err(error.into());
            }
            tracing::warn!(%error, "a fetched file is not kept in the cache");
        }
        let done = usize::from(direct.is_some());
        let mut rest = &job.places[done..];
        if rest.is_empty() {
            return Ok(None);
        }
        if let Some(pinned) = site.cache.as_ref().and_then(|cache| cache.pin(&job.chunks)) {
            while let Some(((path, executable), after)) = rest.split_first() {
                let file = site.dest.create_file(path, *executable)?;
                if let Err(error) = pinned.place(&job.chunks, &file, site.share) {
                    tracing::warn!(%error, "a cached object cannot be used");
                    site.dest.remove_file(path)?;
                    break;
                }
                rest = after;
            }
        }
        // Whatever the cache did, the first place has the bytes, unless only the cache was to have them.
        if direct.is_none() && !rest.is_empty() {
            return Ok(Some(job.chunks[0].id));
        }
        let (first, _) = &job.places[0];
        for (path, executable) in rest {
            let failed = |source| {
                let path = site.dest.path().join(path.as_str());
                FileError::Io { what: "copy to", path, source }
            };
            let (mut from, mut to) =
                (site.dest.read(first)?, site.dest.create_file(path, *executable)?);
            std::io::copy(&mut from, &mut to).map_err(failed)?;
        }
        Ok(None)
    }
}
