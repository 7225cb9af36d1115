//! The leader's work: what agents report becomes commands, and what is due is proposed.
//!
//! A model of the server's sessions and reconcilers, which need sockets and a runtime. It decides by the
//! same rules; the state machine, the scheduler and the agent's core that it drives are the product's own.

use std::collections::BTreeMap;

use runyard_consensus::Fatal;
use runyard_daemon::core::{DesiredSet, DesiredWorker, Phase, Position, Tombstone};
use runyard_pipeline::{Inconclusive, StageKind};
use runyard_scheduler::{Limits, schedule};
use runyard_state::entity::{
    Attempt, GateVerdict, Liveness, Node, OutputRoot, TaskResult, TaskState, WorkerPhase,
};
use runyard_state::{
    Command, DecideGate, FinishAttempt, LoseAttempt, NodeHello, Placement, Promotion,
    ReportWorkers, Resolution, ResolveTasks, Seal, SealChannel, SetLiveness, State, StopAttempt,
    WorkerPlacement, WorkerStep,
};
use runyard_types::{
    AttemptKey, ByteSize, Cause, CpuMilli, Digest, NodeName, Outcome, TaskKey, WorkerKey,
};

use crate::chain::{self, before};
use crate::cluster;
use crate::random::Random;
use crate::server::Server;
use crate::wire::{Outbox, ToAgent, ToServer, Told};

const UNREACHABLE_MS: u64 = 10_000;
const LOST_MS: u64 = 120_000;
const GRACE_MS: u64 = 10_000;
/// A set is sent again after this time, in case it was lost on the way.
const AGAIN_MS: u64 = 3_000;

impl Server {
    /// Takes in a message of a node.
    pub(crate) fn take(
        &mut self,
        now: u64,
        from: &NodeName,
        message: ToServer,
    ) -> Result<Outbox, Fatal> {
        let mut out = Outbox::new();
        match message {
            ToServer::Hello { session, devices } => {
                if self.sessions.get(from).is_some_and(|known| *known > session) {
                    return Ok(out);
                }
                let hello = Command::NodeHello(Box::new(hello(from, session, devices)));
                if self.propose(now, vec![hello])?.iter().all(Result::is_ok) {
                    self.sessions.insert(from.clone(), session);
                    self.heard.insert(from.clone(), now);
                    self.sent.remove(from);
                }
            }
            ToServer::Report { session, workers } => {
                let lost =
                    self.state().nodes.get(from).is_none_or(|n| n.liveness == Liveness::Lost);
                match self.sessions.get(from) {
                    Some(known) if *known > session => return Ok(out),
                    Some(known) if *known == session && !lost => {}
                    _ => return Ok(vec![(from.clone(), ToAgent::Reconnect)]),
                }
                self.heard.insert(from.clone(), now);
                self.ingest(now, from, workers)?;
            }
            ToServer::Seal { worker, from: start, to, last } => {
                let Some((_, known)) = self.state().worker(&worker) else { return Ok(out) };
                let sealed = known.log.clone();
                if to > sealed.to || (last && !sealed.complete) {
                    let seal = Seal {
                        node: from.clone(),
                        worker: worker.clone(),
                        channel: SealChannel::Log,
                        from: start,
                        to,
                        manifest: (to > start).then(|| Digest::of(&to.to_le_bytes())),
                        complete: last,
                    };
                    self.propose(now, vec![Command::Seal(seal)])?;
                }
                if let Some((_, known)) = self.state().worker(&worker) {
                    let (to, complete) = (known.log.to, known.log.complete);
                    out.push((from.clone(), ToAgent::Sealed { worker, to, complete }));
                }
            }
        }
        out.extend(self.push_sets(now));
        Ok(out)
    }

    fn ingest(&mut self, now: u64, node: &NodeName, workers: Vec<Told>) -> Result<(), Fatal> {
        let mut commands = Vec::new();
        let mut ended = Vec::new();
        let mut gone: Vec<AttemptKey> = Vec::new();
        let mut workers = workers;
        // Those before that others wait for: these may run by then.
        workers.sort_by_key(|told| {
            self.state()
                .worker(&told.key)
                .map_or(0, |(attempt, _)| before(self.state(), attempt).len())
        });
        for told in workers {
            let key = told.key.clone();
            // Reports may come late: what is known only goes forward.
            if self.live.get(&key).is_none_or(|known| known.status.phase <= told.status.phase) {
                self.live.insert(key.clone(), told.clone());
            }
            let Some((attempt, worker)) = self.state().worker(&key) else { continue };
            let attempt = attempt.clone();
            let (phase, released) = (worker.phase, told.status.phase == Phase::Released);
            let runs = matches!(told.status.phase, Phase::Running | Phase::Publishing);
            let room = before(self.state(), &attempt).iter().all(|before| gone.contains(before));
            // It ran, so those before it are gone: it is told again once they have said so.
            if (runs || told.ended_at > 0) && !room {
                continue;
            }
            let port = told.status.port;
            let step = match told.status.phase {
                Phase::Prepared if phase < WorkerPhase::Prepared => WorkerStep::Prepared { port },
                Phase::Running | Phase::Publishing if phase < WorkerPhase::Running => {
                    WorkerStep::Running { port }
                }
                _ if released && phase != WorkerPhase::Released => WorkerStep::Released,
                _ => continue,
            };
            if released && attempt.outcome.is_none() {
                let end = self.end_of(&key.attempt, &attempt);
                let waits = matches!(end, None | Some(Command::StopAttempt(_)));
                commands.extend(end);
                // Of a gang, all are released once all have their result.
                if waits && attempt.workers.len() > 1 {
                    continue;
                }
                ended.push(key.attempt.clone());
            }
            if released {
                gone.push(key.attempt.clone());
            }
            let items = vec![(key, step)];
            commands.push(Command::ReportWorkers(ReportWorkers { node: node.clone(), items }));
        }
        self.propose(now, commands)?;
        let releases = ended.iter().flat_map(|key| self.releases(key)).collect();
        self.propose(now, releases)?;
        Ok(())
    }

    /// The end of an attempt, once every worker has one; a gang's is the first failing worker's in time.
    fn end_of(&self, key: &AttemptKey, attempt: &Attempt) -> Option<Command> {
        let told = |rank| self.live.get(&WorkerKey { attempt: key.clone(), rank });
        let all: Vec<Option<&Told>> = (0..attempt.workers.len() as u32)
            .map(|rank| told(rank).filter(|told| told.status.outcome.is_some()))
            .collect();
        let failed = all
            .iter()
            .flatten()
            .filter(|told| told.status.outcome != Some(Outcome::Succeeded))
            .min_by_key(|told| told.ended_at);
        if all.iter().any(Option::is_none) {
            return (failed.is_some() && attempt.stop.is_none()).then(|| {
                let (attempt, cause) = (key.clone(), Cause::Error);
                let reason = "another worker of the gang ended".to_owned();
                Command::StopAttempt(StopAttempt { attempt, cause, reason, give_back: false })
            });
        }
        let decisive = failed.or_else(|| all.iter().flatten().next())?;
        let mut result = TaskResult::default();
        let kept = format!("{key}");
        let output = OutputRoot {
            root: Digest::of(kept.as_bytes()),
            kind: "model".into(),
            bytes: 1,
            files: 1,
        };
        result.outputs.insert("model".into(), output);
        Some(Command::FinishAttempt(Box::new(FinishAttempt {
            attempt: key.clone(),
            outcome: decisive.status.outcome.clone()?,
            exit: None,
            result,
            log_ends: all.iter().flatten().map(|told| told.log_end).collect(),
        })))
    }

    /// Workers of a gang whose nodes had said before its end that nothing is left of them.
    fn releases(&self, key: &AttemptKey) -> Vec<Command> {
        let Some((_, attempt)) = self.state().attempt(key) else { return Vec::new() };
        let release = |(rank, worker): (usize, &runyard_state::entity::Worker)| {
            let own = WorkerKey { attempt: key.clone(), rank: rank as u32 };
            let gone = self.live.get(&own)?.status.phase == Phase::Released;
            let items = vec![(own, WorkerStep::Released)];
            let report = ReportWorkers { node: worker.node.clone(), items };
            (gone && worker.phase != WorkerPhase::Released)
                .then_some(Command::ReportWorkers(report))
        };
        attempt.workers.iter().enumerate().filter_map(release).collect()
    }

    /// One round of the reconcilers.
    pub(crate) fn tick(&mut self, now: u64, random: &mut Random) -> Result<Outbox, Fatal> {
        let liveness = self.liveness(now);
        self.propose(now, liveness)?;
        let items = resolutions(self.state());
        if !items.is_empty() {
            self.propose(now, vec![Command::ResolveTasks(ResolveTasks { items })])?;
        }
        let gates = gates(self.state(), random);
        self.propose(now, gates)?;
        self.place(now)?;
        let given_back = chain::give_back(self.state(), random);
        self.propose(now, given_back)?;
        let unsettled = self.state().unsettled.clone();
        self.live.retain(|key, _| unsettled.contains(&key.attempt));
        Ok(self.push_sets(now))
    }

    fn place(&mut self, now: u64) -> Result<(), Fatal> {
        let demands = cluster::demands(self.state(), self.elapsed(now));
        if demands.is_empty() {
            return Ok(());
        }
        let limits = Limits { now_ms: self.state().clock.wall.0, ..Limits::default() };
        let plan = schedule(&cluster::cluster(self.state()), &demands, &limits);
        let behind = chain::behind(self.state(), plan.waiting.iter().map(|waiting| &waiting.task));
        let mut placements: Vec<Placement> = plan
            .placements
            .into_iter()
            .map(|placement| {
                let worker = |w: runyard_scheduler::WorkerPlacement| WorkerPlacement {
                    node: w.node,
                    devices: w.devices,
                };
                let workers = placement.workers.into_iter().map(worker).collect();
                Placement { task: placement.task, workers, after: None }
            })
            .collect();
        placements.extend(behind);
        if !placements.is_empty() {
            self.propose(now, vec![Command::Place(placements)])?;
        }
        Ok(())
    }

    fn liveness(&self, now: u64) -> Vec<Command> {
        let mut commands = Vec::new();
        for node in self.state().nodes.values() {
            let set = |liveness| {
                let node = node.name.clone();
                Command::SetLiveness(SetLiveness { node, liveness })
            };
            let since = self.elapsed(now).saturating_sub(node.liveness_since.0);
            // A new leader calls nobody silent before a full period of its own.
            let heard = self.heard.get(&node.name).copied().unwrap_or(self.started_at);
            let silent = now - heard;
            match node.liveness {
                Liveness::Ready if silent >= UNREACHABLE_MS => {
                    commands.push(set(Liveness::Unreachable));
                }
                Liveness::Unreachable if silent < 2_000 && self.heard.contains_key(&node.name) => {
                    commands.push(set(Liveness::Ready));
                }
                Liveness::Unreachable if since >= LOST_MS => commands.push(set(Liveness::Lost)),
                Liveness::Lost => commands.extend(lose(self.state(), node)),
                _ => {}
            }
        }
        commands
    }

    /// Sends each node its set, if it is another than the last or that one is old.
    fn push_sets(&mut self, now: u64) -> Outbox {
        let mut out = Outbox::new();
        let names: Vec<NodeName> = self.sessions.keys().cloned().collect();
        for name in names {
            let set = desired_set(self.state(), self.index(), &name);
            let fresh = self.sent.get(&name).is_some_and(|(at, last)| {
                last.workers == set.workers
                    && last.tombstones == set.tombstones
                    && now - at < AGAIN_MS
            });
            if !fresh {
                self.sent.insert(name.clone(), (now, set.clone()));
                out.push((name, ToAgent::Desired(set)));
            }
        }
        out
    }
}

fn hello(name: &NodeName, session: u64, devices: u32) -> NodeHello {
    let device = |index| runyard_state::entity::NodeDevice {
        index,
        uuid: format!("GPU-{name}-{index}"),
        model: "H100".into(),
        memory: ByteSize(80 << 30),
        simulated: true,
        unhealthy: None,
    };
    NodeHello {
        name: name.clone(),
        boot_id: String::new(),
        session_counter: session,
        version: String::new(),
        cpu: CpuMilli(4_000),
        memory: ByteSize(64 << 30),
        devices: (0..devices).map(device).collect(),
        labels: BTreeMap::new(),
        networks: Vec::new(),
        isolation: String::new(),
        address: String::new(),
        gateway: String::new(),
        platform: String::new(),
        mounts: Vec::new(),
        // One agent is a version behind.
        chains: name.as_str() != "n4",
        workers: Vec::new(),
    }
}

fn desired_set(state: &State, index: u64, name: &NodeName) -> DesiredSet {
    let at = Position { generation: 1, index };
    let mut set = DesiredSet { at, ..DesiredSet::default() };
    let Some(node) = state.nodes.get(name) else { return set };
    for key in &node.workers {
        let Some((attempt, worker)) = state.worker(key) else { continue };
        if let Some(stop) = &attempt.stop {
            let (key, reason) = (key.clone(), stop.reason.clone());
            set.tombstones.push(Tombstone { key, reason, grace_ms: GRACE_MS });
        }
        let started = worker.phase >= WorkerPhase::Running;
        // An agent starts what is alone as soon as nothing stands in its room.
        let go = attempt.go || attempt.workers.len() == 1;
        let after = attempt.after.clone().map(|attempt| WorkerKey { attempt, rank: 0 });
        set.workers.push(DesiredWorker { key: key.clone(), go, started, after });
    }
    set
}

fn lose(state: &State, node: &Node) -> Vec<Command> {
    let live = node.workers.iter().filter(|key| {
        state.attempt(&key.attempt).is_some_and(|(_, attempt)| attempt.outcome.is_none())
    });
    let lose = |key: &WorkerKey| {
        let (attempt, reason) = (key.attempt.clone(), format!("node {} is lost", node.name));
        Command::LoseAttempt(LoseAttempt { attempt, reason })
    };
    live.map(lose).collect()
}

fn resolutions(state: &State) -> Vec<(TaskKey, Resolution)> {
    let mut items = Vec::new();
    for (project, run, stage) in state.resolvable.iter() {
        let Some(entity) = state.run(project, run) else { continue };
        let needs = entity.pipeline.stage(stage.as_str()).map_or(&[][..], |stage| &stage.needs);
        let good = needs.iter().all(|need| entity.stages[need].is_success());
        for task in state.stage_tasks(project, run, stage) {
            if task.state != TaskState::Waiting {
                continue;
            }
            let leaders = matches!(state.kind_of(&task.key), Some(StageKind::Gate(_)));
            let resolution = match (good, leaders) {
                (false, _) => Resolution::Skip { reason: "a need did not succeed".into() },
                (true, true) => Resolution::Begin { inputs: Vec::new() },
                (true, false) => Resolution::Queue {
                    content_key: None,
                    inputs: Vec::new(),
                    env: BTreeMap::new(),
                    reason: String::new(),
                },
            };
            items.push((task.key.clone(), resolution));
        }
    }
    items
}

fn gates(state: &State, random: &mut Random) -> Vec<Command> {
    let mut commands = Vec::new();
    for key in state.active.iter() {
        let Some(StageKind::Gate(gate)) = state.kind_of(key) else { continue };
        let (Some(run), Some(promote)) = (key.run(), &gate.promote) else { continue };
        let from = state.stage_tasks(&key.project, run, &promote.stage).next();
        let Some((from, output)) =
            from.and_then(|from| Some((from, from.result.outputs.get(promote.output.as_str())?)))
        else {
            continue;
        };
        let verdict = if random.chance(700) { GateVerdict::Pass } else { GateVerdict::Fail };
        commands.push(Command::DecideGate(Box::new(DecideGate {
            task: key.clone(),
            verdict,
            record: Digest::of(b"record"),
            summary: String::new(),
            inconclusive: Inconclusive::Block,
            champion: state.champion_of(key),
            promote: Some(Promotion {
                model: promote.model.clone(),
                alias: promote.alias.clone(),
                from: from.key.clone(),
                root: output.root,
            }),
        })));
    }
    commands
}
