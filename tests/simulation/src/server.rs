//! A simulated coordinator: the product's consensus peer on a simulated disk, and a leader's memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use runyard_consensus::sim::SimDisk;
use runyard_consensus::{
    Config, Fatal, Founding, GroupId, Input, Lockstep, PeerId, StartError, init,
};
use runyard_state::{Applied, Command, Entry, Refusal, Reply, STATE_VERSION, Stamp, State};
use runyard_types::{DurationMs, NodeName, TimestampMs, WorkerKey, encode};

use crate::machine::Machine;
use crate::wire::Told;

/// 2026-01-01: the simulation's time 0.
pub(crate) const START_MS: u64 = 1_767_225_600_000;
const GROUP: GroupId = GroupId(1);
const PEER: PeerId = PeerId(1);
const SEGMENT_BYTES: u64 = 256 << 10;

/// A coordinator that runs. All but the peer's directory is lost with it.
#[derive(Debug)]
pub(crate) struct Server {
    peer: Lockstep<Machine>,
    pub(crate) started_at: u64,
    /// When the last entry was proposed, on this leader's clock.
    last_entry: Option<u64>,
    next_id: u64,
    pub(crate) heard: BTreeMap<NodeName, u64>,
    pub(crate) sessions: BTreeMap<NodeName, u64>,
    pub(crate) live: BTreeMap<WorkerKey, Told>,
    /// What each node was last sent, and when.
    pub(crate) sent: BTreeMap<NodeName, (u64, runyard_daemon::core::DesiredSet)>,
    /// What was applied since it was last asked.
    pub(crate) applied: Vec<Applied>,
}

pub(crate) fn found(disk: &SimDisk) -> Result<(), StartError> {
    let (group, peer, voters) = (GROUP, PEER, vec![PEER]);
    let founding = Founding { group, peer, generation: 1, voters, segment_bytes: SEGMENT_BYTES };
    init(&dir(), disk, &founding)
}

fn dir() -> PathBuf {
    PathBuf::from("/coordinator")
}

impl Server {
    pub(crate) fn start(disk: &SimDisk, now: u64) -> Result<Self, StartError> {
        let config = Config {
            segment_bytes: SEGMENT_BYTES,
            snapshot_every_entries: 400,
            max_entry_bytes: 64 << 10,
            ..Config::new(dir(), GROUP, PEER)
        };
        let mut peer = Lockstep::start(config, Arc::new(disk.clone()), Machine::default())?;
        peer.step([])?;
        Ok(Self {
            peer,
            started_at: now,
            last_entry: None,
            next_id: 0,
            heard: BTreeMap::new(),
            sessions: BTreeMap::new(),
            live: BTreeMap::new(),
            sent: BTreeMap::new(),
            applied: Vec::new(),
        })
    }

    pub(crate) fn state(&self) -> &State {
        &self.peer.machine().state
    }

    pub(crate) fn index(&self) -> u64 {
        self.peer.machine().index
    }

    /// The state's elapsed clock at this moment.
    pub(crate) fn elapsed(&self, now: u64) -> u64 {
        self.state().clock.elapsed.0 + self.last_entry.map_or(0, |last| now - last)
    }

    /// Proposes one entry; it is durable and applied when this returns.
    pub(crate) fn propose(
        &mut self,
        now: u64,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Reply, Refusal>>, Fatal> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let delta = DurationMs(self.last_entry.map_or(0, |last| now - last));
        let at = Stamp { wall: TimestampMs(START_MS + now), delta };
        let entry = Entry { min_version: STATE_VERSION, at, commands };
        self.next_id += 1;
        let propose = Input::Propose { id: self.next_id, data: encode(&entry) };
        let effects = self.peer.step([propose])?;
        let mut outcomes = Vec::new();
        for (_, reply) in effects.replies {
            let Ok(applied) = reply else { continue };
            self.last_entry = Some(now);
            outcomes.extend(applied.iter().map(|one| one.outcome.clone()));
            self.applied.extend(applied);
        }
        Ok(outcomes)
    }
}
