//! Fetching: a tree becomes files in a directory, through the cache where there is one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use runyard_types::Digest;
use tokio::sync::mpsc;

use super::lane::{Failed, Job, Plan, Site};
use super::{Meter, OnProgress, Remote, TransferError, blocking};
use crate::cache::{Cache, object_id};
use crate::chunk::Chunk;
use crate::files::{Root, clone_file};
use crate::tree::{RelPath, Tree, TreeLimits, TreeWalk};

/// Files written at the same time.
const LANES: usize = 2;
/// Chunks that wait for their writer, per lane: at most 4 MiB of file chunks.
const WAITING_CHUNKS: usize = 16;
/// A single blob or node that is read into memory is never larger than one chunk.
const NODE_TRIES: u32 = 2;

/// A fetched tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of files that came over the wire.
    pub fetched_bytes: u64,
}

/// Fetches trees of a project.
#[derive(Clone)]
pub struct Downloader {
    remote: Remote,
    cache: Option<Arc<Cache>>,
    limits: TreeLimits,
    told: Option<OnProgress>,
}

impl std::fmt::Debug for Downloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Downloader").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Downloader {
    /// Fetches through `remote`, without a cache.
    pub fn new(remote: Remote) -> Self {
        Self { remote, cache: None, limits: TreeLimits::default(), told: None }
    }

    /// Takes from `cache` what it has, and keeps in it what came.
    #[must_use]
    pub fn with_cache(mut self, cache: Arc<Cache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Refuses larger trees.
    #[must_use]
    pub fn with_limits(mut self, limits: TreeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells `told` how far it is.
    #[must_use]
    pub fn with_progress(mut self, told: OnProgress) -> Self {
        self.told = Some(told);
        self
    }

    /// Reads the tree at `root`, without its files' bytes.
    pub async fn tree(&self, root: Digest) -> Result<Tree, TransferError> {
        let mut walk = TreeWalk::new(root, self.limits);
        loop {
            let needs = walk.needs();
            if needs.is_empty() {
                return Ok(walk.finish());
            }
            walk.supply(&self.nodes(needs).await?)?;
        }
    }

    /// Writes the tree at `root` into the directory `dest`, which is made if it is not there. A file that
    /// is there already is an error. Whatever was written before an error stays for the caller to remove;
    /// none of it is wrong.
    pub async fn fetch(&self, root: Digest, dest: &Path) -> Result<Fetched, TransferError> {
        let tree = self.tree(root).await?;
        self.fetch_tree(&tree, &RelPath::default(), dest).await
    }

    /// Writes what a tree has at or below `path` into `dest`, at its paths in the tree.
    pub async fn fetch_tree(
        &self,
        tree: &Tree,
        path: &RelPath,
        dest: &Path,
    ) -> Result<Fetched, TransferError> {
        let (mut jobs, mut files, mut bytes) = (HashMap::<Digest, Job>::new(), 0, 0);
        let mut order = Vec::new();
        for file in tree.list(path) {
            let id = object_id(&file.chunks);
            let job = jobs.entry(id).or_insert_with(|| {
                order.push(id);
                Job { chunks: file.chunks.clone(), size: file.size, places: Vec::new() }
            });
            job.places.push((file.path.clone(), file.executable));
            files += 1;
            bytes += file.size;
        }
        let jobs: Vec<Job> = order.iter().filter_map(|id| jobs.remove(id)).collect();
        let dirs = parents(tree, path);
        let meter = Meter::new(files, bytes, self.told.clone());
        let site = self.site(dest, dirs, meter.clone()).await?;
        let failed = self.round(jobs, &site, self.cache.as_ref()).await?;
        // Once more, and all of it from the store this time.
        let again = failed.into_iter().map(|failed| failed.job).collect();
        if let Some(Failed { job, chunk }) =
            self.round(again, &site, None).await?.into_iter().next()
        {
            let path = job.places[0].0.to_string();
            return Err(TransferError::Corrupt { chunk, path });
        }
        Ok(Fetched { files, bytes, fetched_bytes: meter.now().wire_bytes })
    }

    async fn site(
        &self,
        dest: &Path,
        dirs: Vec<RelPath>,
        meter: Arc<Meter>,
    ) -> Result<Arc<Site>, TransferError> {
        let (dest, cache) = (dest.to_owned(), self.cache.clone());
        blocking(move || {
            let dest = Root::create(&dest)?;
            for dir in &dirs {
                dest.create_dir(dir)?;
            }
            let share = cache.as_ref().is_some_and(|cache| can_share(cache, &dest));
            Ok(Arc::new(Site { dest, cache, share, meter }))
        })
        .await
    }

    /// Does the jobs in lanes; `cache` is where chunks may be taken from.
    async fn round(
        &self,
        jobs: Vec<Job>,
        site: &Arc<Site>,
        cache: Option<&Arc<Cache>>,
    ) -> Result<Vec<Failed>, TransferError> {
        let lanes = share_out(jobs).into_iter().map(|jobs| async {
            let cache = cache.cloned();
            let plan = blocking(move || Ok(Plan::new(jobs, cache.as_ref()))).await?;
            let (chunks, stream) = mpsc::channel(WAITING_CHUNKS);
            let reading = self.remote.read_chunks(plan.stream.clone(), chunks);
            let site = site.clone();
            let writing = blocking(move || site.run(plan, stream));
            let ((), failed) = futures::try_join!(reading, writing)?;
            Ok::<_, TransferError>(failed)
        });
        Ok(futures::future::try_join_all(lanes).await?.into_iter().flatten().collect())
    }

    /// Verified nodes, from the cache or the store; one that comes damaged is asked for once more.
    async fn nodes(&self, ids: Vec<Digest>) -> Result<HashMap<Digest, Bytes>, TransferError> {
        let cache = self.cache.clone();
        let (mut nodes, mut missing) = blocking(move || {
            let (mut nodes, mut missing) = (HashMap::new(), Vec::new());
            for id in ids {
                match cache.as_ref().and_then(|cache| cache.get(&id)) {
                    Some(data) => drop(nodes.insert(id, data)),
                    None => missing.push(id),
                }
            }
            Ok((nodes, missing))
        })
        .await?;
        for _ in 0..NODE_TRIES {
            if missing.is_empty() {
                break;
            }
            let (chunks, mut stream) = mpsc::channel(WAITING_CHUNKS);
            let reading = self.remote.read_chunks(missing.clone(), chunks);
            let collecting = async {
                let mut bad = Vec::new();
                for id in missing {
                    let Some(data) = stream.recv().await else {
                        return Err(TransferError::Stopped);
                    };
                    if Digest::of(&data) != id {
                        bad.push(id);
                        continue;
                    }
                    nodes.insert(id, data.clone());
                    self.keep_node(Chunk { id, data }).await?;
                }
                Ok(bad)
            };
            let ((), bad) = futures::try_join!(reading, collecting)?;
            missing = bad;
        }
        match missing.first() {
            None => Ok(nodes),
            Some(&chunk) => Err(TransferError::Corrupt { chunk, path: "the tree".into() }),
        }
    }

    async fn keep_node(&self, node: Chunk) -> Result<(), TransferError> {
        let Some(cache) = self.cache.clone() else { return Ok(()) };
        blocking(move || {
            if let Err(error) = cache.put(&node) {
                tracing::warn!(%error, "a node is not kept in the cache");
            }
            Ok(())
        })
        .await
    }
}

/// The directories that `path` needs, parents before children.
fn parents(tree: &Tree, path: &RelPath) -> Vec<RelPath> {
    let below = |dir: &RelPath| {
        let (dir, path) = (dir.as_str(), path.as_str());
        let inside = |a: &str, b: &str| {
            b.is_empty() || a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'))
        };
        inside(dir, path) || inside(path, dir)
    };
    let mut dirs: Vec<RelPath> = tree.dirs.iter().filter(|dir| below(dir)).cloned().collect();
    dirs.sort_by_key(|dir| dir.names().count());
    dirs
}

/// Deals the jobs out to lanes, the largest first, so that the lanes end together.
fn share_out(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    /// What a file costs beside its bytes, in bytes.
    const PER_FILE: u64 = 32 << 10;
    let mut lanes: Vec<(u64, Vec<Job>)> = (0..LANES).map(|_| (0, Vec::new())).collect();
    let mut jobs = jobs;
    jobs.sort_by_key(|job| std::cmp::Reverse(job.size));
    for job in jobs {
        let lane = lanes.iter_mut().min_by_key(|(load, _)| *load).expect("there are lanes");
        lane.0 += job.size + PER_FILE * job.places.len() as u64;
        lane.1.push(job);
    }
    lanes.into_iter().map(|(_, jobs)| jobs).filter(|jobs| !jobs.is_empty()).collect()
}

/// Tries whether blocks can be shared between the cache and the destination.
fn can_share(cache: &Arc<Cache>, dest: &Root) -> bool {
    let probe = || -> Option<()> {
        let mut from = cache.writer(4096).ok()??;
        from.write(&[1; 4096]).ok()?;
        let name = RelPath::parse(".runyard-probe").ok()?;
        let to = dest.create_file(&name, false).ok()?;
        let shared = clone_file(from.file()?, &to);
        dest.remove_file(&name).ok()?;
        shared.ok()
    };
    probe().is_some()
}
