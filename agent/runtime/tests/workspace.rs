//! Inputs in, outputs out, and nothing from outside the workspace.

use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use runyard_runtime::workspace::{Bounds, CollectError, Collected, Entry, Workspace};

fn space() -> (tempfile::TempDir, Workspace) {
    let root = tempfile::tempdir().expect("a folder");
    let space = Workspace::create(&root.path().join("w")).expect("a workspace");
    (root, space)
}

fn collect(space: &Workspace, path: &str) -> Result<(Vec<String>, Collected), CollectError> {
    let mut seen = Vec::new();
    let found = space.collect("model", path, &Bounds::default(), |entry| {
        seen.push(match entry {
            Entry::Folder { path } => format!("{path}/"),
            Entry::File { path, mut file, executable, .. } => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                format!("{path}{}={text}", if executable { "*" } else { "" })
            }
        });
        Ok(())
    })?;
    Ok((seen, found))
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    std::fs::write(path, text).expect("written");
}

#[test]
fn files_and_folders_come_out_in_order() {
    let (_root, space) = space();
    let out = space.work().join("out");
    write(&out.join("b/x"), "1");
    write(&out.join("a"), "22");
    std::fs::create_dir(out.join("empty")).expect("made");
    std::fs::set_permissions(out.join("a"), std::fs::Permissions::from_mode(0o755)).expect("set");
    let (seen, found) = collect(&space, "./out/").expect("collected");
    assert_eq!(seen, ["a*=22", "b/", "b/x=1", "empty/"]);
    assert_eq!(found, Collected { files: 2, folders: 2, bytes: 3, is_file: false });
    let (seen, found) = collect(&space, "out/b/x").expect("collected");
    assert_eq!((seen, found.is_file), (vec!["=1".to_string()], true));
}

#[test]
fn a13_what_is_no_file_is_refused_by_name() {
    let (root, space) = space();
    let work = space.work();
    let secret = root.path().join("secret");
    write(&secret.join("key"), "s3cret");
    let refused = |name: &str, kind: &str, make: &dyn Fn(&Path)| {
        let bad = work.join("out").join(name);
        std::fs::create_dir_all(work.join("out")).expect("made");
        make(&bad);
        // As a part of the output, and as the output itself.
        for path in ["out".to_string(), format!("out/{name}")] {
            let said = collect(&space, &path).expect_err(name).to_string();
            let part = format!("`out/{name}` is {kind}");
            assert!(said.contains(&part) && said.contains("`model`"), "{said}");
        }
        std::fs::remove_file(&bad).expect("removed");
    };
    refused("link", "a symbolic link", &|p| symlink(&secret, p).expect("made"));
    refused("inner", "a symbolic link", &|p| symlink("../x", p).expect("made"));
    refused("proc", "a symbolic link", &|p| symlink("/proc/1/root", p).expect("made"));
    refused("fifo", "a FIFO", &|p| {
        nix::unistd::mkfifo(p, nix::sys::stat::Mode::S_IRWXU).expect("made");
    });
    refused("socket", "a socket", &|p| {
        std::os::unix::net::UnixListener::bind(p).expect("made");
    });
    symlink(&secret, work.join("way")).expect("made");
    let said = collect(&space, "way/key").expect_err("a link on the way").to_string();
    assert!(said.contains("`way` is a symbolic link"), "{said}");
    for (path, why) in [
        ("/etc", "absolute"),
        ("../secret", ".."),
        ("a/../..", ".."),
        ("", "empty"),
        ("a\0b", "NUL"),
    ] {
        let said = collect(&space, path).expect_err(path).to_string();
        assert!(said.contains(why), "{path}: {said}");
    }
}

#[test]
fn a_missing_output_is_named() {
    let (_root, space) = space();
    for path in ["out", "a/b/c"] {
        let said = collect(&space, path).expect_err("missing").to_string();
        assert!(said.contains("`model` is missing") && said.contains(path), "{said}");
    }
}

#[test]
fn a13_a_folder_swapped_for_a_link_while_collecting_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (root, space) = space();
    let outside = root.path().join("outside");
    write(&outside.join("f"), "OUTSIDE");
    let out = space.work().join("out");
    write(&out.join("d/f"), "inside");
    symlink(&outside, out.join(".link")).expect("made");
    let (d, link) = (out.join("d"), out.join(".link"));
    let stop = AtomicBool::new(false);
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while !stop.load(Ordering::Relaxed) && std::time::Instant::now() < end {
                let flag = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                let here = nix::fcntl::AT_FDCWD;
                nix::fcntl::renameat2(here, &d, here, &link, flag).expect("exchanged");
            }
        });
        for _ in 0..3000 {
            match collect(&space, "out/d") {
                Ok((seen, _)) => {
                    assert_eq!(seen, ["f=inside"], "read from outside");
                    inside += 1;
                }
                Err(CollectError::Refused { .. }) => refused += 1,
                Err(CollectError::Io { source, .. })
                    if source.kind() != io::ErrorKind::PermissionDenied =>
                {
                    refused += 1
                }
                Err(e) => panic!("{e}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(inside > 0 && refused > 0, "{inside} inside, {refused} refused: no race was run");
}

#[test]
fn bounds_hold() {
    let (_root, space) = space();
    for n in 0..20 {
        write(&space.work().join(format!("out/d/f{n}")), "12345");
    }
    let said = |bounds: Bounds| {
        space.collect("model", "out", &bounds, |_| Ok(())).expect_err("over").to_string()
    };
    let all = Bounds::default();
    assert!(said(Bounds { entries: 10, ..all }).contains("more than 10 files"));
    assert!(said(Bounds { bytes: 99, ..all }).contains("more than 99 bytes"));
    assert!(said(Bounds { depth: 0, ..all }).contains("more than 0 levels"));
}

#[test]
fn inputs_are_copies_and_follow_no_link() {
    let (root, space) = space();
    let cache = root.path().join("cache");
    write(&cache.join("sub/x"), "data");
    write(&cache.join("run.sh"), "#!/bin/sh");
    std::fs::set_permissions(cache.join("run.sh"), std::fs::Permissions::from_mode(0o555))
        .expect("set");
    let placed = space.place(&cache, "data/in").expect("placed");
    assert_eq!((placed.files, placed.bytes), (2, 13));
    let copy = space.work().join("data/in/run.sh");
    assert_eq!(copy.metadata().expect("there").nlink(), 1, "a hard link leads back into the cache");
    assert_eq!(copy.metadata().expect("there").permissions().mode() & 0o777, 0o755);
    std::fs::write(space.work().join("data/in/sub/x"), "changed").expect("a stage may write");
    assert_eq!(std::fs::read_to_string(cache.join("sub/x")).expect("read"), "data");
    space.place(&cache.join("sub/x"), "one").expect("a single file");
    // The code snapshot may contain links; inputs do not go through them.
    symlink(root.path(), space.work().join("link")).expect("made");
    let said = space.place(&cache, "link/in").expect_err("through a link").to_string();
    assert!(said.contains("link/in") && !root.path().join("in").exists(), "{said}");
    assert!(space.place(&cache, "../x").is_err() && space.place(&cache, "/x").is_err());
}
