//! Folders and files of the host that the stage finds at a place and can't write to.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::mounts::{bind, handle};
use crate::sys;

const NOTHING: Option<&str> = None;

/// One of them, held open: its own path may be covered before it is shown.
#[derive(Debug)]
pub(super) struct Held {
    host: io::Result<File>,
    place: PathBuf,
}

/// Opens them all, each (host path, place).
pub(super) fn open(all: &[(PathBuf, PathBuf)]) -> Vec<Held> {
    let one =
        |(host, place): &(PathBuf, PathBuf)| Held { host: handle(host), place: place.clone() };
    let mut held: Vec<Held> = all.iter().map(one).collect();
    // A parent before what lies in it.
    held.sort_by(|a, b| a.place.cmp(&b.place));
    held
}

/// Shows each at its place, read-only with all that is mounted below it. One that can't be shown so
/// leaves its place as it was, a link to the host's path; the others are shown all the same. The
/// first error.
pub(super) fn show(all: Vec<Held>) -> io::Result<()> {
    let mut result = Ok(());
    for one in all {
        let shown = one.show();
        if result.is_ok() {
            result = shown;
        }
    }
    result
}

impl Held {
    fn show(self) -> io::Result<()> {
        let host = self.host?;
        let is_folder = host.metadata()?.is_dir();
        let link = make_room(&self.place, is_folder)?;
        let shown = bind(&host, &self.place).and_then(|()| {
            let fixed = read_only(&self.place);
            if fixed.is_err() {
                // Better the link that promises nothing than a mount that looks as if it did.
                let _ = umount2(&self.place, MntFlags::MNT_DETACH);
            }
            fixed
        });
        if let (Err(_), Some(to)) = (&shown, link) {
            match is_folder {
                true => std::fs::remove_dir(&self.place)?,
                false => std::fs::remove_file(&self.place)?,
            }
            std::os::unix::fs::symlink(to, &self.place)?;
        }
        shown
    }
}

/// Makes an empty folder or file to mount over, unless there is one. A link is removed, since a
/// mount would go to where it leads; its target is the answer.
fn make_room(place: &Path, folder: bool) -> io::Result<Option<PathBuf>> {
    let link = match place.symlink_metadata() {
        Ok(found) if !found.is_symlink() => return Ok(None),
        Ok(_) => {
            let to = std::fs::read_link(place)?;
            std::fs::remove_file(place)?;
            Some(to)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            None
        }
        Err(e) => return Err(e),
    };
    let made = match folder {
        true => std::fs::create_dir(place),
        false => File::create_new(place).map(drop),
    };
    if let (Err(_), Some(to)) = (&made, &link) {
        std::os::unix::fs::symlink(to, place)?;
    }
    made.map(|()| link)
}

fn read_only(place: &Path) -> io::Result<()> {
    let path = CString::new(place.as_os_str().as_bytes())?;
    // Before Linux 5.12 there is no such call, and a filter may answer for it whatever it likes.
    sys::mount_read_only(&path).or_else(|_| one_by_one(place))
}

/// The same, mount by mount. What else holds for each is said again: left out it would be taken
/// away, and in a user namespace the kernel refuses that (`EPERM`).
fn one_by_one(place: &Path) -> io::Result<()> {
    let place = place.canonicalize()?;
    let table = std::fs::read("/proc/thread-self/mountinfo")?;
    for (point, flags) in table.split(|b| *b == b'\n').filter_map(line) {
        if point.starts_with(&place) {
            let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(NOTHING, &point, NOTHING, flags, NOTHING)?;
        }
    }
    Ok(())
}

/// Where a mount of `/proc/PID/mountinfo` (proc(5)) is, and its own flags. Not by `statvfs`, which
/// asks the file system, and so waits for a server that is gone.
fn line(text: &[u8]) -> Option<(PathBuf, MsFlags)> {
    let mut fields = text.split(|b| *b == b' ');
    let (point, options) = (fields.nth(4)?, fields.next()?);
    let mut flags = MsFlags::empty();
    for option in options.split(|b| *b == b',') {
        flags |= match option {
            b"nosuid" => MsFlags::MS_NOSUID,
            b"nodev" => MsFlags::MS_NODEV,
            b"noexec" => MsFlags::MS_NOEXEC,
            b"noatime" => MsFlags::MS_NOATIME,
            b"nodiratime" => MsFlags::MS_NODIRATIME,
            b"relatime" => MsFlags::MS_RELATIME,
            _ => MsFlags::empty(),
        };
    }
    Some((PathBuf::from(OsString::from_vec(unescaped(point))), flags))
}

/// Blanks, tabs, newlines and backslashes are written there as `\ooo`, in octal.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let octal = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        out.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &rest[4..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read() {
        let text = br"36 35 98:0 /mnt1 /mnt/a\040b\134c rw,nosuid,noexec,noatime master:1 - ext3 /dev/x rw";
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        assert_eq!(line(text), Some((r"/mnt/a b\c".into(), flags)));
        assert_eq!(line(b""), None);
        assert_eq!(unescaped(br"\04"), br"\04");
        assert_eq!(unescaped(br"\777"), br"\777");
    }

    /// In a mount namespace of a thread of its own; nothing of it is seen outside.
    fn apart(test: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            if let Err(e) = unshare(CloneFlags::CLONE_NEWNS) {
                return eprintln!("\n*** skipped: a mount namespace: {e}\n");
            }
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(NOTHING, "/", NOTHING, flags, NOTHING).expect("private");
            test();
        });
        thread.join().expect("it holds");
    }

    fn refused(path: PathBuf) {
        let error = std::fs::write(&path, "x").expect_err("written");
        assert_eq!(error.raw_os_error(), Some(Errno::EROFS as i32), "{}: {error}", path.display());
    }

    #[test]
    fn without_mount_setattr_each_mount_below_is_made_read_only_and_keeps_its_flags() {
        apart(|| {
            let dir = tempfile::tempdir().expect("a folder");
            let (host, place) = (dir.path().join("host"), dir.path().join("a place"));
            std::fs::create_dir_all(host.join("sub")).expect("made");
            std::fs::create_dir(&place).expect("made");
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("x"), &host.join("sub"), Some("tmpfs"), flags, NOTHING).expect("mounted");
            bind(&handle(&host).expect("open"), &place).expect("bound");
            one_by_one(&place).expect("made read-only");
            refused(place.join("x"));
            refused(place.join("sub/x"));
            std::fs::write(host.join("sub/x"), "x").expect("the host's own is as it was");
            let table = std::fs::read("/proc/thread-self/mountinfo").expect("read");
            let point = place.canonicalize().expect("real").join("sub");
            let found = table.split(|b| *b == b'\n').filter_map(line).find(|one| one.0 == point);
            assert!(found.expect("it is there").1.contains(flags), "flags were lost");
        });
    }

    #[test]
    fn what_can_not_be_shown_leaves_the_link_and_the_others_are_shown() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("host")).expect("made");
        std::fs::write(path("file"), "bytes").expect("written");
        for (host, place) in [("host", "a"), ("gone", "b"), ("file", "c")] {
            std::os::unix::fs::symlink(path(host), path(place)).expect("linked");
        }
        // Opened in another mount namespace, from which the kernel lets nobody bind.
        let mut foreign = open(&[(path("host"), path("a"))]);
        let (root, all) =
            (dir.path().to_path_buf(), [(path("gone"), path("b")), (path("file"), path("c"))]);
        apart(move || {
            foreign.extend(open(&all));
            let error = show(foreign).expect_err("a folder of another namespace");
            assert_eq!(error.raw_os_error(), Some(Errno::EINVAL as i32), "{error}");
            for (host, place) in [("host", "a"), ("gone", "b")] {
                let link = std::fs::read_link(root.join(place)).expect("the link is there");
                assert_eq!(link, root.join(host));
            }
            let place = root.join("c");
            assert!(!place.symlink_metadata().expect("there").is_symlink());
            assert_eq!(std::fs::read(&place).expect("read"), b"bytes");
            refused(place);
        });
    }
}
