//! Environments, built offline from wheels made here.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use runyard_runtime::environment::{EnvironmentError, EnvironmentSpec, Environments};

/// A wheel without dependencies; its one module says `WORD`.
fn wheel(dir: &Path) {
    const SCRIPT: &str = r#"
import sys, zipfile
name = sys.argv[1] + "/yardling-1.0-py3-none-any.whl"
info = "yardling-1.0.dist-info/"
with zipfile.ZipFile(name, "w") as z:
    z.writestr("yardling.py", "WORD = 'hello'\n")
    z.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: yardling\nVersion: 1.0\n")
    z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(info + "RECORD", "")
"#;
    let status = Command::new("python3").args(["-c", SCRIPT]).arg(dir).status().expect("python3");
    assert!(status.success());
}

fn requirements(dir: &Path, text: &str) -> EnvironmentSpec {
    let text = format!("--no-index\n--find-links {}\n{text}\n", dir.display());
    EnvironmentSpec { requirements: text.into_bytes(), ..EnvironmentSpec::default() }
}

#[test]
fn one_is_built_once_shared_pinned_and_evicted() {
    let root = tempfile::tempdir().expect("a folder");
    wheel(root.path());
    let cache = Environments::new(root.path().join("cache"));
    let spec = requirements(root.path(), "yardling==1.0");
    let builds = std::sync::atomic::AtomicU32::new(0);
    let built: Vec<_> = std::thread::scope(|scope| {
        let one = || {
            let mut said = String::new();
            let built = cache.get(&spec, |line| {
                said.push_str(line);
                said.push('\n');
                ControlFlow::Continue(())
            });
            let built = built.expect("built");
            if !built.cached {
                builds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                assert!(said.contains("yardling"), "the build's log: {said}");
            }
            built
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect()
    });
    assert_eq!(builds.into_inner(), 1, "built more than once");
    let env = &built[0];
    let script = "import yardling, sys; print(yardling.WORD, sys.prefix, yardling.__cached__)";
    let out =
        Command::new(env.path.join("bin/python")).args(["-c", script]).output().expect("runs");
    let out = String::from_utf8(out.stdout).expect("text");
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words[..2], ["hello", &*env.path.to_string_lossy()]);
    assert!(Path::new(words[2]).exists(), "not byte-compiled: {out}");

    let kept = cache.evict(0).expect("evicted");
    assert!(kept.keys.is_empty() && kept.left_bytes > 10_000, "a pinned one went: {kept:?}");
    let key = env.key.clone();
    drop(built);
    let gone = cache.evict(0).expect("evicted");
    assert_eq!((gone.keys, gone.left_bytes), (vec![key], 0));
    assert!(!cache.get(&spec, |_| ControlFlow::Continue(())).expect("built again").cached);
}

#[test]
fn a_failure_carries_the_end_of_the_output_and_leaves_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let cache = Environments::new(root.path().join("cache"));
    let spec = requirements(root.path(), "no-such-package==9");
    let error = cache.get(&spec, |_| ControlFlow::Continue(())).expect_err("no such package");
    let said = error.to_string();
    assert!(
        said.contains("no-such-package") && said.contains("install -r requirements.txt"),
        "{said}"
    );
    let left = std::fs::read_dir(root.path().join("cache")).expect("listed").flatten();
    assert_eq!(left.filter(|e| e.path().is_dir()).count(), 0, "half an environment was left");
}

/// A source package whose build says so, and then prints nothing more for a long time.
fn slow(dir: &Path) -> EnvironmentSpec {
    let package = dir.join("slow");
    std::fs::create_dir(&package).expect("made");
    let project =
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n";
    std::fs::write(package.join("pyproject.toml"), project).expect("written");
    let begun = dir.join("begun").display().to_string();
    let backend =
        format!("import pathlib, time\npathlib.Path(r'{begun}').write_text('')\ntime.sleep(6)\n");
    std::fs::write(package.join("backend.py"), backend).expect("written");
    requirements(dir, &package.display().to_string())
}

#[test]
fn a_silent_build_is_called_off_with_all_that_it_started() {
    let root = tempfile::tempdir().expect("a folder");
    let (cache, spec) = (Environments::new(root.path().join("cache")), slow(root.path()));
    let begun = root.path().join("begun");
    let mut said = String::new();
    let error = cache.get(&spec, |line| {
        said.push_str(line);
        if begun.exists() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(error, Err(EnvironmentError::Cancelled { .. })), "{error:?}\n{said}");
    let folder = root.path().display().to_string();
    let ours = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&folder))
    };
    let left = std::fs::read_dir("/proc").expect("listed").flatten().filter(ours).count();
    assert_eq!(left, 0, "processes of the build are left");
}

#[test]
fn f24_nobody_rebuilds_beside_the_build_of_a_killed_agent() {
    let root = tempfile::tempdir().expect("a folder");
    let (cache, spec) = (root.path().join("cache"), slow(root.path()));
    let begun = root.path().join("begun");
    // This test again, as the agent that is killed.
    if let Some(dir) = std::env::var_os("KILLED_BUILDER") {
        let dir = Path::new(&dir);
        let text = std::fs::read(dir.join("requirements")).expect("the spec");
        let spec = EnvironmentSpec { requirements: text, ..EnvironmentSpec::default() };
        let _ = Environments::new(dir.join("cache")).get(&spec, |_| ControlFlow::Continue(()));
        return;
    }
    std::fs::write(root.path().join("requirements"), &spec.requirements).expect("written");
    let mut builder = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "f24_nobody_rebuilds_beside_the_build_of_a_killed_agent"])
        .env("KILLED_BUILDER", root.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !begun.exists() {
        assert!(std::time::Instant::now() < deadline, "the build never began");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    builder.kill().expect("killed");
    builder.wait().expect("gone");
    let half = std::fs::read_dir(&cache).expect("listed").flatten().map(|e| e.path());
    let half = half.into_iter().find(|path| path.is_dir()).expect("half an environment");
    let made = || half.join("pyvenv.cfg").metadata().and_then(|file| file.modified()).ok();
    let (before, mut waited) = (made(), 0);
    assert!(before.is_some(), "the first build made none");
    let error = Environments::new(cache).get(&spec, |line| {
        waited += u32::from(line.is_empty());
        if waited >= 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(error, Err(EnvironmentError::Cancelled { .. })), "{error:?}");
    // The orphan's lock is held: one that builds now would have begun by removing what is there.
    assert_eq!(made(), before, "two builds wrote into one folder");
}
