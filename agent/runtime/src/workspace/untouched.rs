//! Whether anything was done to a workspace since it was made, so that it can be another stage's.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Workspace;

/// Two changes of a file so close together may bear the same time: the kernel's clock for them
/// ticks 100 times a second at the least.
const TICK: Duration = Duration::from_millis(20);

/// How the folders and files of a workspace were found.
///
/// What is compared is above all the time of the last change of each inode. The kernel sets it
/// whenever a file is written, renamed, linked, given another mode, owner, attribute, flag or time,
/// and whenever an entry of a folder is made or removed; and nobody can set it back. So equal marks
/// mean that nothing was done here but looking (the time of the last access is not compared).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks(Vec<Mark>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    inode: (u64, u64),
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Workspace {
    /// How its folders and files are now. A link in the place of one is looked at itself.
    pub fn marks(&self) -> io::Result<Marks> {
        let run = self.root.join("run");
        let all = [
            self.root.clone(),
            self.work(),
            self.tmp(),
            run,
            self.results(),
            self.checkpoint(),
            self.metrics(),
            self.output(),
            self.summary(),
        ];
        let marks = all.iter().map(|path| path.symlink_metadata().map(|meta| Mark::of(&meta)));
        marks.collect::<io::Result<_>>().map(Marks)
    }
}

impl Mark {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            inode: (meta.dev(), meta.ino()),
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            links: meta.nlink(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Marks {
    /// True when a change made at `now` or later is certain to show: the last one was so long ago
    /// that it can't have the same time.
    pub fn are_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.iter().all(|mark| {
            let (seconds, nanos) = mark.changed;
            let changed = Duration::new(
                u64::try_from(seconds).unwrap_or(0),
                u32::try_from(nanos).unwrap_or(0),
            );
            // A clock that was set back proves nothing.
            changed + TICK <= now
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn settled(root: &Path) -> (Workspace, Marks) {
        let space = Workspace::create(root).expect("made");
        let marks = space.marks().expect("marks");
        assert!(!marks.are_settled(UNIX_EPOCH), "a clock that was set back");
        while !marks.are_settled(SystemTime::now()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        (space, marks)
    }

    /// Something that a stage can do to its workspace, and undo as well as it can.
    type Touch = fn(&Workspace) -> io::Result<()>;

    #[test]
    fn whatever_a_stage_does_and_undoes_shows() {
        let touches: [(&str, Touch); 12] = [
            ("a file in work", |s| std::fs::write(s.work().join("x"), "")),
            ("a file made and removed in work", |s| {
                std::fs::write(s.work().join("x"), "")?;
                std::fs::remove_file(s.work().join("x"))
            }),
            ("a folder made and removed in /tmp", |s| {
                std::fs::create_dir(s.tmp().join("x"))?;
                std::fs::remove_dir(s.tmp().join("x"))
            }),
            ("a result", |s| std::fs::write(s.results().join("x"), "")),
            ("a checkpoint, removed", |s| {
                std::fs::write(s.checkpoint().join("x"), "")?;
                std::fs::remove_file(s.checkpoint().join("x"))
            }),
            ("metrics, cut off again", |s| {
                std::fs::write(s.metrics(), "{}")?;
                std::fs::write(s.metrics(), "")
            }),
            ("a summary replaced by another empty file", |s| {
                std::fs::write(s.root.join("run/new"), "")?;
                std::fs::rename(s.root.join("run/new"), s.summary())
            }),
            ("a mode, and back", |s| {
                let old = s.work().metadata()?.permissions();
                std::fs::set_permissions(s.work(), PermissionsExt::from_mode(0o700))?;
                std::fs::set_permissions(s.work(), old)
            }),
            ("a time, and back", |s| {
                let (file, meta) = (std::fs::File::open(s.output())?, s.output().metadata()?);
                let old = std::fs::FileTimes::new().set_modified(meta.modified()?);
                file.set_times(std::fs::FileTimes::new().set_modified(UNIX_EPOCH))?;
                file.set_times(old)
            }),
            ("a second name, removed", |s| {
                std::fs::hard_link(s.output(), s.work().join("x"))?;
                std::fs::remove_file(s.work().join("x"))
            }),
            ("a link in the place of a folder", |s| {
                std::fs::remove_dir(s.results())?;
                std::os::unix::fs::symlink("/", s.results())
            }),
            ("something gone", |s| std::fs::remove_file(s.output())),
        ];
        for (number, (what, touch)) in touches.into_iter().enumerate() {
            let dir = tempfile::tempdir().expect("a folder");
            let (space, marks) = settled(&dir.path().join(number.to_string()));
            assert_eq!(space.marks().expect("marks"), marks, "nothing was done");
            touch(&space).expect(what);
            assert_ne!(space.marks().ok().as_ref(), Some(&marks), "{what} does not show");
        }
    }

    #[test]
    fn an_attribute_shows_and_so_do_renames_of_what_lies_around_it_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let around = dir.path().join("a");
        std::fs::create_dir(&around).expect("made");
        let (_, marks) = settled(&around.join("space"));
        std::fs::rename(&around, dir.path().join("b")).expect("renamed");
        let space = Workspace::open(&dir.path().join("b/space"));
        assert_eq!(space.marks().expect("marks"), marks, "only what lies around it was renamed");
        let set = std::process::Command::new("python3")
            .args(["-c", "import os, sys; os.setxattr(sys.argv[1], 'user.x', b'y'); os.removexattr(sys.argv[1], 'user.x')"])
            .arg(space.work())
            .output()
            .expect("python3 runs");
        if !set.status.success() {
            let why = String::from_utf8_lossy(&set.stderr).into_owned();
            return eprintln!("*** skipped: no user attributes here: {why}");
        }
        assert_ne!(space.marks().expect("marks"), marks, "an attribute, set and removed");
    }
}
