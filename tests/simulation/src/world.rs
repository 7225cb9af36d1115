//! The simulated world: time, network, faults, and the order of events.

use std::collections::BTreeMap;

use runyard_consensus::Fatal;
use runyard_consensus::sim::{Crash, Fault, SimDisk};
use runyard_state::entity::{Attempt, TokenKind};
use runyard_state::{Command, CreateToken, JoinNode, State};
use runyard_types::{Digest, NodeName, Outcome, WorkerKey};

use crate::agent::{Agent, Local, Wishes};
use crate::client::Client;
use crate::random::Random;
use crate::server::{self, Server};
use crate::wire::{Outbox, ToAgent, ToServer};
use crate::witness;

/// Hosts and their devices.
const HOSTS: [(&str, u32); 5] = [("n1", 2), ("n2", 2), ("n3", 2), ("n4", 1), ("n5", 0)];
/// After the last fault, all work must be at its end within this time.
const BOUND_MS: u64 = 4 * 3_600_000;
/// How often everything is checked, in steps.
const FULL_CHECK: u64 = 1_000;

/// Which history, and how much of it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    /// Events with faults; then the world is healed and must come to rest.
    pub steps: u64,
    /// Print each event.
    pub trace: bool,
}

/// What a history held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events in all, those of the healed world included.
    pub steps: u64,
    pub simulated_ms: u64,
    pub runs: u64,
    pub processes: u64,
    pub coordinator_crashes: u64,
    pub agent_crashes: u64,
    pub power_cuts: u64,
    pub cuts: u64,
    /// Hosts that lost their workers' folders.
    pub wiped: u64,
    /// Workers that were started before the coordinator knew that their room was free.
    pub chained: u64,
    /// Attempts that were given back before their turn.
    pub given_back: u64,
    /// Attempts given up because their node was lost.
    pub lost: u64,
    /// Time from the last fault to rest.
    pub converged_ms: u64,
    /// Digest of the last state: equal for equal seeds.
    pub state: String,
}

/// A history in which something did not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    pub seed: u64,
    /// Of the options: where the faults end decides the history as well.
    pub steps: u64,
    pub step: u64,
    pub at_ms: u64,
    pub what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, steps, step, at_ms, what } = self;
        write!(
            f,
            "seed {seed}, step {step}, {at_ms} ms: {what}\nreplay: cargo run -p runyard-simulation -- --seed {seed} --steps {steps} --trace"
        )
    }
}

impl std::error::Error for Broken {}

/// How bad things are; drawn once a history, so that some are long and calm and others wild.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Of a thousand messages, so many are lost, doubled, late.
    loss: u64,
    doubled: u64,
    late: u64,
    late_ms: u64,
    fault_ms: u64,
}

impl Weather {
    fn draw(random: &mut Random) -> Self {
        let mut of = |all: &[u64]| random.pick(all).copied().unwrap_or(1);
        Self {
            loss: of(&[0, 20, 200]),
            doubled: of(&[0, 30, 300]),
            late: of(&[0, 30, 300]),
            late_ms: of(&[500, 20_000, 60_000]),
            fault_ms: of(&[3_000, 20_000, 80_000]),
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    ToServer(NodeName, ToServer),
    ToAgent(NodeName, ToAgent),
    /// On the host, in the agent's life of that number.
    Local(NodeName, u64, Local),
    ServerTick,
    ServerUp,
    AgentTick(NodeName),
    AgentUp(NodeName),
    Client,
    Fault,
}

struct World {
    options: Options,
    now: u64,
    step: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Event>,
    random: Random,
    disk: SimDisk,
    server: Option<Server>,
    /// The newest state that was applied anywhere, and its index.
    known: (u64, State),
    hosts: BTreeMap<NodeName, Agent>,
    /// Hosts that the network does not reach, until when.
    cut: BTreeMap<NodeName, u64>,
    client: Client,
    started: BTreeMap<WorkerKey, u64>,
    faults: bool,
    weather: Weather,
    /// The last start of the server failed.
    start_failed: bool,
    summary: Summary,
}

/// Plays one history.
///
/// # Errors
/// The first thing that did not hold, with the seed that replays it.
pub fn run(options: Options) -> Result<Summary, Broken> {
    let mut world = World::new(options);
    world.play().map_err(|what| Broken {
        seed: options.seed,
        steps: options.steps,
        step: world.step,
        at_ms: world.now,
        what,
    })?;
    Ok(world.summary)
}

impl World {
    fn new(options: Options) -> Self {
        let hosts = HOSTS.iter().map(|(name, devices)| {
            let name = NodeName::new(name).expect("our own names are valid");
            (name.clone(), Agent::new(name, *devices))
        });
        let mut random = Random::new(options.seed);
        let weather = Weather::draw(&mut random);
        Self {
            options,
            weather,
            random,
            now: 0,
            step: 0,
            order: 0,
            queue: BTreeMap::new(),
            disk: SimDisk::new(),
            server: None,
            known: (0, State::default()),
            hosts: hosts.collect(),
            cut: BTreeMap::new(),
            client: Client::default(),
            started: BTreeMap::new(),
            faults: true,
            start_failed: false,
            summary: Summary::default(),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        server::found(&self.disk).map_err(|error| format!("the group is not founded: {error}"))?;
        self.server_up()?;
        self.join_hosts()?;
        for name in self.hosts.keys().cloned().collect::<Vec<_>>() {
            self.after(1, Event::AgentUp(name.clone()));
            self.after(500, Event::AgentTick(name));
        }
        self.after(100, Event::ServerTick);
        self.after(200, Event::Client);
        self.after(5_000, Event::Fault);
        while self.step < self.options.steps {
            self.next()?;
        }
        self.heal();
        let healed = self.now;
        loop {
            self.next()?;
            if self.step.is_multiple_of(50) && self.client.is_idle() && self.server.is_some() {
                let Some(unrest) = witness::unrest(&self.known.1, &self.hosts) else { break };
                if self.now > healed + BOUND_MS {
                    return Err(format!("no rest {BOUND_MS} ms after the last fault: {unrest}"));
                }
            }
        }
        self.check_all()?;
        let bytes = runyard_types::encode(&self.known.1);
        let summary = &mut self.summary;
        (summary.steps, summary.simulated_ms) = (self.step, self.now);
        summary.converged_ms = self.now - healed;
        summary.runs = self.known.1.runs.size() as u64;
        let attempts = self.known.1.tasks.values().flat_map(|task| &task.attempts);
        let lost = |outcome: &Outcome| matches!(outcome, Outcome::Ended { reason, .. } if reason.ends_with("is lost"));
        summary.lost = attempts.filter(|a| a.outcome.as_ref().is_some_and(lost)).count() as u64;
        let attempts = || self.known.1.tasks.values().flat_map(|task| &task.attempts);
        summary.given_back = attempts()
            .filter(|attempt| attempt.stop.as_ref().is_some_and(|stop| stop.given_back))
            .count() as u64;
        summary.processes = self.started.len() as u64;
        summary.state = Digest::of(&bytes).short();
        Ok(())
    }

    fn join_hosts(&mut self) -> Result<(), String> {
        let mut commands = Vec::new();
        for name in self.hosts.keys() {
            let hash = Digest::of(name.as_str().as_bytes());
            commands.push(Command::CreateToken(CreateToken {
                id: format!("join-{name}"),
                kind: TokenKind::AgentJoin,
                name: String::new(),
                hash,
                ttl: None,
                principal: "ops".into(),
            }));
            commands.push(Command::JoinNode(JoinNode {
                name: name.clone(),
                fingerprint: hash,
                token: format!("join-{name}"),
                secret_hash: hash,
            }));
        }
        self.serve(|server, now, _| server.propose(now, commands).map(|_| Outbox::new()))
    }

    fn heal(&mut self) {
        self.faults = false;
        self.cut.clear();
        let down = self.hosts.values().filter(|host| !host.is_up()).map(|host| host.name.clone());
        for name in down.collect::<Vec<_>>() {
            self.after(1, Event::AgentUp(name));
        }
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + ms, self.order), event);
    }

    fn next(&mut self) -> Result<(), String> {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return Err("nothing is left to happen".into());
        };
        self.now = at;
        self.step += 1;
        if self.options.trace {
            trace(self.now, &event);
        }
        match event {
            Event::ToServer(from, message) => {
                self.serve(|server, now, _| server.take(now, &from, message))?;
            }
            Event::ToAgent(to, message) => {
                self.host(&to, |host, _, random| host.take(message, random))?;
            }
            Event::Local(name, life, local) => {
                let lasts = matches!(local, Local::End { .. }) || self.hosts[&name].life == life;
                if lasts {
                    self.host(&name, |host, now, random| host.local(local, now, random))?;
                }
            }
            Event::ServerTick => {
                self.after(500, Event::ServerTick);
                self.serve(|server, now, random| server.tick(now, random))?;
            }
            Event::ServerUp => self.server_up()?,
            Event::AgentTick(name) => {
                self.after(1_000, Event::AgentTick(name.clone()));
                self.host(&name, |host, _, random| Wishes {
                    send: host.tick(random),
                    ..Wishes::default()
                })?;
            }
            Event::AgentUp(name) => {
                if !self.hosts[&name].is_up() {
                    self.host(&name, |host, _, random| host.start(random))?;
                }
            }
            Event::Client => {
                let wait = self.random.between(100, 4_000);
                self.after(wait, Event::Client);
                let faults = self.faults;
                let mut client = std::mem::take(&mut self.client);
                let acted = self.serve(|server, now, random| {
                    client.act(server, now, random, faults, faults).map(|()| Outbox::new())
                });
                self.client = client;
                acted?;
            }
            Event::Fault => {
                if self.faults {
                    let wait = self.random.between(500, self.weather.fault_ms);
                    self.after(wait, Event::Fault);
                    self.fault();
                }
            }
        }
        if self.step.is_multiple_of(FULL_CHECK) {
            self.check_all()?;
        }
        Ok(())
    }

    /// Lets the server do something, and carries out what came of it.
    fn serve(
        &mut self,
        what: impl FnOnce(&mut Server, u64, &mut Random) -> Result<Outbox, Fatal>,
    ) -> Result<(), String> {
        let Some(server) = &mut self.server else { return Ok(()) };
        let done = what(server, self.now, &mut self.random);
        let applied = std::mem::take(&mut server.applied);
        self.known = (server.index(), server.state().clone());
        for one in &applied {
            witness::check_touched(&self.known.1, &self.hosts, one)?;
        }
        match done {
            Ok(outbox) => outbox.into_iter().for_each(|(to, message)| {
                self.send(to.clone(), Event::ToAgent(to, message));
            }),
            Err(_) => self.server_down(),
        }
        Ok(())
    }

    fn host(
        &mut self,
        name: &NodeName,
        what: impl FnOnce(&mut Agent, u64, &mut Random) -> Wishes,
    ) -> Result<(), String> {
        let Some(host) = self.hosts.get_mut(name) else { return Ok(()) };
        let wishes = what(host, self.now, &mut self.random);
        let life = host.life;
        for key in wishes.started {
            witness::check_started(&self.known.1, &self.hosts, &self.started, name, &key)?;
            let behind = |(attempt, _): (&Attempt, _)| attempt.after.is_some();
            self.summary.chained += u64::from(self.known.1.worker(&key).is_some_and(behind));
            self.started.insert(key, self.now);
        }
        for key in &wishes.stopped {
            witness::check_stopped(&self.known.1, key)?;
        }
        for (ms, local) in wishes.later {
            self.after(ms, Event::Local(name.clone(), life, local));
        }
        for message in wishes.send {
            self.send(name.clone(), Event::ToServer(name.clone(), message));
        }
        Ok(())
    }

    /// Puts a message on the network between the server and a host.
    fn send(&mut self, host: NodeName, event: Event) {
        if self.cut.get(&host).is_some_and(|until| *until > self.now) {
            return;
        }
        if !self.faults {
            self.after(1, event);
            return;
        }
        let Weather { loss, doubled, late, late_ms, .. } = self.weather;
        if self.random.chance(loss) {
            return;
        }
        let is_late = self.random.chance(late);
        let delay = self.random.between(1, if is_late { late_ms } else { 20 });
        if self.random.chance(doubled) {
            let again = self.random.between(1, late_ms);
            self.after(again, event.clone());
        }
        self.after(delay, event);
    }

    fn fault(&mut self) {
        let names: Vec<NodeName> = self.hosts.keys().cloned().collect();
        let name = self.random.pick(&names).cloned().unwrap_or_else(|| names[0].clone());
        match self.random.below(10) {
            0..=3 => {
                // At any of the next operations of the disk: a write, a sync, a rename.
                let operation = self.disk.operations() + self.random.below(30);
                self.disk.fail(operation, Fault::PowerCut);
            }
            4 => self.server_down(),
            5 | 6 => self.agent_down(&name, false),
            7 => {
                self.agent_down(&name, true);
                if self.random.chance(300) {
                    self.wipe(&name);
                }
            }
            _ => {
                let long = if self.random.chance(300) { 400_000 } else { 15_000 };
                let until = self.now + self.random.between(500, long);
                self.cut.insert(name, until);
                self.summary.cuts += 1;
            }
        }
    }

    fn server_down(&mut self) {
        if self.server.take().is_none() {
            return;
        }
        self.summary.coordinator_crashes += 1;
        let plan = match self.random.below(4) {
            0 => Crash::KeepNothing,
            1 => Crash::KeepAll,
            _ => Crash::Seeded(self.random.below(u64::MAX)),
        };
        self.disk = self.disk.crash(&plan);
        let wait = self.random.between(100, 30_000);
        self.after(wait, Event::ServerUp);
    }

    fn server_up(&mut self) -> Result<(), String> {
        if self.server.is_some() {
            return Ok(());
        }
        let server = match Server::start(&self.disk, self.now) {
            Ok(server) => server,
            // A fault planned for the life before struck in the start of this one; the crash takes it away.
            Err(error) if self.faults || !self.start_failed => {
                self.start_failed = true;
                if self.options.trace {
                    trace(self.now, &format!("the server did not start: {error}"));
                }
                self.disk = self.disk.crash(&Crash::Seeded(self.random.below(u64::MAX)));
                self.after(1_000, Event::ServerUp);
                return Ok(());
            }
            Err(error) => return Err(format!("the server does not start: {error}")),
        };
        self.start_failed = false;
        let (index, state) = &self.known;
        if server.index() < *index {
            return Err(format!(
                "entry {index} was applied, after a crash there are {}",
                server.index()
            ));
        }
        if server.index() == *index && server.state() != state {
            return Err(format!("the state at {index} is another after a crash"));
        }
        self.known = (server.index(), server.state().clone());
        self.server = Some(server);
        Ok(())
    }

    fn agent_down(&mut self, name: &NodeName, power: bool) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(name) else { return };
        if power {
            host.power_cut(now);
            self.summary.power_cuts += 1;
        } else {
            host.crash();
            self.summary.agent_crashes += 1;
        }
        let long = if self.random.chance(200) { 300_000 } else { 20_000 };
        let wait = self.random.between(100, long);
        self.after(wait, Event::AgentUp(name.clone()));
    }

    /// The folders of a host's workers are gone, as after a disk was changed.
    fn wipe(&mut self, name: &NodeName) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.wipe();
            self.summary.wiped += 1;
        }
    }

    fn check_all(&self) -> Result<(), String> {
        witness::check_all(&self.known.1, &self.hosts, &self.client.acknowledged)
    }
}

#[expect(clippy::print_stderr, reason = "a trace is asked for by hand")]
fn trace(now: u64, what: &impl std::fmt::Debug) {
    let text: String = format!("{what:?}").chars().take(400).collect();
    eprintln!("{now:>9} {text}");
}
