//! What can go wrong, by boundary.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::ids::{GroupId, PeerId};

const REMEDY: &str = "Nothing was changed. Keep a copy of the directory; then, in a group of \
    several peers, replace this peer by a new one, else restore the newest backup";

/// Why a peer was not made or not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is impossible.
    #[error("the setting {name} cannot be used: {why}")]
    Config {
        /// The field of [`Config`](crate::Config).
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Another process, or this one, has the directory.
    #[error("the data directory {} is in use by process {}; stop that server, or give this one a directory of its own", dir.display(), pid.map_or("(unknown)".into(), |p| p.to_string()))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process, if it wrote its id.
        pid: Option<u32>,
    },
    /// Nothing may be founded where something is.
    #[error("the directory {} is not empty (it has {found:?}): a new group needs an empty one", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// One of the files in it.
        found: String,
    },
    /// There is no log. An empty directory is not a peer: it would have forgotten its votes.
    #[error("the directory {} holds no peer's data; if this is a new group, initialise it first, and if the data was lost, replace this peer by a new one or restore a backup", dir.display())]
    Empty {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to somebody else.
    #[error("the directory {} belongs to peer {found_peer} of group {found_group}, not to peer {peer} of group {group}; check the data directory in the configuration", dir.display())]
    WrongIdentity {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found_group: GroupId,
        /// Whose it is.
        found_peer: PeerId,
        /// Who was to be started.
        group: GroupId,
        /// Who was to be started.
        peer: PeerId,
    },
    /// The group went on to a higher generation.
    #[error("the directory {} is of generation {found}, higher than the {asked} asked for: it was restored or recovered since; use its own generation", dir.display())]
    OldGeneration {
        /// The directory.
        dir: PathBuf,
        /// The directory's generation.
        found: u64,
        /// The generation in the configuration.
        asked: u64,
    },
    /// Stored bytes are not what was written.
    #[error("{} is damaged at byte {offset}: {what}. {REMEDY}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The files contradict each other in a way that means acknowledged entries are gone.
    #[error("{} proves that acknowledged entries are lost: {what}. {REMEDY}", file.display())]
    LostAcknowledged {
        /// The file that knows more than the log.
        file: PathBuf,
        /// What it knows.
        what: String,
    },
    /// A newer version wrote this.
    #[error("{} has format {found}, this version knows up to {known}; start the version that wrote it, or a newer one", file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The highest format known here.
        known: u32,
    },
    /// The state machine would not take a snapshot whose checksum is right.
    #[error("the snapshot {} cannot be restored", file.display())]
    Restore {
        /// The file.
        file: PathBuf,
        /// What the state machine said.
        #[source]
        source: RestoreError,
    },
    /// The disk refused.
    #[error("{what} {} failed", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The disk's answer.
        #[source]
        source: io::Error,
    },
    /// An error after which this peer's files must not be touched again in this process.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl StartError {
    pub(crate) fn corrupt(file: &Path, offset: usize, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset: offset as u64, what: what.into() }
    }
}

/// Why a state machine did not take a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("the state machine refuses the snapshot: {0}")]
pub struct RestoreError(pub String);

/// Why a state machine does not take a committed entry: a newer program wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotApply(pub String);

/// After this the process must end, without another write: what is on disk is unknown, and asking
/// the kernel again proves nothing. The next start reads what is really there.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A write or sync failed.
    #[error("{what} {} failed; this server stops at once, because a retry could pass for success", path.display())]
    Disk {
        /// What was tried, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The disk's answer.
        #[source]
        source: io::Error,
    },
    /// Something that cannot be happened here.
    #[error("{0}")]
    Broken(String),
    /// A committed entry that this program does not understand. All before it is applied; what is on disk
    /// is whole, and whoever understands the entry goes on from there.
    #[error("stopped before entry {index} of the log in {}: {why}. Nothing is lost, and nothing was changed", dir.display())]
    CannotApply {
        /// The entry's index.
        index: u64,
        /// The directory of the log.
        dir: PathBuf,
        /// What the state machine said.
        why: CannotApply,
    },
}

impl Fatal {
    pub(crate) fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk { what, path: path.to_owned(), source }
    }
}

/// Why a proposal has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Only the leader proposes. Nothing was done.
    #[error("this peer is not the leader")]
    NotLeader {
        /// Who leads, as far as this peer knows.
        hint: Option<PeerId>,
    },
    /// As much is under way as may be. Nothing was done; try again later.
    #[error("too many proposals are under way")]
    Busy,
    /// An entry may not be that large. Nothing was done.
    #[error("the entry has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The entry's size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk is full to the end of the reserve. Nothing was done; free some room.
    #[error("the log's disk is full, the reserve too: read-only until there is room")]
    DiskFull,
    /// Leadership went before the answer was known: it may yet be done. Ask again with the same
    /// idempotency key.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
    /// This peer is stopping; the proposal may yet be done.
    #[error("this peer is stopping")]
    Stopped,
}

/// Why a linearizable read is not possible now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no leader to confirm it, or leadership changed meanwhile.
    #[error("there is no leader to confirm the read")]
    NoLeader,
    /// No majority confirmed it in time.
    #[error("no majority confirmed the read in time")]
    Timeout,
    /// As many reads are under way as may be.
    #[error("too many reads are under way")]
    Busy,
    /// This peer is stopping.
    #[error("this peer is stopping")]
    Stopped,
}
