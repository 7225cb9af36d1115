//! A state for the reconcilers' tests, made by commands as the product makes it.

use std::collections::BTreeMap;

use runyard_state::entity::{OutputRoot, ResolvedInput, TaskResult, TokenKind};
use runyard_state::{
    Command, CreateToken, FinishAttempt, IdempotencyKey, JoinNode, NodeHello, Placement, Reply,
    Resolution, ResolveTasks, Stamp, State, SubmitRun, WorkerPlacement,
};
use runyard_types::{
    AttemptKey, ByteSize, CpuMilli, Digest, DurationMs, NodeName, Outcome, ProjectName, TaskKey,
    TimestampMs, Uid,
};

/// 2026-01-01.
const START_MS: u64 = 1_767_225_600_000;

pub(super) struct Env {
    pub(super) state: State,
    index: u64,
}

impl Env {
    pub(super) fn new() -> Self {
        Self { state: State::default(), index: 0 }
    }

    pub(super) fn ok(&mut self, command: Command) -> Reply {
        self.index += 1;
        let at = Stamp { wall: TimestampMs(START_MS), delta: DurationMs(1) };
        self.state.apply(self.index, at, command).outcome.expect("it is applied")
    }

    /// A node that is ready and gives these host paths.
    pub(super) fn node(&mut self, name: &str, mounts: &[&str]) {
        let (token, secret) = (format!("join-{name}"), Digest::of(name.as_bytes()));
        let name: NodeName = name.parse().expect("a name");
        self.ok(Command::CreateToken(CreateToken {
            id: token.clone(),
            kind: TokenKind::AgentJoin,
            name: String::new(),
            hash: secret,
            ttl: None,
            principal: "ops".into(),
        }));
        let join = JoinNode { name: name.clone(), fingerprint: secret, token, secret_hash: secret };
        self.ok(Command::JoinNode(join));
        self.ok(Command::NodeHello(Box::new(NodeHello {
            name,
            boot_id: "boot".into(),
            session_counter: 1,
            version: "test".into(),
            cpu: CpuMilli(8_000),
            memory: ByteSize(8 << 30),
            devices: Vec::new(),
            labels: BTreeMap::new(),
            networks: Vec::new(),
            isolation: "process".into(),
            address: "127.0.0.1".into(),
            gateway: String::new(),
            platform: "linux".into(),
            mounts: mounts.iter().map(ToString::to_string).collect(),
            chains: false,
            workers: Vec::new(),
        })));
    }

    pub(super) fn submit(&mut self, text: &str) {
        let parsed = runyard_pipeline::parse("runyard.yaml", text);
        let pipeline = parsed.unwrap_or_else(|errors| panic!("{errors:#?}")).pipeline;
        let key = Uid(ulid::Ulid::from_parts(START_MS, u128::from(self.index)));
        self.ok(Command::SubmitRun(Box::new(SubmitRun {
            project: ProjectName::default_project(),
            idempotency: IdempotencyKey {
                principal: "ann".into(),
                key,
                request: Digest::of(b"request"),
            },
            pipeline,
            params: BTreeMap::new(),
            code_root: None,
            files: BTreeMap::new(),
            git: Default::default(),
            no_cache: false,
            priority: 0,
        })));
    }

    pub(super) fn queue(&mut self, key: &str, inputs: Vec<ResolvedInput>) {
        let resolution = Resolution::Queue {
            content_key: None,
            inputs,
            env: BTreeMap::new(),
            reason: String::new(),
        };
        let items = vec![(task(key), resolution)];
        let reply = self.ok(Command::ResolveTasks(ResolveTasks { items }));
        assert!(matches!(&reply, Reply::Items(items) if items[0].is_ok()), "{reply:?}");
    }

    pub(super) fn place(&mut self, key: &str, nodes: &[&str]) -> AttemptKey {
        let on = |name: &&str| WorkerPlacement {
            node: name.parse().expect("a name"),
            devices: Vec::new(),
        };
        let workers = nodes.iter().map(on).collect();
        let placement = Placement { task: task(key), workers, after: None };
        match self.ok(Command::Place(vec![placement])) {
            Reply::Placed(mut items) => items.remove(0).expect("it has room"),
            other => panic!("{other:?}"),
        }
    }

    /// The whole life of a task that leaves an output.
    pub(super) fn work(&mut self, key: &str, node: &str, output: &str) {
        self.queue(key, Vec::new());
        let attempt = self.place(key, &[node]);
        let root = OutputRoot {
            root: Digest::of(key.as_bytes()),
            kind: "data".into(),
            bytes: 1,
            files: 1,
        };
        let outputs = BTreeMap::from([(output.to_owned(), root)]);
        self.ok(Command::FinishAttempt(Box::new(FinishAttempt {
            attempt,
            outcome: Outcome::Succeeded,
            exit: None,
            result: TaskResult { outputs, ..TaskResult::default() },
            log_ends: vec![0],
        })));
    }
}

pub(super) fn task(key: &str) -> TaskKey {
    TaskKey::parse(&ProjectName::default_project(), key).expect("a task")
}
