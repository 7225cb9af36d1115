//! What all parts of a running agent use.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use runyard_blobs::{Cache, Remote};
use runyard_devices::Devices;
use runyard_gateway::Gateway;
use runyard_proto::agent as wire;
use runyard_runtime::environment::{Built, Environments};
use runyard_runtime::workspace::{Marks, Workspace};
use runyard_runtime::{Isolation, Launcher, Spares, State, WorkerDir, WorkerError};
use runyard_transport::task;
use runyard_types::{Digest, ProjectName, WorkerKey};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Config;
use crate::board::Board;
use crate::core::Input;
use crate::link::Channels;
use crate::signals::{Heard, Signals};
use crate::state_dir::Paths;
use crate::worker::{Prepared, SpareSpaces};

/// What all parts of a running agent use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) paths: Paths,
    /// From [`crate::state_dir::Memory`].
    pub(crate) agent: String,
    pub(crate) launcher: Launcher,
    /// Makes and takes back the shims' folders.
    pub(crate) shims: Spares,
    /// Makes and takes back the workers' own.
    pub(crate) spaces: SpareSpaces,
    pub(crate) isolation: Isolation,
    pub(crate) environments: Environments,
    pub(crate) cache: Arc<Cache>,
    pub(crate) devices: Devices,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) signals: Signals,
    pub(crate) board: Board,
    pub(crate) jobs: Mutex<BTreeMap<WorkerKey, Arc<Job>>>,
    /// Who has which device, by uuid.
    pub(crate) holders: Mutex<BTreeMap<String, WorkerKey>>,
    /// What happens goes to the reconciler by this.
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) channels: Channels,
    /// A session is open.
    pub(crate) connected: watch::Sender<bool>,
    /// The coordinator no longer knows our session.
    pub(crate) unknown: Notify,
    pub(crate) stop: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

/// One worker, while it is of interest.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: WorkerKey,
    pub(crate) uid: String,
    /// What keeps the preparation going.
    pub(crate) cancel: CancellationToken,
    pub(crate) heard: Arc<Heard>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    wanted: Arc<wire::DesiredWorker>,
    prepared: Option<Prepared>,
    /// Its shim died without a status: why.
    lost: Option<String>,
    /// Somebody watches its folder, and says in `over` when nothing more is written there.
    supervised: bool,
    over: bool,
    sealed_to: u64,
    /// It ran before this agent began.
    adopted: bool,
    /// Keeps its Python environment from eviction.
    environment: Option<Built>,
    /// Of its workspace, when it was a spare one.
    marks: Option<Marks>,
}

/// What a worker runs, shared with what is wanted of it.
#[derive(Debug, Clone)]
pub(crate) struct Spec(Arc<wire::DesiredWorker>);

impl std::ops::Deref for Spec {
    type Target = wire::WorkerSpec;

    fn deref(&self) -> &wire::WorkerSpec {
        static NONE: LazyLock<wire::WorkerSpec> = LazyLock::new(wire::WorkerSpec::default);
        self.0.spec.as_ref().unwrap_or(&NONE)
    }
}

impl Shared {
    /// The job of a worker; `None` once it was removed.
    pub(crate) fn job(&self, key: &WorkerKey) -> Option<Arc<Job>> {
        self.lock().get(key).cloned()
    }

    /// Takes up a worker, or notes what is wanted of it now.
    pub(crate) fn take_up(&self, key: &WorkerKey, wanted: Arc<wire::DesiredWorker>) -> Arc<Job> {
        let mut jobs = self.lock();
        if let Some(job) = jobs.get(key) {
            job.with(|inner| inner.wanted = wanted);
            return job.clone();
        }
        let uid = uid(&self.agent, key);
        let job = Arc::new(Job {
            key: key.clone(),
            heard: self.signals.hear(&uid),
            uid,
            cancel: self.stop.child_token(),
            inner: Mutex::new(Inner {
                wanted,
                prepared: None,
                lost: None,
                supervised: false,
                over: false,
                sealed_to: 0,
                adopted: false,
                environment: None,
                marks: None,
            }),
        });
        jobs.insert(key.clone(), job.clone());
        job
    }

    /// The workers of which nothing runs any more, with their names on this host.
    pub(crate) fn ended(&self) -> Vec<(WorkerKey, String)> {
        let released = wire::Phase::Released as i32;
        let jobs = self.lock();
        let all = jobs.iter().map(|(key, job)| (key.clone(), job.uid.clone()));
        let all: Vec<_> = all.collect();
        drop(jobs);
        let over = |key: &WorkerKey| self.board.get(key).is_some_and(|one| one.phase == released);
        all.into_iter().filter(|(key, _)| over(key)).collect()
    }

    /// Forgets a worker.
    pub(crate) fn drop_job(&self, key: &WorkerKey) {
        if let Some(job) = self.lock().remove(key) {
            self.signals.forget(&job.uid);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkerKey, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a worker has a device.
    pub(crate) fn hold(&self, uuid: String, key: &WorkerKey) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.insert(uuid, key.clone());
    }

    /// The devices that a worker has; it has none from now on.
    pub(crate) fn held_by(&self, key: &WorkerKey) -> Vec<String> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, rest) = std::mem::take(&mut *holders).into_iter().partition(|(_, by)| by == key);
        *holders = rest;
        BTreeMap::into_keys(held).collect()
    }

    /// The project's blobs.
    pub(crate) fn remote(&self, project: &ProjectName) -> Remote {
        Remote::new(self.channels.bulk(), project.clone())
    }

    /// Runs a task that ends with the agent.
    pub(crate) fn spawn<F>(self: &Arc<Self>, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let work = self.tracker.track_future(async move {
            // Cancel-safe: at the agent's stop, whatever was being done is done anew by the next.
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
        drop(task::spawn(name, work));
    }

    /// Tells the reconciler what happened.
    pub(crate) async fn tell(&self, input: Input) {
        // It takes inputs until the agent stops; then nobody needs them.
        let _ = self.inbox.send(input).await;
    }
}

impl Job {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
    pub(crate) fn wanted(&self) -> Arc<wire::DesiredWorker> {
        self.with(|inner| inner.wanted.clone())
    }
    /// What the worker runs.
    pub(crate) fn spec(&self) -> Spec {
        Spec(self.wanted())
    }
    pub(crate) fn set_prepared(&self, prepared: Prepared) {
        self.with(|inner| inner.prepared = Some(prepared));
    }
    pub(crate) fn take_prepared(&self) -> Option<Prepared> {
        self.with(|inner| inner.prepared.take())
    }
    pub(crate) fn keep_environment(&self, environment: Option<Built>) {
        self.with(|inner| inner.environment = environment);
    }
    pub(crate) fn set_marks(&self, marks: Option<Marks>) {
        self.with(|inner| inner.marks = marks);
    }
    pub(crate) fn take_marks(&self) -> Option<Marks> {
        self.with(|inner| inner.marks.take())
    }
    pub(crate) fn set_adopted(&self) {
        self.with(|inner| inner.adopted = true);
    }
    pub(crate) fn is_adopted(&self) -> bool {
        self.with(|inner| inner.adopted)
    }
    pub(crate) fn set_lost(&self, why: String) {
        self.with(|inner| inner.lost = Some(why));
    }
    pub(crate) fn lost(&self) -> Option<String> {
        self.with(|inner| inner.lost.clone())
    }
    pub(crate) fn set_sealed_to(&self, to: u64) {
        self.with(|inner| inner.sealed_to = to);
    }
    pub(crate) fn sealed_to(&self) -> u64 {
        self.with(|inner| inner.sealed_to)
    }
    /// The shim's folder.
    pub(crate) fn shim_path(&self, paths: &Paths) -> PathBuf {
        paths.workers().join(&self.uid)
    }
    /// The shim's folder; `None` only when there is certainly none. What can't be looked at now
    /// (no descriptor left, a disk that stumbles) may hold a shim that lives.
    pub(crate) fn shim(&self, paths: &Paths) -> Result<Option<WorkerDir>, WorkerError> {
        shim_at(&self.shim_path(paths))
    }
    /// Its folder is watched from now on, by who calls [`Self::set_over`] at the end.
    pub(crate) fn set_supervised(&self) {
        self.with(|inner| inner.supervised = true);
    }
    /// Nothing more will be written by it; whoever waits for that is told.
    pub(crate) fn set_over(&self) {
        self.with(|inner| inner.over = true);
        self.heard.state.send_modify(|n| *n = n.wrapping_add(1));
    }
    /// Nothing more will be written by it, and that is certain. Only who watches it looks at the
    /// folder: it is asked at every notice, by all who follow the worker.
    pub(crate) fn is_over(&self, paths: &Paths) -> bool {
        let (supervised, over) = self.with(|inner| (inner.supervised, inner.over));
        if supervised {
            return over;
        }
        let state = |worker: WorkerDir| worker.state();
        match self.shim(paths).and_then(|worker| worker.map(state).transpose()) {
            Ok(None | Some(State::Released | State::Lost { .. })) => true,
            Ok(Some(State::Prepared | State::Running | State::Finished)) | Err(_) => false,
        }
    }
    /// What the agent keeps of the worker.
    pub(crate) fn folder(&self, paths: &Paths) -> PathBuf {
        paths.spaces().join(&self.uid)
    }
    pub(crate) fn workspace(&self, paths: &Paths) -> Workspace {
        Workspace::open(&self.folder(paths).join("space"))
    }
}

/// The shim's folder at a path; `None` only when nothing is there.
pub(crate) fn shim_at(path: &Path) -> Result<Option<WorkerDir>, WorkerError> {
    match WorkerDir::adopt(path) {
        Ok(worker) => Ok(Some(worker)),
        Err(WorkerError::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of a worker on this host: readable, and no other agent's worker has it.
pub(crate) fn uid(agent: &str, key: &WorkerKey) -> String {
    let project = &key.attempt.task.project;
    let hash = Digest::of(format!("{agent}/{project}/{key}").as_bytes()).short();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }
    };
    let text: String = key.to_string().chars().take(96).map(plain).collect();
    format!("{text}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_workers_differ_between_agents_and_projects_and_fit() {
        let project = ProjectName::default_project();
        let key = WorkerKey::parse(&project, "digits-42/train[3].2:0").expect("a key");
        let name = uid("a", &key);
        assert!(name.starts_with("digits-42-train-3-.2-0-"), "{name}");
        assert_ne!(name, uid("b", &key));
        let other = ProjectName::new("other").expect("a name");
        let same = WorkerKey::parse(&other, "digits-42/train[3].2:0").expect("a key");
        assert_ne!(name, uid("a", &same));
        let long = format!("{}-1/{}.1:0", "p".repeat(63), "s".repeat(63));
        let long = WorkerKey::parse(&project, &long).expect("a key");
        assert!(uid("a", &long).len() <= 128);
    }
}
