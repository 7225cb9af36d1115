//! Makes a peer's directory, and finds in one where the peer was.

use std::{io, path::Path, sync::Arc};

use crate::{
    config::{self, Config},
    core::Boot,
    disk::{DirLock, Disk, LockError},
    error::StartError,
    ids::{GroupId, Identity, PeerId},
    log::{
        self, AppendError, Head, Item, OpenedLog, Recovered, Writer,
        recovered::{GENESIS_INDEX, GENESIS_TERM},
        segment,
    },
    members::Members,
    snapshot::{self, SnapshotMark},
};

/// A group's beginning, the same for all its founders except for `peer`.
#[derive(Debug, Clone)]
pub struct Founding {
    /// Random.
    pub group: GroupId,
    /// Random; who is being made.
    pub peer: PeerId,
    /// 1 for a new group, more for one that was restored.
    pub generation: u64,
    /// All founders, `peer` among them.
    pub voters: Vec<PeerId>,
    /// The size of the first segments.
    pub segment_bytes: u64,
}

/// Makes the directory of a founder of a new group. It is complete when this returns; after a
/// crash in the middle it can be asked again.
///
/// # Errors
///
/// If there is anything in the directory, or the disk refuses.
pub fn init(dir: &Path, disk: &dyn Disk, founding: &Founding) -> Result<(), StartError> {
    config::check_segment(founding.segment_bytes)?;
    if founding.peer.0 == 0 || !founding.voters.contains(&founding.peer) {
        let why = format!("peer {} is not among the founders", founding.peer);
        return Err(StartError::Config { name: "voters", why });
    }
    let io = |what| move |source| StartError::Io { what, path: dir.to_owned(), source };
    disk.create_dir(dir).map_err(io("making"))?;
    let _lock = lock(disk, dir)?;
    // What an init that did not finish leaves: the lock, the reserve and temporary files.
    let unfinished = |name: &str| {
        name == "lock" || name.ends_with(".tmp") || dir.join(name) == segment::reserve_path(dir)
    };
    let names = disk.list(dir).map_err(io("listing"))?;
    if let Some(found) = names.into_iter().find(|name| !unfinished(name)) {
        return Err(StartError::NotEmpty { dir: dir.to_owned(), found });
    }
    let mut voters: Vec<u64> = founding.voters.iter().map(|peer| peer.0).collect();
    voters.sort_unstable();
    voters.dedup();
    let items = [
        Item::Genesis(Members::of_voters(voters)),
        Item::Generation(founding.generation),
        Item::Vote { term: GENESIS_TERM, vote: 0 },
        Item::Commit(GENESIS_INDEX),
    ];
    log::create(disk, dir, founding.group, founding.peer, founding.segment_bytes, &items)
}

/// Whose directory this is. Reads the log without changing it or waiting for its user.
///
/// # Errors
///
/// If there is no log, or it is damaged.
pub fn identity(dir: &Path, disk: &dyn Disk) -> Result<Identity, StartError> {
    for sequence in log::open::sequences(disk, dir)?.into_iter().rev() {
        let path = dir.join(segment::file_name(sequence));
        let (header, items) = log::open::peek(disk, &path)?;
        // Each segment's first record repeats all that is asked here; the newest segment may
        // not have one yet.
        if !items.is_empty() {
            let mut head = Head::default();
            items.iter().for_each(|item| head.note(item));
            return Ok(Identity {
                group: header.group,
                peer: header.peer,
                generation: head.generation,
                incarnation: head.incarnation,
            });
        }
    }
    Err(StartError::Empty { dir: dir.to_owned() })
}

/// A peer as it was found, ready to go on.
pub(crate) struct Found {
    pub(crate) identity: Identity,
    pub(crate) log: Writer,
    pub(crate) boot: Boot,
    /// What the state machine begins from, if not from nothing.
    pub(crate) snapshot: Option<(SnapshotMark, Vec<u8>)>,
    /// Odd things that were put right; said loudly, and kept in the status.
    pub(crate) notes: Vec<String>,
    pub(crate) lock: Box<dyn DirLock>,
}

/// Opens the directory: the newest snapshot that the log names, then the log behind it.
pub(crate) fn find(config: &Config, disk: &Arc<dyn Disk>) -> Result<Found, StartError> {
    config.check()?;
    let dir = &config.dir;
    if log::open::sequences(disk.as_ref(), dir)?.is_empty() {
        return Err(StartError::Empty { dir: dir.clone() });
    }
    let lock = lock(disk.as_ref(), dir)?;
    let OpenedLog { writer: mut log, recovered, mut notes } =
        log::open(disk, dir, config.segment_bytes)?;
    check_identity(config, &log)?;
    let head = &recovered.head;
    check_log(dir, &log, &recovered)?;
    check_snapshots(disk.as_ref(), dir, &recovered)?;
    let chosen = choose(disk.as_ref(), dir, &recovered, &mut notes)?;
    let boot = boot(&recovered, chosen.as_ref().map(|(mark, _)| mark));

    // A rotten snapshot must not count as one of the two that the log is cut behind.
    log.head.snapshots.retain(|mark| chosen.as_ref().is_some_and(|(c, _)| mark.index <= c.index));
    tidy(disk.as_ref(), dir, &recovered.head.snapshots).map_err(|source| StartError::Io {
        what: "tidying",
        path: dir.clone(),
        source,
    })?;
    log.ensure_reserve()?;
    let identity = Identity {
        group: log.group,
        peer: log.peer,
        generation: config.generation.unwrap_or(head.generation),
        incarnation: head.incarnation + 1,
    };
    let started = [
        Item::Started { incarnation: identity.incarnation },
        Item::Generation(identity.generation),
    ];
    log.append(&started).map_err(|error| match error {
        AppendError::Fatal(fatal) => StartError::Fatal(fatal),
        AppendError::NoRoom { .. } => StartError::Io {
            what: "writing the log in",
            path: dir.clone(),
            source: io::Error::new(io::ErrorKind::StorageFull, "the disk is full; free some room"),
        },
    })?;
    log.ensure_reserve()?;
    for note in &notes {
        tracing::error!(dir = %dir.display(), "{note}");
    }
    Ok(Found { identity, log, boot, snapshot: chosen, notes, lock })
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DirLock>, StartError> {
    disk.lock(dir).map_err(|error| match error {
        LockError::Held { pid } => StartError::Locked { dir: dir.to_owned(), pid },
        LockError::Io(source) => StartError::Io { what: "locking", path: dir.to_owned(), source },
    })
}

fn check_identity(config: &Config, log: &Writer) -> Result<(), StartError> {
    if (log.group, log.peer) != (config.group, config.peer) {
        return Err(StartError::WrongIdentity {
            dir: config.dir.clone(),
            found_group: log.group,
            found_peer: log.peer,
            group: config.group,
            peer: config.peer,
        });
    }
    match config.generation {
        Some(asked) if asked < log.head.generation => Err(StartError::OldGeneration {
            dir: config.dir.clone(),
            found: log.head.generation,
            asked,
        }),
        _ => Ok(()),
    }
}

/// What the log says must be possible as a whole.
fn check_log(dir: &Path, log: &Writer, recovered: &Recovered) -> Result<(), StartError> {
    let head = &recovered.head;
    let file = dir.join(segment::file_name(log.segments.back().map_or(1, |last| last.sequence)));
    let wrong = |what: String| Err(StartError::corrupt(&file, log.at as usize, what));
    if head.genesis.is_none() {
        return wrong("the log does not say who founded the group".into());
    }
    if let Some(last) = recovered.entries.last().filter(|last| last.term > head.term) {
        return wrong(format!(
            "entry {} is of term {}, later than the log's",
            last.index, last.term
        ));
    }
    let last = recovered.last_index();
    if head.commit > last {
        let what = format!("the log ends at entry {last}, but {} are committed", head.commit);
        return Err(StartError::LostAcknowledged { file, what });
    }
    if let Some(mark) = head.snapshots.iter().find(|mark| mark.index > head.commit) {
        return wrong(format!(
            "a snapshot of entry {} was named before it was committed",
            mark.index
        ));
    }
    Ok(())
}

/// A snapshot of our own is made of durable entries: one beyond the log's end means that the log
/// lost them. A received one may be left over from before it was named, and proves nothing.
fn check_snapshots(disk: &dyn Disk, dir: &Path, recovered: &Recovered) -> Result<(), StartError> {
    let files = snapshot::files(disk, dir).map_err(|source| StartError::Io {
        what: "listing",
        path: dir.to_owned(),
        source,
    })?;
    let last = recovered.last_index();
    match files.into_iter().find(|(_, received, index)| !received && *index > last) {
        Some((file, _, index)) => Err(StartError::LostAcknowledged {
            file,
            what: format!("it holds entries up to {index}, but the log ends at {last}"),
        }),
        None => Ok(()),
    }
}

type Chosen = Option<(SnapshotMark, Vec<u8>)>;

/// The newest snapshot that can be believed and that the log continues.
fn choose(
    disk: &dyn Disk,
    dir: &Path,
    recovered: &Recovered,
    notes: &mut Vec<String>,
) -> Result<Chosen, StartError> {
    let mut rotten: Option<StartError> = None;
    for mark in recovered.head.snapshots.iter().rev() {
        let file = dir.join(mark.file_name());
        let (offset, what) = match snapshot::load(disk, dir, mark) {
            Ok(bytes) if recovered.continues(mark.index) => {
                return Ok(Some((mark.clone(), bytes)));
            }
            Ok(_) => (0, "the log does not continue it".to_owned()),
            Err(snapshot::LoadError::Newer(found)) => {
                return Err(StartError::NewerFormat { file, found, known: 1 });
            }
            Err(snapshot::LoadError::Damaged { offset, what }) => (offset, what.to_owned()),
            Err(error @ snapshot::LoadError::Io(_)) => (0, error.to_string()),
        };
        notes.push(format!(
            "the snapshot {} is damaged at byte {offset} ({what}) and was passed over for an \
             older one and the log; check this disk",
            file.display(),
        ));
        rotten.get_or_insert(StartError::Corrupt { file, offset, what });
    }
    match rotten {
        // Nothing was cut off the log yet: it has everything from the founding on.
        _ if recovered.continues(GENESIS_INDEX) => Ok(None),
        Some(error) => Err(error),
        None => Err(StartError::LostAcknowledged {
            file: dir.to_owned(),
            what: "the log begins in the middle and names no snapshot".into(),
        }),
    }
}

fn boot(recovered: &Recovered, snapshot: Option<&SnapshotMark>) -> Boot {
    let head = &recovered.head;
    let (applied, applied_term, members) = match snapshot {
        Some(mark) => (mark.index, mark.term, mark.members.clone()),
        None => (GENESIS_INDEX, GENESIS_TERM, head.genesis.clone().unwrap_or_default()),
    };
    let entries = recovered.entries.iter().filter(|entry| entry.index > applied).cloned().collect();
    let snapshot = snapshot.cloned();
    let (term, vote, commit) = (head.term, head.vote, head.commit);
    Boot { term, vote, commit, applied, applied_term, members, entries, snapshot }
}

/// Removes what interrupted work left behind. Not the rotten: somebody may want to look at it.
fn tidy(disk: &dyn Disk, dir: &Path, named: &[SnapshotMark]) -> io::Result<()> {
    for name in disk.list(dir)?.iter().filter(|name| name.ends_with(".tmp")) {
        disk.remove(&dir.join(name))?;
    }
    snapshot::prune(disk, dir, named, snapshot::Prune::Unnamed)?;
    disk.sync_dir(dir)
}
