//! The files: opened, checked, set aside when they are broken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use runyard_state::{EventNumber, State};
use runyard_types::ProjectName;
use tokio::sync::Notify;

use super::error::ReadModelError;
use super::meta::Meta;
use super::query::{self, Events, RunQuery};
use super::row::RunRow;
use super::{keys, write};

/// Bytes of pages kept in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// Broken read models kept to be looked at; older ones are removed.
const ASIDE_MAX: usize = 1;
/// Events between two flushes. What was not flushed is read again from the state.
const FLUSH_EVENTS: u64 = 10_000;
/// Pause between two tries to get the files' lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Tries to get the files' lock: two seconds in all.
const LOCK_TRIES: u32 = 100;

/// The peer's sled.
#[derive(Debug)]
pub(crate) struct ReadModel {
    dir: PathBuf,
    writer: Mutex<Writer>,
    /// Set while the rows are known to be whole and were once up to date. Questions hold it while they read,
    /// so that the files are never moved under them.
    readers: RwLock<Option<sled::Db>>,
    /// A question met damage.
    pub(super) suspect: Notify,
}

#[derive(Debug, Default)]
struct Writer {
    db: Option<sled::Db>,
    /// `None` until the rows were checked.
    meta: Option<Meta>,
    flushed: u64,
}

impl ReadModel {
    /// Opens it; one that does not open is moved aside and built anew, with a loud event.
    pub(crate) fn open(dir: &Path) -> Self {
        let model = Self {
            dir: dir.to_owned(),
            writer: Mutex::default(),
            readers: RwLock::default(),
            suspect: Notify::new(),
        };
        match open(dir) {
            Ok(db) => model.with(|writer| writer.db = Some(db)),
            Err(error) => model.rebuild(&error),
        }
        model
    }

    /// Brings it to the state, and checks the rows first if that was not done yet.
    pub(super) fn catch_up(
        &self,
        source: &(String, u64),
        state: &State,
    ) -> Result<(), ReadModelError> {
        self.with(|writer| {
            if writer.db.is_none() {
                // The last attempt to open new files failed, for want of room perhaps.
                writer.db = Some(open(&self.dir)?);
                writer.meta = None;
            }
            let Some(db) = writer.db.clone() else { return Err(ReadModelError::NotReady) };
            guarded(|| {
                let mut meta = match writer.meta.take() {
                    Some(meta) => meta,
                    None => check(&db, source, state)?,
                };
                while !write::step(&db, &mut meta, state)? {}
                if meta.events >= writer.flushed + FLUSH_EVENTS {
                    db.flush()?;
                    writer.flushed = meta.events;
                }
                writer.meta = Some(meta);
                Ok(())
            })?;
            let served = self.readers.read().unwrap_or_else(PoisonError::into_inner).is_some();
            if !served {
                *self.readers.write().unwrap_or_else(PoisonError::into_inner) = Some(db);
            }
            Ok(())
        })
    }

    /// Sets the files aside and begins anew.
    pub(super) fn rebuild(&self, error: &ReadModelError) {
        *self.readers.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.with(|writer| {
            *writer = Writer::default();
            let aside = aside(&self.dir);
            tracing::error!(
                error = chain(error), dir = %self.dir.display(), aside = %aside.display(),
                "the read model is broken; it is set aside and rebuilt, nothing else is affected"
            );
            remove_old_asides(&self.dir);
            if self.dir.exists()
                && let Err(error) = fs_err::rename(&self.dir, &aside)
            {
                tracing::error!(%error, "the broken read model cannot be moved; lists come from the live state alone");
                return;
            }
            match open(&self.dir) {
                Ok(db) => writer.db = Some(db),
                Err(error) => {
                    tracing::error!(error = chain(&error), "there is no read model; lists come from the live state alone");
                }
            }
        });
    }

    /// Writes out what is in memory.
    pub(super) fn flush(&self) -> Result<(), ReadModelError> {
        self.with(|writer| match &writer.db {
            Some(db) => guarded(|| Ok(db.flush().map(drop)?)),
            None => Ok(()),
        })
    }

    /// Events of a project and of the group from a number on, at most `limit`.
    pub(crate) fn events(
        &self,
        project: &ProjectName,
        subject: &str,
        from: EventNumber,
        limit: usize,
    ) -> Result<Events, ReadModelError> {
        self.read(|db| query::events(db, project, subject, from, limit))
    }

    /// Runs of a project, the newest first, and the name to go on `before` if there are more.
    pub(crate) fn runs(
        &self,
        project: &ProjectName,
        query: &RunQuery,
    ) -> Result<(Vec<RunRow>, Option<String>), ReadModelError> {
        self.read(|db| query::runs(db, project, query))
    }

    fn read<T>(
        &self,
        f: impl FnOnce(&sled::Db) -> Result<T, ReadModelError>,
    ) -> Result<T, ReadModelError> {
        let readers = self.readers.read().unwrap_or_else(PoisonError::into_inner);
        let answer = guarded(|| f(readers.as_ref().ok_or(ReadModelError::NotReady)?));
        drop(readers);
        if answer.as_ref().is_err_and(ReadModelError::is_damage) {
            *self.readers.write().unwrap_or_else(PoisonError::into_inner) = None;
            self.with(|writer| writer.meta = None);
            self.suspect.notify_one();
        }
        answer
    }

    fn with<T>(&self, f: impl FnOnce(&mut Writer) -> T) -> T {
        f(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Opens the files. sled's own threads hold the lock of a database that was just closed a moment longer.
pub(super) fn open(dir: &Path) -> Result<sled::Db, ReadModelError> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let mut tries = 0;
    loop {
        match guarded(|| Ok(config.open()?)) {
            Err(ReadModelError::Sled(error)) if is_locked(&error) && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            done => return done,
        }
    }
}

/// sled has no error of its own for this, only a text.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

/// sled panics on some damaged files; here that is one more error.
fn guarded<T>(f: impl FnOnce() -> Result<T, ReadModelError>) -> Result<T, ReadModelError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&'static str>().copied())
            .unwrap_or("no reason given");
        Err(ReadModelError::Panicked(text.to_owned()))
    })
}

/// Counts all rows against what the last batch said; an empty or outdated one is begun anew.
fn check(db: &sled::Db, source: &(String, u64), state: &State) -> Result<Meta, ReadModelError> {
    let fresh = Meta { source: source.clone(), ..Meta::default() };
    let Some(first) = db.first()? else { return Ok(fresh) };
    let damaged = |what: String| Err(ReadModelError::Damaged(what));
    let Some(_) = db.get(keys::META)? else {
        if first.0.first() == Some(&keys::LAYOUT) {
            return damaged("its place is missing".to_owned());
        }
        tracing::info!("the read model has another layout and is rebuilt");
        db.clear()?;
        return Ok(fresh);
    };
    let meta = query::meta(db)?;
    let ahead = meta.next > state.events.last().map_or((0, 0), |(last, _)| (last.0, last.1 + 1));
    if meta.source != *source || ahead {
        tracing::warn!(ahead, "the read model belongs to another history and is rebuilt");
        db.clear()?;
        return Ok(fresh);
    }
    let count = |prefix: [u8; 2]| -> Result<u64, ReadModelError> {
        db.scan_prefix(prefix).try_fold(0, |count, row| row.map(|_| count + 1).map_err(Into::into))
    };
    for (what, prefix, expected) in [
        ("events", keys::EVENTS, meta.events),
        ("subjects", keys::SUBJECTS, meta.subjects),
        ("runs", keys::RUNS, meta.runs),
        ("names of runs", keys::NAMES, meta.runs),
    ] {
        let found = count(prefix)?;
        if found != expected {
            return damaged(format!("it has {found} {what} where {expected} were written"));
        }
    }
    Ok(meta)
}

fn aside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".broken-{}", crate::clock::wall_ms()));
    dir.with_file_name(name)
}

/// Keeps room for one more: a disk that breaks again and again must not fill itself with copies.
fn remove_old_asides(dir: &Path) {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else { return };
    let prefix = format!("{}.broken-", name.to_string_lossy());
    let Ok(entries) = fs_err::read_dir(parent) else { return };
    let mut old: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    old.sort();
    for path in old.iter().take((old.len() + 1).saturating_sub(ASIDE_MAX)) {
        if let Err(error) = fs_err::remove_dir_all(path) {
            tracing::warn!(%error, "an old broken read model cannot be removed");
        }
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
