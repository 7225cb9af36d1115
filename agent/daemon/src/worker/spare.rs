//! Workers' folders that were not touched, kept for the next workers.
//!
//! Most short stages leave nothing in their workspace, and the ten folders and files of one are
//! what it costs most to make and remove ([`runyard_runtime::Spares`] says why). So they are made in
//! advance; a worker's folder gets its name by a rename, and becomes a spare again if the marks of
//! its workspace show that nothing was done to it. Else it is removed, and another is made, both
//! while nobody waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use fs_err as fs;
use runyard_runtime::workspace::{Marks, Workspace};

use super::folder::{SPACE, WORKER};
use crate::state_dir::is_spare;

/// Spares that are made at the start.
const SPARES_MIN: usize = 16;
/// Spares that are kept.
const SPARES_MAX: usize = 64;

/// The spare folders of one agent.
#[derive(Debug)]
pub(crate) struct SpareSpaces {
    root: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    free: Vec<Spare>,
    /// How many there should be: it grows whenever there was none.
    wanted: usize,
    named: u64,
}

#[derive(Debug)]
struct Spare {
    path: PathBuf,
    marks: Marks,
}

impl SpareSpaces {
    /// Spares below `root`, the folder of all workers' folders. What an earlier agent kept or left
    /// half done there is removed.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if is_spare(&entry.file_name()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let inner = Inner { wanted: SPARES_MIN, ..Inner::default() };
        let this = Self { root: root.to_path_buf(), inner: Mutex::new(inner) };
        this.fill();
        Ok(this)
    }

    /// Gives a spare the name `folder`, with what is wanted of its worker. `None`: there is none,
    /// or none whose marks would show everything.
    pub(super) fn take(&self, folder: &Path, wanted: &[u8]) -> Option<(Workspace, Marks)> {
        let spare = {
            let mut inner = self.lock();
            let now = SystemTime::now();
            let settled = inner.free.iter().position(|spare| spare.marks.are_settled(now));
            let Some(at) = settled else {
                inner.wanted = (inner.wanted + 1).min(SPARES_MAX);
                return None;
            };
            inner.free.remove(at)
        };
        let filled = fs::write(spare.path.join(WORKER), wanted);
        match filled.and_then(|()| fs::rename(&spare.path, folder)) {
            Ok(()) => Some((Workspace::open(&folder.join(SPACE)), spare.marks)),
            Err(_) => {
                let _ = fs::remove_dir_all(&spare.path);
                None
            }
        }
    }

    /// Keeps the folder of a worker that is gone if its workspace still has these marks and nothing
    /// else is in it. False: it is as it was, to be removed.
    pub(super) fn keep(&self, folder: &Path, marks: Marks) -> bool {
        let same = Workspace::open(&folder.join(SPACE)).marks().is_ok_and(|now| now == marks);
        if !same || !holds_no_more(folder).unwrap_or(false) {
            return false;
        }
        // What was wanted of the worker (its environment!) goes now, not when the next one comes.
        if fs::write(folder.join(WORKER), b"").is_err() {
            return false;
        }
        let Some(path) = self.name() else { return false };
        if fs::rename(folder, &path).is_err() {
            return false;
        }
        self.lock().free.push(Spare { path, marks });
        true
    }

    /// Makes as many as are wanted. What can't be made is not there; its worker makes its own, and
    /// says what is wrong.
    pub(crate) fn fill(&self) {
        loop {
            let missing = {
                let inner = self.lock();
                inner.free.len() < inner.wanted
            };
            let Some(path) = missing.then(|| self.name()).flatten() else { return };
            match make(&path) {
                Ok(marks) => self.lock().free.push(Spare { path, marks }),
                Err(_) => {
                    let _ = fs::remove_dir_all(&path);
                    return;
                }
            }
        }
    }

    /// A name for one more.
    fn name(&self) -> Option<PathBuf> {
        let mut inner = self.lock();
        inner.named += 1;
        let name = format!(".spare-{}", inner.named);
        (inner.free.len() < SPARES_MAX).then(|| self.root.join(name))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(path: &Path) -> io::Result<Marks> {
    fs::create_dir(path)?;
    fs::write(path.join(WORKER), b"")?;
    Workspace::create(&path.join(SPACE)).map_err(io::Error::other)?.marks()
}

/// The worker's folder holds its spec, as a file of ours, and its workspace.
fn holds_no_more(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let expected = match name.to_str() {
            Some(WORKER) => entry.file_type()?.is_file(),
            Some(SPACE) => entry.file_type()?.is_dir(),
            _ => false,
        };
        if !expected {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settled(root: &Path) -> SpareSpaces {
        let spares = SpareSpaces::open(root).expect("opened");
        std::thread::sleep(Duration::from_millis(25));
        spares
    }

    fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root).expect("listed");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_untouched_folder_is_used_again_and_knows_nothing_of_the_worker_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let (spares, one) = (settled(dir.path()), dir.path().join("one"));
        assert_eq!(names(dir.path()).len(), SPARES_MIN);
        let (_, marks) = spares.take(&one, b"what was wanted of the first").expect("a spare");
        assert_eq!(names(&one), [SPACE, WORKER]);
        assert!(spares.keep(&one, marks.clone()));
        assert_eq!(names(dir.path()).len(), SPARES_MIN);
        for spare in names(dir.path()) {
            let told = fs::read(dir.path().join(spare).join(WORKER)).expect("read");
            assert_eq!(told, b"", "what was wanted of a worker stays on the disk");
        }
        let two = dir.path().join("two");
        let kept = (0..SPARES_MIN).find_map(|number| {
            let (space, found) = spares.take(&two, b"second").expect("a spare");
            assert_eq!(fs::read(two.join(WORKER)).expect("read"), b"second");
            assert_eq!(names(&space.work()), [""; 0]);
            let same = found == marks;
            fs::rename(&two, dir.path().join(format!("used-{number}"))).expect("renamed");
            same.then_some(())
        });
        kept.expect("the folder of the first is among the spares");
    }

    #[test]
    fn a_folder_that_holds_anything_is_not_kept() {
        type Touch = fn(&Path) -> io::Result<()>;
        let touches: [(&str, Touch); 5] = [
            ("work", |f| fs::write(f.join("space/work/x"), "")),
            ("metrics", |f| fs::write(f.join("space/run/metrics.jsonl"), "{}")),
            ("a result", |f| fs::write(f.join("report"), "")),
            ("a link for the spec", |f| {
                fs::remove_file(f.join(WORKER))?;
                fs::os::unix::fs::symlink("/etc/passwd", f.join(WORKER))
            }),
            ("a file in /tmp that is gone again", |f| {
                fs::write(f.join("space/tmp/x"), "")?;
                fs::remove_file(f.join("space/tmp/x"))
            }),
        ];
        let dir = tempfile::tempdir().expect("a folder");
        for (what, touch) in touches {
            let (spares, folder) = (settled(dir.path()), dir.path().join("one"));
            let (_, marks) = spares.take(&folder, b"x").expect("a spare");
            touch(&folder).expect(what);
            assert!(!spares.keep(&folder, marks), "kept in spite of {what}");
            fs::remove_dir_all(&folder).expect("it is still there");
        }
    }

    #[test]
    fn f24_a_start_clears_away_what_was_spare_and_a_burst_makes_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let spares = settled(dir.path());
        fs::create_dir_all(dir.path().join(".spare-9/half/made")).expect("made");
        fs::create_dir(dir.path().join("train-1")).expect("a worker's");
        drop(spares);
        let spares = settled(dir.path());
        assert_eq!(names(dir.path()).len(), SPARES_MIN + 1, "{:?}", names(dir.path()));
        for number in 0..SPARES_MIN + 3 {
            let got = spares.take(&dir.path().join(number.to_string()), b"x");
            assert_eq!(got.is_some(), number < SPARES_MIN);
        }
        spares.fill();
        let fresh = names(dir.path()).iter().filter(|name| name.starts_with('.')).count();
        assert_eq!(fresh, SPARES_MIN + 3);
    }
}
