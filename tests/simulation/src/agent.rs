//! A simulated agent: the product's core, with effects that take their time.

use std::collections::{BTreeMap, BTreeSet};

use runyard_daemon::core::{Core, Effect, Found, FoundStep, Input, Phase, Status};
use runyard_types::{Cause, NodeName, Outcome, WorkerKey};

use crate::node::{End, Folder, HostDisk, Process};
use crate::random::Random;
use crate::wire::{ToAgent, ToServer, Told};

/// Something that happens on the host itself after a while.
#[derive(Debug, Clone)]
pub(crate) enum Local {
    Input(Input),
    Spawn(WorkerKey),
    /// Not lost with the agent.
    End {
        key: WorkerKey,
        stopped: bool,
    },
}

/// What an agent wants of the world.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) later: Vec<(u64, Local)>,
    pub(crate) send: Vec<ToServer>,
    /// Workers whose process was started, and those that were asked to stop: for the witness.
    pub(crate) started: Vec<WorkerKey>,
    pub(crate) stopped: Vec<WorkerKey>,
}

/// A host and its agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: NodeName,
    pub(crate) devices: u32,
    pub(crate) disk: HostDisk,
    /// All that ever ran here.
    pub(crate) processes: BTreeMap<WorkerKey, Process>,
    /// Counts the agent's lives: what a dead one had planned does not happen.
    pub(crate) life: u64,
    memory: Option<Memory>,
}

#[derive(Debug)]
struct Memory {
    core: Core,
    /// How far each log is known to be sealed.
    sealed: BTreeMap<WorkerKey, u64>,
    closing: BTreeSet<WorkerKey>,
}

impl Agent {
    pub(crate) fn new(name: NodeName, devices: u32) -> Self {
        let (disk, processes) = (HostDisk::default(), BTreeMap::new());
        Self { name, devices, disk, processes, life: 0, memory: None }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.memory.is_some()
    }

    /// Starts the agent: finds what is here, and opens a session.
    pub(crate) fn start(&mut self, random: &mut Random) -> Wishes {
        let mut wishes = Wishes::default();
        self.life += 1;
        let core = Core::new(self.disk.seen);
        self.memory = Some(Memory { core, sealed: BTreeMap::new(), closing: BTreeSet::new() });
        // What was only prepared is prepared anew, if it is still wanted.
        let ran = |key: &WorkerKey| self.processes.get(key).is_some_and(|process| !process.wiped);
        self.disk.folders.retain(|key, _| ran(key));
        let found = self.disk.folders.iter().map(|(key, folder)| {
            let step = match (self.processes[key].alive, folder.published) {
                (true, _) => FoundStep::Running,
                (false, true) => FoundStep::Finished(Outcome::Succeeded),
                (false, false) => FoundStep::Ended,
            };
            Found { key: key.clone(), step }
        });
        let found = found.collect();
        self.input(Input::Found(found), random, &mut wishes);
        self.connect(&mut wishes);
        wishes
    }

    /// The agent dies; its workers run on.
    pub(crate) fn crash(&mut self) {
        self.memory = None;
        self.life += 1;
    }

    /// The host loses its power.
    pub(crate) fn power_cut(&mut self, now: u64) {
        self.crash();
        for process in self.processes.values_mut().filter(|process| process.alive) {
            (process.alive, process.end, process.ended_at) = (false, End::PowerCut, now);
        }
    }

    /// The workers' folders are gone, with what was not sealed of their logs.
    pub(crate) fn wipe(&mut self) {
        for key in std::mem::take(&mut self.disk.folders).into_keys() {
            if let Some(process) = self.processes.get_mut(&key) {
                process.wiped = true;
            }
        }
    }

    fn connect(&mut self, wishes: &mut Wishes) {
        self.disk.session += 1;
        wishes.send.push(ToServer::Hello { session: self.disk.session, devices: self.devices });
    }

    pub(crate) fn take(&mut self, message: ToAgent, random: &mut Random) -> Wishes {
        let mut wishes = Wishes::default();
        let Some(memory) = &mut self.memory else { return wishes };
        match message {
            ToAgent::Reconnect => self.connect(&mut wishes),
            ToAgent::Desired(set) => self.input(Input::Desired(set), random, &mut wishes),
            ToAgent::Sealed { worker, to, complete } => {
                let sealed = memory.sealed.entry(worker.clone()).or_default();
                *sealed = to.max(*sealed);
                if complete && memory.core.status(&worker).is_some() {
                    memory.closing.remove(&worker);
                    self.input(Input::Sealed { key: worker }, random, &mut wishes);
                }
            }
        }
        wishes
    }

    pub(crate) fn local(&mut self, local: Local, now: u64, random: &mut Random) -> Wishes {
        let mut wishes = Wishes::default();
        match local {
            Local::Input(input) => {
                if let Input::Published { key, outcome: Outcome::Succeeded } = &input
                    && let Some(folder) = self.disk.folders.get_mut(key)
                {
                    folder.published = true;
                }
                self.input(input, random, &mut wishes);
            }
            Local::Spawn(key) => self.spawn(key, random, &mut wishes),
            Local::End { key, stopped } => {
                let Some(process) = self.processes.get_mut(&key).filter(|p| p.alive) else {
                    return wishes;
                };
                process.alive = false;
                process.ended_at = now;
                if stopped {
                    process.end = End::Stopped;
                }
                self.input(Input::Ended { key }, random, &mut wishes);
            }
        }
        wishes
    }

    fn spawn(&mut self, key: WorkerKey, random: &mut Random, wishes: &mut Wishes) {
        let end = if random.chance(850) { End::Success } else { End::Failure };
        let bytes = random.below(4) * 1_000;
        let cut = self.processes.get(&key).is_some_and(|before| before.wiped);
        let process = Process { alive: true, end, ended_at: 0, bytes, wiped: false, cut };
        wishes.started.push(key.clone());
        self.processes.insert(key.clone(), process);
        let long = if random.chance(100) { 300_000 } else { 20_000 };
        let after = random.between(100, long);
        wishes.later.push((after, Local::End { key: key.clone(), stopped: false }));
        self.input(Input::Started { key }, random, wishes);
    }

    fn input(&mut self, input: Input, random: &mut Random, wishes: &mut Wishes) {
        let Some(memory) = &mut self.memory else { return };
        for effect in memory.core.step(input) {
            self.carry_out(effect, random, wishes);
        }
    }

    fn carry_out(&mut self, effect: Effect, random: &mut Random, wishes: &mut Wishes) {
        let Some(memory) = &mut self.memory else { return };
        let fails = random.chance(20);
        let mut soon = |from, to, input| {
            wishes.later.push((random.between(from, to), Local::Input(input)));
        };
        match effect {
            Effect::Persist(position) => self.disk.seen = position,
            Effect::Prepare(key) => {
                self.disk.folders.insert(key.clone(), Folder::default());
                soon(10, 2_000, Input::Prepared { key, port: 0 });
            }
            Effect::CancelPrepare(key) => {
                let outcome = Outcome::Ended { cause: Cause::Error, reason: "given up".into() };
                soon(10, 2_000, Input::NotStarted { key, outcome });
            }
            Effect::Start(key) if fails => {
                let outcome = Outcome::Ended { cause: Cause::Error, reason: "no memory".into() };
                let input = Input::NotStarted { key, outcome };
                wishes.later.push((5, Local::Input(input)));
            }
            Effect::Start(key) => {
                wishes.later.push((random.between(1, 50), Local::Spawn(key)));
            }
            Effect::Follow(_) | Effect::Orphans(_) => {}
            Effect::Stop { key, grace_ms } => {
                wishes.stopped.push(key.clone());
                let after = random.between(1, grace_ms.max(1));
                wishes.later.push((after, Local::End { key, stopped: true }));
            }
            Effect::Publish { key, .. } => {
                let outcome = match self.processes.get(&key).map(|process| process.end) {
                    Some(End::Success) => Outcome::Succeeded,
                    Some(End::Failure) => failure(Cause::Failure, "exit status 1"),
                    Some(End::Stopped) => failure(Cause::Failure, "signal 15"),
                    Some(End::PowerCut) | None => failure(Cause::Error, "the host went down"),
                };
                soon(5, 500, Input::Published { key, outcome });
            }
            Effect::CloseLog(key) => drop(memory.closing.insert(key)),
            Effect::Remove(key) => {
                self.disk.folders.remove(&key);
                memory.sealed.remove(&key);
            }
            Effect::Report { key, status } => {
                let told = self.told(key, status);
                let session = self.disk.session;
                wishes.send.push(ToServer::Report { session, workers: vec![told] });
            }
        }
    }

    fn told(&self, key: WorkerKey, status: Status) -> Told {
        let process = self.processes.get(&key).filter(|process| !process.wiped);
        let log_end = process.map_or(0, |process| process.bytes);
        Told { log_end, ended_at: process.map_or(0, |process| process.ended_at), key, status }
    }

    /// What an agent does once a second: it says all it knows, and seals what there is of logs.
    pub(crate) fn tick(&mut self, random: &mut Random) -> Vec<ToServer> {
        let Some(memory) = &self.memory else { return Vec::new() };
        let workers: Vec<Told> =
            memory.core.workers().map(|(key, status)| self.told(key.clone(), status)).collect();
        let mut send = Vec::new();
        for told in &workers {
            let from = memory.sealed.get(&told.key).copied().unwrap_or(0);
            let released = told.status.phase == Phase::Released;
            let (to, last) = match self.processes.get(&told.key).filter(|process| !process.wiped) {
                Some(process) if !process.alive => (process.bytes, released),
                Some(process) => (random.between(from, process.bytes.max(from)), false),
                None => (from, memory.closing.contains(&told.key)),
            };
            if to > from || last {
                send.push(ToServer::Seal {
                    worker: told.key.clone(),
                    from,
                    to: to.max(from),
                    last,
                });
            }
        }
        send.insert(0, ToServer::Report { session: self.disk.session, workers });
        send
    }
}

fn failure(cause: Cause, reason: &str) -> Outcome {
    Outcome::Ended { cause, reason: reason.to_owned() }
}
