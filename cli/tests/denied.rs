//! A41: folders and keys that this user may not use are named, with whose they are and what to do. The
//! binary runs as a user who is not root: as nobody where the tests run as root.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_runyard");
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A folder that everybody may look into, and a way to run the binary there as somebody without rights.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// `None`, said loudly: nobody can be nobody here.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        set_mode(folder.path(), 0o755);
        let place = Self { folder };
        let version = place.run(&["version"]);
        if version.status.success() {
            return Some(place);
        }
        let why = String::from_utf8_lossy(&version.stderr);
        eprintln!("\n*** skipped: the binary cannot be run as another user: {why}\n");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.arg("20");
        if is_root() {
            let id = NOBODY.to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
        }
        command.arg(BINARY).args(arguments).current_dir(self.folder.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path()).stdin(Stdio::null());
        command.output().expect("`timeout` is there")
    }

    /// The binary refuses, and says all of `parts` and a remedy.
    #[track_caller]
    fn refused(&self, arguments: &[&str], parts: &[&str]) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!output.status.success(), "it did not refuse {arguments:?}: {said}");
        assert_ne!(output.status.code(), Some(124), "it hung: {said}");
        for part in parts.iter().chain(&[if is_root() { "chown -R 65534" } else { "chmod" }]) {
            assert!(said.contains(part), "`{part}` is missing in: {said}");
        }
    }

    /// A group that the user who runs the binary made.
    fn group(&self) -> String {
        let open = self.path("open");
        std::fs::create_dir(&open).expect("made");
        give(&open);
        let dir = open.join("server").display().to_string();
        let made = self.run(&["server", "init", "--dir", &dir]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        dir
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
}

/// Makes it the user's who runs the binary.
fn give(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
}

/// Takes it from that user: root's alone, or shut.
fn take(path: &Path) {
    if is_root() {
        chown(path, Some(0), Some(0)).expect("root may");
    }
    set_mode(path, if is_root() { 0o700 } else { 0o000 });
}

fn give_back(path: &Path, mode: u32) {
    set_mode(path, mode);
    give(path);
}

#[test]
fn a41_a_folder_that_cannot_be_made_is_named_with_its_owner() {
    let Some(place) = Place::new() else { return };
    let shut = place.path("shut");
    std::fs::create_dir(&shut).expect("made");
    set_mode(&shut, 0o555);
    let below = shut.join("new").display().to_string();
    let owner = format!("`{}` belongs to uid", shut.display());
    for arguments in
        [&["server", "init", "--dir", &below][..], &["agent", "--dir", &below, "--node", "n"]]
    {
        place.refused(arguments, &[&below, &owner, "--dir"]);
    }
    set_mode(&shut, 0o755);
}

#[test]
fn a41_a_group_of_somebody_else_is_not_taken_for_none() {
    let Some(place) = Place::new() else { return };
    let dir = place.group();
    let path = Path::new(&dir);
    take(path);
    let owner = format!("`{dir}` belongs to uid");
    place.refused(&["server", "--dir", &dir, "--listen", "127.0.0.1:0"], &[&owner]);
    give_back(path, 0o700);
}

#[test]
fn a41_keys_and_folders_of_a_group_that_cannot_be_used_are_named() {
    let Some(place) = Place::new() else { return };
    let dir = place.group();
    for (name, mode) in [("ca.key", 0o600), ("group.json", 0o600), ("raft", 0o700)] {
        let path = Path::new(&dir).join(name);
        take(&path);
        let owner = format!("`{}` belongs to uid", path.display());
        place.refused(&["server", "--dir", &dir, "--listen", "127.0.0.1:0"], &[&owner]);
        give_back(&path, mode);
    }
    // One that everybody may read was perhaps read already.
    let key = Path::new(&dir).join("ca.key");
    set_mode(&key, 0o644);
    let output = place.run(&["server", "--dir", &dir, "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    for part in ["ca.key", "0644", "chmod 600"] {
        assert!(said.contains(part), "`{part}` is missing in {said}");
    }
}

#[test]
fn a41_an_agents_identity_that_cannot_be_read_is_named() {
    let Some(place) = Place::new() else { return };
    let dir = place.path("agent");
    std::fs::create_dir(&dir).expect("made");
    give(&dir);
    let identity = dir.join("identity.pem");
    std::fs::write(&identity, "not looked at").expect("written");
    take(&identity);
    let owner = format!("`{}` belongs to uid", identity.display());
    let text = dir.display().to_string();
    place.refused(&["agent", "--dir", &text, "--node", "n"], &[&owner]);
}
