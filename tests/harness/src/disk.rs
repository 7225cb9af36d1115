//! Small disks: file systems that a test fills, seen by nobody but the test and what it starts.

use std::io::Write;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::skipped;

const NOTHING: Option<&str> = None;

/// The right to mount, in this thread and in the processes that it starts.
#[derive(Debug)]
pub struct Disks(());

/// Runs a test in a thread that has mounts of its own, which end with it and with what it started,
/// however they end. Skipped, loudly, where the kernel does not allow that.
///
/// # Panics
/// When the test does.
pub fn with_disks(test: &str, body: impl FnOnce(&Disks) + Send) {
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(test.to_owned());
        let inside = move || match own_mounts() {
            Ok(()) => body(&Disks(())),
            Err(errno) => skipped(test, &format!("mounts of its own need root: {errno}")),
        };
        thread.spawn_scoped(scope, inside).expect("a thread").join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn own_mounts() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
}

impl Disks {
    /// Puts a disk of so many MiB over a folder, whose files are copied there.
    ///
    /// # Panics
    /// When it can't be mounted.
    pub fn put(&self, over: &Path, mib: u64) -> Disk {
        let aside = over.with_extension("aside");
        std::fs::rename(over, &aside).expect("a folder, and room beside it");
        std::fs::create_dir(over).expect("a folder");
        let data = format!("size={mib}m,mode=0755");
        mount(Some("small"), over, Some("tmpfs"), MsFlags::empty(), Some(data.as_str()))
            .unwrap_or_else(|errno| panic!("a disk over {}: {errno}", over.display()));
        let copied =
            std::process::Command::new("cp").arg("-a").arg(aside.join(".")).arg(over).status();
        assert!(copied.expect("cp starts").success(), "{} does not fit", aside.display());
        Disk { path: over.to_path_buf() }
    }
}

/// A small disk. Dropped, it is gone from its folder, as soon as nobody uses it any more.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Writes a file until nothing more fits.
    ///
    /// # Panics
    /// When writing fails for another reason.
    pub fn fill(&self) {
        let path = self.ballast();
        let mut file = std::fs::File::options().create(true).append(true).open(&path);
        let file = file.as_mut().expect("a file");
        // At last byte by byte, so that not even a small file fits.
        for block in [1 << 20, 4 << 10, 1] {
            let zeros = vec![0; block];
            let full = loop {
                if let Err(error) = file.write_all(&zeros) {
                    break error;
                }
            };
            let kind = full.kind();
            assert_eq!(kind, std::io::ErrorKind::StorageFull, "{}: {full}", path.display());
        }
    }

    /// Takes the file away again.
    ///
    /// # Panics
    /// When it can't be removed.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It goes with the thread's mounts in any case; the folder below can be removed now.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
