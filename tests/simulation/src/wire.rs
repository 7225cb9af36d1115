//! What goes over the simulated network.

use runyard_daemon::core::{DesiredSet, Status};
use runyard_types::{NodeName, WorkerKey};

/// What an agent knows of a worker; always the whole of it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) key: WorkerKey,
    pub(crate) status: Status,
    /// Bytes of output in all, once it is released.
    pub(crate) log_end: u64,
    pub(crate) ended_at: u64,
}

/// From an agent.
#[derive(Debug, Clone)]
pub(crate) enum ToServer {
    Hello { session: u64, devices: u32 },
    Report { session: u64, workers: Vec<Told> },
    Seal { worker: WorkerKey, from: u64, to: u64, last: bool },
}

/// To an agent.
#[derive(Debug, Clone)]
pub(crate) enum ToAgent {
    /// This server knows nothing of that session.
    Reconnect,
    Desired(DesiredSet),
    Sealed {
        worker: WorkerKey,
        to: u64,
        complete: bool,
    },
}

/// An address, and what is sent there.
pub(crate) type Outbox = Vec<(NodeName, ToAgent)>;
