//! A cluster without processes: commands in the words of the domain, each one checked as it is applied.

use std::collections::BTreeMap;

use runyard_state::entity::{
    Deployment, Liveness, NodeDevice, OutputRoot, Run, Task, TaskResult, TaskState, TokenKind,
    WorkerPhase,
};
use runyard_state::{
    Applied, CancelRun, Command, CreateToken, FinishAttempt, IdempotencyKey, JoinNode, LoseAttempt,
    NodeHello, Placement, Refusal, Reply, ReportWorkers, Resolution, ResolveTasks, RetryRun, Seal,
    SealChannel, SetLiveness, Stamp, State, SubmitRun, WorkerPlacement, WorkerStep,
};
use runyard_types::{
    AttemptKey, ByteSize, Cause, CpuMilli, Digest, DurationMs, NodeName, Outcome, ProjectName,
    RunName, StageName, TaskKey, TimestampMs, Uid, WorkerKey, decode, encode,
};

use super::laws;

/// When the tests begin: 2026-01-01.
pub(crate) const START_MS: u64 = 1_767_225_600_000;

/// A state, and the log that led to it.
pub(crate) struct TestEnv {
    pub(crate) state: State,
    pub(crate) index: u64,
    pub(crate) wall: u64,
    log: Vec<(u64, Stamp, Command)>,
    keys: u128,
}

impl TestEnv {
    pub(crate) fn new() -> Self {
        Self { state: State::default(), index: 0, wall: START_MS, log: Vec::new(), keys: 0 }
    }

    /// A cluster of `nodes` nodes, `n1` and so on, with `devices` devices each.
    pub(crate) fn with_nodes(nodes: u32, devices: u32) -> Self {
        let mut env = Self::new();
        for number in 1..=nodes {
            env.join(&format!("n{number}"), devices);
        }
        env
    }

    /// Applies a command ten milliseconds after the one before, and checks all that must hold.
    pub(crate) fn apply(&mut self, command: Command) -> Applied {
        self.apply_after(10, command)
    }

    pub(crate) fn apply_after(&mut self, ms: u64, command: Command) -> Applied {
        self.index += 1;
        self.wall += ms;
        let at = Stamp { wall: TimestampMs(self.wall), delta: DurationMs(ms) };
        let before = self.state.clone();
        let applied = self.state.apply(self.index, at, command.clone());
        laws::check(&before, &command, &self.state, &applied, self.index);
        self.log.push((self.index, at, command));
        applied
    }

    pub(crate) fn ok(&mut self, command: Command) -> Reply {
        let shown = format!("{command:?}");
        self.apply(command).outcome.unwrap_or_else(|refusal| panic!("{shown}: {refusal}"))
    }

    /// The refusal's text.
    pub(crate) fn refused(&mut self, command: Command) -> String {
        match self.refusal(command) {
            Refusal::Stale { attempt, current } => format!("stale {attempt}, {current}"),
            other => other.to_string(),
        }
    }

    pub(crate) fn refusal(&mut self, command: Command) -> Refusal {
        let shown = format!("{command:?}");
        match self.apply(command).outcome {
            Err(refusal) => refusal,
            Ok(reply) => panic!("{shown} was answered {reply:?}"),
        }
    }

    /// Lets time pass, as the leader does when something is due.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.apply_after(ms, Command::Place(Vec::new()));
    }

    /// As a coordinator that starts again from a snapshot.
    pub(crate) fn restart(&mut self) {
        let bytes = encode(&self.state);
        let restored: State = decode("a state", &bytes).expect("a snapshot can be read");
        assert_eq!(restored, self.state, "a snapshot keeps everything");
        assert_eq!(encode(&restored), bytes, "equal states have equal snapshots");
        self.state = restored;
    }

    /// The same log gives the same state and the same bytes.
    pub(crate) fn check_replay(&self) {
        let mut other = State::default();
        other.limits = self.state.limits.clone();
        for (index, at, command) in &self.log {
            other.apply(*index, *at, command.clone());
        }
        assert_eq!(other, self.state, "the same log gave another state");
        assert_eq!(encode(&other), encode(&self.state));
    }

    /// Nothing is open, held or unsealed: the end of every test that brings its work to an end.
    pub(crate) fn assert_settled(&self) {
        assert!(self.state.queued.is_empty(), "{:?}", self.state.queued);
        assert!(self.state.active.is_empty(), "{:?}", self.state.active);
        assert!(self.state.resolvable.is_empty(), "{:?}", self.state.resolvable);
        assert!(self.state.unsettled.is_empty(), "{:?}", self.state.unsettled);
        for node in self.state.nodes.values() {
            assert!(node.workers.is_empty() && node.used.devices.is_empty(), "{node:?}");
            assert_eq!((node.used.cpu.0, node.used.memory.0), (0, 0), "{}", node.name);
        }
        self.check_replay();
    }

    // Nodes.

    pub(crate) fn join(&mut self, name: &str, devices: u32) {
        let token = format!("join-{name}");
        self.ok(Command::CreateToken(CreateToken {
            id: token.clone(),
            kind: TokenKind::AgentJoin,
            name: String::new(),
            hash: Digest::of(token.as_bytes()),
            ttl: Some(DurationMs(60_000)),
            principal: "ops".into(),
        }));
        self.ok(Command::JoinNode(JoinNode {
            name: node(name),
            fingerprint: Digest::of(name.as_bytes()),
            secret_hash: Digest::of(token.as_bytes()),
            token,
        }));
        self.hello(name, 1, devices);
    }

    pub(crate) fn hello(&mut self, name: &str, session: u64, devices: u32) {
        self.ok(Command::NodeHello(Box::new(hello(name, session, devices))));
    }

    pub(crate) fn liveness(&mut self, name: &str, liveness: Liveness) {
        let node = node(name);
        self.ok(Command::SetLiveness(SetLiveness { node, liveness }));
    }

    pub(crate) fn lose_node(&mut self, name: &str) {
        self.liveness(name, Liveness::Unreachable);
        self.pass(120_000);
        self.liveness(name, Liveness::Lost);
    }

    // Runs.

    pub(crate) fn key(&mut self) -> IdempotencyKey {
        self.keys += 1;
        let key = Uid(ulid(self.wall, self.keys));
        IdempotencyKey { principal: "ann".into(), key, request: Digest::of(b"request") }
    }

    pub(crate) fn submission(&mut self, text: &str) -> SubmitRun {
        let parsed = runyard_pipeline::parse("runyard.yaml", text);
        let parsed = parsed.unwrap_or_else(|errors| panic!("{errors:#?}"));
        SubmitRun {
            project: project(),
            idempotency: self.key(),
            pipeline: parsed.pipeline,
            params: BTreeMap::new(),
            code_root: None,
            files: BTreeMap::new(),
            git: Default::default(),
            no_cache: false,
            priority: 0,
        }
    }

    pub(crate) fn submit(&mut self, text: &str) -> RunName {
        let submission = self.submission(text);
        match self.ok(Command::SubmitRun(Box::new(submission))) {
            Reply::Run { name, existed: false, .. } => name,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn cancel(&mut self, run: &str) -> Reply {
        self.ok(Command::CancelRun(cancel(run)))
    }

    pub(crate) fn retry(&mut self, run: &str, stage: Option<&str>) -> Reply {
        self.ok(Command::RetryRun(retry(run, stage)))
    }

    /// Queues what may run, begins what the leader carries out.
    pub(crate) fn resolve(&mut self) {
        let stages: Vec<_> = self.state.resolvable.iter().cloned().collect();
        for (project, run, stage) in stages {
            let waiting = self.state.stage_tasks(&project, &run, &stage);
            let keys: Vec<TaskKey> = waiting
                .filter(|task| task.state == TaskState::Waiting)
                .map(|task| task.key.clone())
                .collect();
            for key in keys {
                let resolution = if self.is_leaders(&key) { begin() } else { queue() };
                self.resolve_one(&key, resolution);
            }
        }
    }

    fn is_leaders(&self, key: &TaskKey) -> bool {
        use runyard_pipeline::StageKind;
        matches!(self.state.kind_of(key), Some(StageKind::Gate(_) | StageKind::Deploy(_)))
    }

    pub(crate) fn resolve_one(&mut self, key: &TaskKey, resolution: Resolution) {
        self.try_resolve(key, resolution).unwrap_or_else(|refusal| panic!("{key}: {refusal}"));
    }

    pub(crate) fn try_resolve(
        &mut self,
        key: &TaskKey,
        resolution: Resolution,
    ) -> Result<(), Refusal> {
        let items = vec![(key.clone(), resolution)];
        match self.ok(Command::ResolveTasks(ResolveTasks { items })) {
            Reply::Items(mut items) => items.remove(0),
            other => panic!("{other:?}"),
        }
    }

    // Attempts.

    /// Places an attempt on the nodes, each with its first free devices.
    pub(crate) fn place(&mut self, key: &str, nodes: &[&str]) -> AttemptKey {
        self.try_place(key, nodes).unwrap_or_else(|refusal| panic!("{key}: {refusal}"))
    }

    pub(crate) fn try_place(&mut self, key: &str, nodes: &[&str]) -> Result<AttemptKey, Refusal> {
        let count = self.task(key).resources.gpu.count as usize;
        let free = |name: &&str| {
            let entity = &self.state.nodes[&node(name)];
            let uuids = entity.devices.iter().map(|device| device.uuid.clone());
            uuids.filter(|uuid| !entity.used.devices.contains_key(uuid)).take(count).collect()
        };
        let workers = nodes
            .iter()
            .map(|name| WorkerPlacement { node: node(name), devices: free(name) })
            .collect();
        self.try_placement(Placement { task: task(key), workers, after: None })
    }

    /// Places an attempt of a task without devices behind another, on that one's node.
    pub(crate) fn place_behind(&mut self, key: &str, before: &str) -> AttemptKey {
        self.try_place_behind(key, before).unwrap_or_else(|refusal| panic!("{key}: {refusal}"))
    }

    pub(crate) fn try_place_behind(
        &mut self,
        key: &str,
        before: &str,
    ) -> Result<AttemptKey, Refusal> {
        let before = attempt(before);
        let (_, ahead) = self.state.attempt(&before).expect("an attempt");
        let node = ahead.workers[0].node.clone();
        let workers = vec![WorkerPlacement { node, devices: Vec::new() }];
        self.try_placement(Placement { task: task(key), workers, after: Some(before) })
    }

    pub(crate) fn try_placement(&mut self, placement: Placement) -> Result<AttemptKey, Refusal> {
        match self.ok(Command::Place(vec![placement])) {
            Reply::Placed(mut items) => items.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// A step of the worker, as its own node reports it.
    pub(crate) fn step(&mut self, worker_key: &str, step: WorkerStep) -> Result<(), Refusal> {
        let (_, known) = self.state.worker(&worker(worker_key)).expect("a worker");
        let node = known.node.clone();
        self.step_from(node.as_str(), worker_key, step)
    }

    pub(crate) fn step_from(
        &mut self,
        from: &str,
        worker_key: &str,
        step: WorkerStep,
    ) -> Result<(), Refusal> {
        let items = vec![(worker(worker_key), step)];
        match self.ok(Command::ReportWorkers(ReportWorkers { node: node(from), items })) {
            Reply::Items(mut items) => items.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn run_worker(&mut self, key: &str) {
        self.step(key, WorkerStep::Prepared { port: 0 }).expect("prepared");
        self.step(key, WorkerStep::Running { port: 0 }).expect("running");
    }

    pub(crate) fn finish(&mut self, key: &str, outcome: Outcome) {
        self.finish_with(key, outcome, TaskResult::default());
    }

    pub(crate) fn finish_with(&mut self, key: &str, outcome: Outcome, result: TaskResult) {
        let command = self.finishing(key, outcome, result);
        self.ok(command);
    }

    /// The result of an attempt whose workers wrote nothing.
    pub(crate) fn finishing(&self, key: &str, outcome: Outcome, result: TaskResult) -> Command {
        let attempt = attempt(key);
        let workers = self.state.attempt(&attempt).map_or(1, |(_, a)| a.workers.len());
        let log_ends = vec![0; workers];
        let finish = FinishAttempt { attempt, outcome, exit: None, result, log_ends };
        Command::FinishAttempt(Box::new(finish))
    }

    pub(crate) fn lose(&mut self, key: &str) {
        let attempt = attempt(key);
        self.ok(Command::LoseAttempt(LoseAttempt { attempt, reason: "its node is lost".into() }));
    }

    /// Releases all workers of the attempt that are not yet.
    pub(crate) fn release(&mut self, key: &str) {
        let (_, known) = self.state.attempt(&attempt(key)).expect("an attempt");
        let phases: Vec<_> = known.workers.iter().map(|worker| worker.phase).collect();
        for (rank, phase) in phases.into_iter().enumerate() {
            if phase != WorkerPhase::Released {
                self.step(&format!("{key}:{rank}"), WorkerStep::Released).expect("released");
            }
        }
    }

    /// Ends the logs of the attempt where they are.
    pub(crate) fn close_logs(&mut self, key: &str) {
        let (_, known) = self.state.attempt(&attempt(key)).expect("an attempt");
        let ends: Vec<_> = known.workers.iter().map(|w| (w.node.clone(), w.log.to)).collect();
        for (rank, (node, to)) in ends.into_iter().enumerate() {
            let worker = WorkerKey { attempt: attempt(key), rank: rank as u32 };
            self.ok(Command::Seal(Seal {
                node,
                worker,
                channel: SealChannel::Log,
                from: to,
                to,
                manifest: None,
                complete: true,
            }));
        }
    }

    /// The whole life of an attempt of a task, on the first node with room.
    pub(crate) fn work(&mut self, key: &str, nodes: &[&str], outcome: Outcome) -> String {
        let attempt = self.place(key, nodes).to_string();
        for rank in 0..nodes.len() {
            self.step(&format!("{attempt}:{rank}"), WorkerStep::Prepared { port: 0 }).expect("ok");
        }
        for rank in 0..nodes.len() {
            self.step(&format!("{attempt}:{rank}"), WorkerStep::Running { port: 0 }).expect("ok");
        }
        self.finish_with(&attempt, outcome, leaving(key));
        self.release(&attempt);
        attempt
    }

    /// The life of an attempt that was placed.
    pub(crate) fn work_goes_on_from(&mut self, key: &str) {
        self.run_worker(&format!("{key}:0"));
        self.work_goes_on(key);
    }

    /// The rest of the life of an attempt that runs.
    pub(crate) fn work_goes_on(&mut self, key: &str) {
        self.finish(key, Outcome::Succeeded);
        self.release(key);
        assert!(self.state.attempt(&attempt(key)).expect("an attempt").1.is_released());
    }

    // Looking.

    pub(crate) fn task(&self, key: &str) -> &Task {
        self.state.tasks.get(&task(key)).unwrap_or_else(|| panic!("there is no task {key}"))
    }

    pub(crate) fn state_of(&self, key: &str) -> &'static str {
        self.task(key).state.as_str()
    }

    pub(crate) fn run(&self, name: &str) -> &Run {
        self.state.run(&project(), &name.parse().expect("a run")).expect("there is such a run")
    }

    pub(crate) fn run_state(&self, name: &str) -> &'static str {
        self.run(name).state.as_str()
    }

    pub(crate) fn deployment(&self) -> &Deployment {
        self.state
            .deployment(&project(), &"digits".parse().expect("a name"))
            .expect("there is a deployment")
    }

    pub(crate) fn champion(&self) -> Option<u64> {
        let model = self.state.model(&project(), &"digits".parse().expect("a name"))?;
        Some(model.aliases.get("champion")?.version)
    }
}

pub(crate) fn project() -> ProjectName {
    ProjectName::default_project()
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a valid name")
}

pub(crate) fn task(key: &str) -> TaskKey {
    TaskKey::parse(&project(), key).unwrap_or_else(|error| panic!("{key}: {error}"))
}

pub(crate) fn attempt(key: &str) -> AttemptKey {
    AttemptKey::parse(&project(), key).unwrap_or_else(|error| panic!("{key}: {error}"))
}

pub(crate) fn worker(key: &str) -> WorkerKey {
    WorkerKey::parse(&project(), key).unwrap_or_else(|error| panic!("{key}: {error}"))
}

pub(crate) fn stage(name: &str) -> StageName {
    StageName::new(name).expect("a valid name")
}

pub(crate) fn ulid(ms: u64, random: u128) -> ulid::Ulid {
    ulid::Ulid::from_parts(ms, random)
}

pub(crate) fn cancel(run: &str) -> CancelRun {
    let run = run.parse().expect("a run");
    CancelRun { project: project(), run, reason: "enough".into(), principal: "ann".into() }
}

pub(crate) fn retry(run: &str, only: Option<&str>) -> RetryRun {
    let run = run.parse().expect("a run");
    RetryRun { project: project(), run, stage: only.map(stage), principal: "ann".into() }
}

pub(crate) fn queue() -> Resolution {
    Resolution::Queue {
        content_key: None,
        inputs: Vec::new(),
        env: BTreeMap::new(),
        reason: String::new(),
    }
}

pub(crate) fn begin() -> Resolution {
    Resolution::Begin { inputs: Vec::new() }
}

pub(crate) fn failure() -> Outcome {
    Outcome::Ended { cause: Cause::Failure, reason: "exit status 1".into() }
}

pub(crate) fn error() -> Outcome {
    Outcome::Ended { cause: Cause::Error, reason: "the shim was lost".into() }
}

/// What a task leaves: an output `model`, another for each run.
pub(crate) fn leaving(key: &str) -> TaskResult {
    let root = model_root(key);
    let output = OutputRoot { root, kind: "model".into(), bytes: 1, files: 1 };
    TaskResult { outputs: BTreeMap::from([("model".into(), output)]), ..TaskResult::default() }
}

pub(crate) fn model_root(key: &str) -> Digest {
    Digest::of(key.as_bytes())
}

pub(crate) fn hello(name: &str, session: u64, devices: u32) -> NodeHello {
    let device = |index| NodeDevice {
        index,
        uuid: format!("GPU-{name}-{index}"),
        model: "H100".into(),
        memory: ByteSize(80 << 30),
        simulated: true,
        unhealthy: None,
    };
    NodeHello {
        name: node(name),
        boot_id: "boot".into(),
        session_counter: session,
        version: "0.1.0".into(),
        cpu: CpuMilli(8_000),
        memory: ByteSize(64 << 30),
        devices: (0..devices).map(device).collect(),
        labels: BTreeMap::new(),
        networks: Vec::new(),
        isolation: "process".into(),
        address: "127.0.0.1".into(),
        gateway: String::new(),
        platform: "linux".into(),
        mounts: Vec::new(),
        chains: true,
        workers: Vec::new(),
    }
}
