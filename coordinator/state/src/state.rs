//! The state itself, its indexes, and the entry point of `apply`.

use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use runyard_pipeline::StageKind;
use runyard_types::{
    AttemptKey, DeploymentName, Digest, DurationMs, ModelName, NodeName, PipelineName, ProjectName,
    RunName, StageName, TaskKey, TimestampMs, Uid, WorkerKey,
};
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::entity::{
    Attempt, Deployment, Liveness, Model, Node, Run, Task, Token, Worker, WorkerPhase,
};
use crate::event::{Event, EventKind, EventNumber};
use crate::refusal::Refusal;
use crate::stamp::{Clock, Stamp};

/// The version of what `apply` does. It rises only by the operators' word, never by an upgrade alone.
pub const STATE_VERSION: u32 = 1;

/// A run by its project and name.
pub type RunRef = (ProjectName, RunName);
/// A stage of a run.
pub type StageRef = (ProjectName, RunName, StageName);

/// Bounds on what a project may hold live, and on the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Runs of a project that are not at their end.
    pub live_runs: u32,
    /// Tasks of the whole state that are not at their end.
    pub open_tasks: u32,
    /// Events kept for watchers; older ones are in the read model.
    pub events: u32,
    /// How long an idempotency key is remembered.
    pub idempotency: DurationMs,
    /// How old a key's ULID may be.
    pub key_age: DurationMs,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            live_runs: 10_000,
            open_tasks: 200_000,
            events: 100_000,
            idempotency: DurationMs(7 * 86_400_000),
            key_age: DurationMs(86_400_000),
        }
    }
}

/// What an idempotency key was answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) request: Digest,
    pub(crate) run: RunName,
    pub(crate) until: DurationMs,
}

/// The truth. Cloning it is O(1): maps share structure, entities are behind `Arc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub clock: Clock,
    pub limits: Limits,
    pub runs: RedBlackTreeMapSync<RunRef, Arc<Run>>,
    pub tasks: RedBlackTreeMapSync<TaskKey, Arc<Task>>,
    pub nodes: RedBlackTreeMapSync<NodeName, Arc<Node>>,
    pub models: RedBlackTreeMapSync<(ProjectName, ModelName), Arc<Model>>,
    pub deployments: RedBlackTreeMapSync<(ProjectName, DeploymentName), Arc<Deployment>>,
    pub tokens: RedBlackTreeMapSync<String, Token>,
    pub events: RedBlackTreeMapSync<EventNumber, Arc<Event>>,
    /// Events up to and including this number are no longer here.
    pub events_floor: EventNumber,
    /// The highest run number given, by pipeline.
    pub(crate) numbers: RedBlackTreeMapSync<(ProjectName, PipelineName), u64>,
    pub(crate) remembered: RedBlackTreeMapSync<(String, Uid), Remembered>,
    /// The newest date of a key that was forgotten: what is as old may have been used.
    #[serde(default)]
    pub(crate) keys_floor: TimestampMs,
    /// The same keys in the order in which they are forgotten.
    pub(crate) forgotten_at: RedBlackTreeSetSync<(DurationMs, String, Uid)>,
    /// Stages with waiting tasks whose needs are at their end.
    pub resolvable: RedBlackTreeSetSync<StageRef>,
    pub queued: RedBlackTreeSetSync<TaskKey>,
    pub active: RedBlackTreeSetSync<TaskKey>,
    /// Attempts with a worker that still holds something, or whose log is not sealed.
    pub unsettled: RedBlackTreeSetSync<AttemptKey>,
    pub(crate) open_tasks: u32,
    /// Runs that are not at their end, by project.
    pub(crate) live_runs: RedBlackTreeMapSync<ProjectName, u32>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: STATE_VERSION,
            clock: Clock::default(),
            limits: Limits::default(),
            runs: RedBlackTreeMapSync::new_sync(),
            tasks: RedBlackTreeMapSync::new_sync(),
            nodes: RedBlackTreeMapSync::new_sync(),
            models: RedBlackTreeMapSync::new_sync(),
            deployments: RedBlackTreeMapSync::new_sync(),
            tokens: RedBlackTreeMapSync::new_sync(),
            events: RedBlackTreeMapSync::new_sync(),
            events_floor: (0, 0),
            numbers: RedBlackTreeMapSync::new_sync(),
            remembered: RedBlackTreeMapSync::new_sync(),
            keys_floor: TimestampMs(0),
            forgotten_at: RedBlackTreeSetSync::new_sync(),
            resolvable: RedBlackTreeSetSync::new_sync(),
            queued: RedBlackTreeSetSync::new_sync(),
            active: RedBlackTreeSetSync::new_sync(),
            unsettled: RedBlackTreeSetSync::new_sync(),
            open_tasks: 0,
            live_runs: RedBlackTreeMapSync::new_sync(),
        }
    }
}

/// What a command was answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Done,
    Run {
        name: RunName,
        uid: Uid,
        existed: bool,
    },
    /// For each item: the attempt, or why not.
    Placed(Vec<Result<AttemptKey, Refusal>>),
    /// For each item: done, or why not.
    Items(Vec<Result<(), Refusal>>),
    Tasks(Vec<TaskKey>),
    Version(u64),
    Revision(u32),
    Sealed(u64),
}

/// What applying a command gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub outcome: Result<Reply, Refusal>,
    pub events: Vec<Arc<Event>>,
}

/// What a command sees of the entry it came with.
#[derive(Debug)]
pub(crate) struct Ctx {
    pub(crate) index: u64,
    next: u32,
    events: Vec<Arc<Event>>,
}

impl State {
    /// Applies one command. `index` is its entry's; several commands of an entry follow each other, and
    /// their events are numbered on.
    pub fn apply(&mut self, index: u64, at: Stamp, command: Command) -> Applied {
        self.clock.advance(at);
        // The newest number given, whether its event is still here or not.
        let newest = self.events.last().map_or(self.events_floor, |(number, _)| *number);
        let next = if newest.0 == index && newest > (0, 0) { newest.1 + 1 } else { 0 };
        let mut ctx = Ctx { index, next, events: Vec::new() };
        let outcome = self.dispatch(&mut ctx, command);
        debug_assert!(outcome.is_ok() || ctx.events.is_empty(), "a refusal makes no event");
        for event in &ctx.events {
            self.events.insert_mut(event.number, Arc::clone(event));
        }
        while self.events.size() > self.limits.events as usize {
            let Some(first) = self.events.first().map(|(number, _)| *number) else { break };
            self.events.remove_mut(&first);
            self.events_floor = first;
        }
        Applied { outcome, events: ctx.events }
    }

    pub(crate) fn emit(&self, ctx: &mut Ctx, project: Option<&ProjectName>, kind: EventKind) {
        let event = Event {
            number: (ctx.index, ctx.next),
            at: self.clock.wall,
            project: project.cloned(),
            kind,
        };
        ctx.next += 1;
        ctx.events.push(Arc::new(event));
    }

    /// A run by name.
    pub fn run(&self, project: &ProjectName, name: &RunName) -> Option<&Arc<Run>> {
        // A tuple of owned names is the key; the clones are two reference counts.
        self.runs.get(&(project.clone(), name.clone()))
    }

    /// A deployment by name.
    pub fn deployment(
        &self,
        project: &ProjectName,
        name: &DeploymentName,
    ) -> Option<&Arc<Deployment>> {
        self.deployments.get(&(project.clone(), name.clone()))
    }

    /// A model by name.
    pub fn model(&self, project: &ProjectName, name: &ModelName) -> Option<&Arc<Model>> {
        self.models.get(&(project.clone(), name.clone()))
    }

    /// An attempt and its task.
    pub fn attempt(&self, key: &AttemptKey) -> Option<(&Arc<Task>, &Attempt)> {
        let task = self.tasks.get(&key.task)?;
        Some((task, task.attempts.get(key.number.checked_sub(1)? as usize)?))
    }

    /// A worker and its attempt.
    pub fn worker(&self, key: &WorkerKey) -> Option<(&Attempt, &Worker)> {
        let (_, attempt) = self.attempt(&key.attempt)?;
        Some((attempt, attempt.workers.get(key.rank as usize)?))
    }

    /// What the pipeline says that the task is for; `None` for a replica.
    pub fn kind_of(&self, key: &TaskKey) -> Option<&StageKind> {
        let run = self.runs.get(&(key.project.clone(), key.run()?.clone()))?;
        let stage = self.tasks.get(key)?.stage.as_ref()?;
        run.pipeline.stage(stage.as_str()).map(|stage| &stage.kind)
    }

    /// Whether every earlier attempt of the task has let go of what it held, as far as that can be known: a
    /// worker on a lost node is fenced, and one that can't be killed keeps its devices for itself.
    pub fn is_let_go(&self, task: &Task) -> bool {
        self.holding(task).is_none()
    }

    /// An earlier attempt for which the next one has to wait.
    pub(crate) fn holding<'a>(&self, task: &'a Task) -> Option<&'a Attempt> {
        task.attempts.iter().find(|attempt| {
            attempt.workers.iter().any(|worker| {
                worker.phase != WorkerPhase::Released
                    && worker.wedged.is_none()
                    && self.nodes.get(&worker.node).is_some_and(|n| n.liveness != Liveness::Lost)
            })
        })
    }

    /// The tasks of a stage, in order of index.
    pub fn stage_tasks<'a>(
        &'a self,
        project: &ProjectName,
        run: &RunName,
        stage: &StageName,
    ) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        let parent = runyard_types::Parent::Stage { run: run.clone(), stage: stage.clone() };
        let first = TaskKey { project: project.clone(), parent: parent.clone(), index: None };
        self.tasks
            .range(first..)
            .take_while({
                let project = project.clone();
                move |(key, _)| key.project == project && key.parent == parent
            })
            .map(|(_, task)| task)
    }

    /// The replicas of a revision, in order.
    pub fn replicas<'a>(
        &'a self,
        project: &ProjectName,
        deployment: &DeploymentName,
        revision: u32,
    ) -> impl Iterator<Item = &'a Arc<Task>> + use<'a> {
        let parent = runyard_types::Parent::Revision { deployment: deployment.clone(), revision };
        let first = TaskKey { project: project.clone(), parent: parent.clone(), index: None };
        self.tasks
            .range(first..)
            .take_while({
                let project = project.clone();
                move |(key, _)| key.project == project && key.parent == parent
            })
            .map(|(_, task)| task)
    }

    pub(crate) fn task_mut(&mut self, key: &TaskKey) -> Result<&mut Task, Refusal> {
        self.tasks.get_mut(key).map(Arc::make_mut).ok_or_else(|| Refusal::not_found("task", key))
    }

    pub(crate) fn run_mut(
        &mut self,
        project: &ProjectName,
        name: &RunName,
    ) -> Result<&mut Run, Refusal> {
        self.runs
            .get_mut(&(project.clone(), name.clone()))
            .map(Arc::make_mut)
            .ok_or_else(|| Refusal::not_found("run", name))
    }

    pub(crate) fn node_mut(&mut self, name: &NodeName) -> Result<&mut Node, Refusal> {
        self.nodes.get_mut(name).map(Arc::make_mut).ok_or_else(|| Refusal::not_found("node", name))
    }

    pub(crate) fn deployment_mut(
        &mut self,
        project: &ProjectName,
        name: &DeploymentName,
    ) -> Result<&mut Deployment, Refusal> {
        self.deployments
            .get_mut(&(project.clone(), name.clone()))
            .map(Arc::make_mut)
            .ok_or_else(|| Refusal::not_found("deployment", name))
    }
}
