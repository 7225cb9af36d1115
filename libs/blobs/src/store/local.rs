//! The store of all projects on a local disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use fs_err::{self as fs, File};
use nix::fcntl::{Flock, FlockArg};
use runyard_types::{Digest, ProjectName};

use super::durable::{make_dir, write_whole};
use super::index::Home;
use super::project::Project;
use super::{Located, Locator, PackStatus, PackUpload, StoreError};
use crate::chunk::Chunk;
use crate::pack::PackId;
use crate::tree::{ChunkSource, Tree, TreeLimits, is_whole};

const FORMAT: &str = "runyard blobs 1\n";

/// Limits of a store.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Bytes of action objects per project.
    pub action_bytes_max: u64,
    /// Packs that arrive at once per project.
    pub uploads_max: usize,
    /// Bytes per project of packs that arrived in part and that nobody sends any more; the oldest go.
    pub part_bytes_max: u64,
    /// Threads that read footers at opening.
    pub open_threads: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let open_threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(8));
        Self { action_bytes_max: 256 << 20, uploads_max: 64, part_bytes_max: 8 << 30, open_threads }
    }
}

/// A store on a local disk. Its calls block; all may be made from many threads at once.
#[derive(Debug)]
pub struct LocalStore {
    dir: PathBuf,
    options: StoreOptions,
    projects: RwLock<HashMap<ProjectName, Arc<Project>>>,
    /// Held as long as the store is open.
    _lock: Flock<std::fs::File>,
}

impl LocalStore {
    /// Opens or creates the store in `dir` with the default limits.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(dir.as_ref(), StoreOptions::default())
    }

    /// Opens or creates the store in `dir`: takes its lock, clears what a crash left, rebuilds the index.
    pub fn open_with(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let projects_dir = dir.join("projects");
        make_dir(dir)?;
        let lock_path = dir.join("lock");
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(StoreError::io("open", &lock_path))?;
        let lock = Flock::lock(lock.into_file(), FlockArg::LockExclusiveNonblock)
            .map_err(|_| StoreError::InUse(dir.to_owned()))?;
        let format_path = dir.join("format");
        match fs::read_to_string(&format_path) {
            Ok(format) if format == FORMAT => {}
            Ok(format) => return Err(StoreError::Format(dir.to_owned(), format)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                write_whole(&format_path, FORMAT.as_bytes(), true)?;
            }
            Err(error) => return Err(StoreError::io("read", format_path)(error)),
        }
        make_dir(&projects_dir)?;
        let mut projects = HashMap::new();
        for entry in fs::read_dir(&projects_dir).map_err(StoreError::io("list", &projects_dir))? {
            let entry = entry.map_err(StoreError::io("list", &projects_dir))?;
            if let Ok(name) = ProjectName::new(&entry.file_name().to_string_lossy()) {
                let project = Project::open(&entry.path(), &options, options.open_threads)?;
                projects.insert(name, Arc::new(project));
            }
        }
        let projects = RwLock::new(projects);
        Ok(Self { dir: dir.to_owned(), options, projects, _lock: lock })
    }

    fn existing(&self, project: &ProjectName) -> Option<Arc<Project>> {
        self.projects.read().unwrap_or_else(PoisonError::into_inner).get(project).cloned()
    }

    fn project(&self, name: &ProjectName) -> Result<Arc<Project>, StoreError> {
        if let Some(project) = self.existing(name) {
            return Ok(project);
        }
        let mut projects = self.projects.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(project) = projects.get(name) {
            return Ok(project.clone());
        }
        let dir = self.dir.join("projects").join(name.as_str());
        make_dir(&dir)?;
        let project = Arc::new(Project::open(&dir, &self.options, 1)?);
        projects.insert(name.clone(), project.clone());
        Ok(project)
    }

    /// Those of `chunks` that the project lacks, in their order.
    pub fn find_missing(&self, project: &ProjectName, chunks: &[Digest]) -> Vec<Digest> {
        match self.existing(project) {
            Some(project) => project.missing(chunks),
            None => chunks.to_vec(),
        }
    }

    /// How many chunks the project has.
    pub fn chunk_count(&self, project: &ProjectName) -> usize {
        self.existing(project).map_or(0, |project| project.chunk_count())
    }

    /// How much of a pack has arrived.
    pub fn pack_status(
        &self,
        project: &ProjectName,
        pack: PackId,
    ) -> Result<PackStatus, StoreError> {
        match self.existing(project) {
            Some(project) => project.status(pack),
            None => Ok(PackStatus { complete: false, received_bytes: 0 }),
        }
    }

    /// Begins or goes on with the upload of a pack of `size` bytes.
    pub fn upload_pack(
        &self,
        project: &ProjectName,
        pack: PackId,
        size: u64,
    ) -> Result<PackUpload, StoreError> {
        self.project(project)?.upload(pack, size, None)
    }

    /// Begins or goes on with the upload of a pack of `size` bytes whose index is known: each chunk is
    /// verified when it has come, so that nothing is read again at the end. `id` is the BLAKE3 of the index.
    pub fn upload_indexed(
        &self,
        project: &ProjectName,
        id: Digest,
        index: Bytes,
        size: u64,
    ) -> Result<PackUpload, StoreError> {
        self.project(project)?.upload(PackId::from_bytes(*id.as_bytes()), size, Some(index))
    }

    /// Stores small chunks; returns when they are durable. Calls at the same time share one sync.
    pub fn put_chunks(
        &self,
        project: &ProjectName,
        chunks: Vec<Chunk>,
    ) -> Result<(), Arc<StoreError>> {
        self.project(project)?.put(chunks)
    }

    /// Stores one blob (a manifest, record or segment; not empty); durable when it returns.
    pub fn put_blob(
        &self,
        project: &ProjectName,
        data: impl Into<Bytes>,
    ) -> Result<Digest, Arc<StoreError>> {
        let chunk = Chunk::new(data.into());
        let id = chunk.id;
        self.put_chunks(project, vec![chunk])?;
        Ok(id)
    }

    /// A blob's verified bytes.
    pub fn get_blob(&self, project: &ProjectName, id: &Digest) -> Result<Bytes, StoreError> {
        self.read_chunk(project, id)
    }

    /// A chunk's verified bytes.
    pub fn read_chunk(&self, project: &ProjectName, id: &Digest) -> Result<Bytes, StoreError> {
        self.existing(project).ok_or(StoreError::NotFound(*id))?.read(id)
    }

    /// The first of `ids`, and those that lie behind it on disk in the same order, verified: at least one
    /// answer, if there are ids. So a file comes back in few readings.
    pub fn read_run(
        &self,
        project: &ProjectName,
        ids: &[Digest],
    ) -> Vec<Result<Bytes, StoreError>> {
        match self.existing(project) {
            Some(project) => project.read_run(ids),
            None => ids.first().map(|id| Err(StoreError::NotFound(*id))).into_iter().collect(),
        }
    }

    /// The chunks that trees are read from.
    pub fn source<'a>(&'a self, project: &'a ProjectName) -> StoreSource<'a> {
        StoreSource { store: self, project }
    }

    /// Reads the tree at `root`, without its files' bytes.
    pub fn tree(&self, project: &ProjectName, root: Digest) -> Result<Tree, StoreError> {
        Tree::walk(&self.source(project), root, TreeLimits::default())
    }

    /// Whether every chunk of the tree at `root` is in the store: nodes, lists and bytes.
    ///
    /// Nodes are read and verified, each once, bytes are looked up. Damage counts as absence; a tree that is
    /// evil, or unfolds to more than a walk takes, is an error.
    pub fn has_tree(&self, project: &ProjectName, root: Digest) -> Result<bool, StoreError> {
        let Some(known) = self.existing(project) else { return Ok(false) };
        let has = |id: &Digest| known.contains(id);
        match is_whole(&self.source(project), root, TreeLimits::default(), has) {
            Err(StoreError::NotFound(_) | StoreError::Corrupt(_)) => Ok(false),
            answer => answer,
        }
    }

    /// Where the chunks of the tree at `root` lie. Chunks still in a journal have no pack yet: not listed.
    pub fn locate(&self, project: &ProjectName, root: Digest) -> Result<Locator, StoreError> {
        let tree = self.tree(project, root)?;
        let mut locator = Locator { version: 1, ..Locator::default() };
        let Some(project) = self.existing(project) else { return Ok(locator) };
        for chunk in tree.all_chunks() {
            let (home, entry) = project.locate(&chunk).ok_or(StoreError::NotFound(chunk))?;
            if let Home::Pack(pack) = home {
                let located = Located { chunk, offset: entry.offset, length: entry.stored };
                locator.packs.entry(pack.to_string()).or_default().push(located);
            }
        }
        locator.packs.values_mut().for_each(|places| places.sort_by_key(|place| place.offset));
        Ok(locator)
    }

    /// The action object `ac/KEY`, if the cache still has it.
    pub fn ac_get(&self, project: &ProjectName, key: &Digest) -> Option<Vec<u8>> {
        let project = self.existing(project)?;
        project.actions.lock().unwrap_or_else(PoisonError::into_inner).get(key)
    }

    /// Stores the action object `ac/KEY`; the least recently used go when there are too many bytes.
    pub fn ac_put(
        &self,
        project: &ProjectName,
        key: &Digest,
        value: &[u8],
    ) -> Result<(), StoreError> {
        let project = self.project(project)?;
        project.actions.lock().unwrap_or_else(PoisonError::into_inner).put(key, value)
    }
}

/// A project of a store, as a source of chunks.
#[derive(Debug, Clone, Copy)]
pub struct StoreSource<'a> {
    store: &'a LocalStore,
    project: &'a ProjectName,
}

impl ChunkSource for StoreSource<'_> {
    type Error = StoreError;
    fn chunk(&self, id: &Digest) -> Result<Bytes, StoreError> {
        self.store.read_chunk(self.project, id)
    }
}
