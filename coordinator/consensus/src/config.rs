//! A peer's settings.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    core::{CoreConfig, Envelope},
    error::{Fatal, StartError},
    ids::{GroupId, PeerId},
    log::writer::entry_max,
};

/// Called once when nothing may be written any more. The product's ends the process.
pub type FatalHook = Arc<dyn Fn(&Fatal) + Send + Sync>;

/// Carries messages to other peers. It may lose them; it must not block.
pub trait Transport: Send + Sync + 'static {
    /// Sends one message, or drops it.
    fn send(&self, envelope: Envelope);
}

/// The settings of one peer. Sizes are in bytes.
#[derive(Clone)]
pub struct Config {
    /// The peer's directory, made by [`init`](crate::init).
    pub dir: PathBuf,
    /// The group that the directory must belong to.
    pub group: GroupId,
    /// The peer that the directory must belong to.
    pub peer: PeerId,
    /// Raises the group's generation to this; `None` leaves it. One below the directory's own is
    /// refused.
    pub generation: Option<u64>,
    /// The size of a log segment. One in use and one in reserve are always there.
    pub segment_bytes: u64,
    /// A snapshot is taken after so many entries.
    pub snapshot_every_entries: u64,
    /// Or after so many bytes of entries, whichever comes first. Bounds the log's size.
    pub snapshot_every_bytes: u64,
    /// The length of a tick. Elections take ten to twenty; a group of one has none.
    pub tick: Duration,
    /// How many proposals may be under way.
    pub max_proposals: usize,
    /// How many bytes of them.
    pub max_proposals_bytes: usize,
    /// The largest entry.
    pub max_entry_bytes: usize,
    /// How messages reach other peers; `None` in a group of one.
    pub transport: Option<Arc<dyn Transport>>,
    /// What to do when the disk failed; by default, the process aborts.
    pub on_fatal: FatalHook,
}

impl Config {
    /// The product's settings.
    pub fn new(dir: PathBuf, group: GroupId, peer: PeerId) -> Self {
        Self {
            dir,
            group,
            peer,
            generation: None,
            segment_bytes: 8 << 20,
            snapshot_every_entries: 100_000,
            snapshot_every_bytes: 64 << 20,
            tick: Duration::from_millis(100),
            max_proposals: 4_096,
            max_proposals_bytes: 32 << 20,
            max_entry_bytes: 1 << 20,
            transport: None,
            on_fatal: Arc::new(abort),
        }
    }

    pub(crate) fn core(&self, incarnation: u64) -> CoreConfig {
        let max_uncommitted_bytes = (self.max_proposals_bytes as u64).max(1 << 20);
        let core = CoreConfig::new(self.peer, incarnation);
        CoreConfig { max_entry_bytes: self.max_entry_bytes, max_uncommitted_bytes, ..core }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let wrong = |name, why: String| Err(StartError::Config { name, why });
        if self.peer.0 == 0 {
            return wrong("peer", "0 is not a peer's id".into());
        }
        check_segment(self.segment_bytes)?;
        let largest = entry_max(self.segment_bytes);
        if self.max_entry_bytes as u64 > largest {
            return wrong(
                "max_entry_bytes",
                format!(
                    "{} bytes do not fit into a segment of {} (at most {largest} do)",
                    self.max_entry_bytes, self.segment_bytes,
                ),
            );
        }
        if self.max_proposals == 0 || self.tick.is_zero() || self.snapshot_every_entries == 0 {
            return wrong("max_proposals, tick, snapshot_every_entries", "none may be 0".into());
        }
        Ok(())
    }
}

/// The smallest segment: a head, and some small entries.
const SEGMENT_MIN: u64 = 32 << 10;
const SEGMENT_MAX: u64 = 1 << 30;

pub(crate) fn check_segment(bytes: u64) -> Result<(), StartError> {
    if (SEGMENT_MIN..=SEGMENT_MAX).contains(&bytes) && bytes.is_multiple_of(4096) {
        return Ok(());
    }
    let why = format!("{bytes} is not a multiple of 4096 from {SEGMENT_MIN} to {SEGMENT_MAX}");
    Err(StartError::Config { name: "segment_bytes", why })
}

fn abort(fatal: &Fatal) {
    let mut chain = fatal.to_string();
    let mut cause = std::error::Error::source(fatal);
    while let Some(error) = cause {
        chain = format!("{chain}: {error}");
        cause = error.source();
    }
    tracing::error!(error = %chain, "consensus stops the process");
    // The log may go nowhere by now; the last words must not.
    eprintln!("runyard: {chain}");
    std::process::abort();
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("dir", &self.dir)
            .field("group", &self.group)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
