//! What namespaces and cgroups give, where they can be had.

mod common;

use common::{Yard, await_output, bytes, ended, records, skipped, text};
use runyard_runtime::cgroup::Layout;
use runyard_runtime::spool::Stream;
use runyard_runtime::{Isolate, Isolation, Limits, PIDS_BY_NAMESPACE_MIN};

#[test]
fn the_probe_says_what_workers_get() {
    let yard = Yard::new();
    let got = Isolation::probe(&yard.launcher, yard.path()).expect("probed");
    eprintln!("{got:?}\n{}", got.promise());
    let (_, status) = yard.run(&yard.script("true"));
    let has = status.isolation.split(' ').any(|w| w == "pid-namespace");
    assert_eq!(got.pid_namespace, has, "{}", status.isolation);
    assert!(got.pid_namespace || !got.missing.is_empty(), "nothing got and nothing said");
    let leftovers = std::fs::read_dir(yard.path()).expect("listed").flatten();
    let leftovers: Vec<_> = leftovers
        .map(|e| e.file_name())
        .filter(|n| n.to_string_lossy().contains("probe"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[test]
fn a_stage_sees_only_its_own_processes_and_tmp() {
    let yard = Yard::new();
    for isolate in [Isolate::Auto, Isolate::User] {
        let tmp = yard.path().join("private");
        let _ = std::fs::create_dir(&tmp);
        let mut spec = yard.script("ls -d /proc/[0-9]* | wc -l; ls -A /tmp; echo x > /tmp/mine; pwd; ls source; ls /dev/shm | wc -l; id -u");
        std::fs::write(yard.path().join("source"), "").expect("written");
        (spec.isolation, spec.tmp, spec.private_shm) = (isolate, Some(tmp.clone()), true);
        let (worker, status) = yard.run(&spec);
        if !status.isolation.contains("private-tmp private-shm")
            || status.isolation.contains("no-private")
        {
            skipped(&format!("namespaces at {isolate:?}: {}", status.isolation));
            continue;
        }
        let seen = text(&worker);
        let lines: Vec<&str> = seen.lines().collect();
        let processes: u32 = lines[0].parse().expect("a number");
        assert!(processes <= 5, "{processes} processes are visible: {seen}");
        let first = yard
            .path()
            .strip_prefix("/tmp")
            .map(|p| p.iter().next().map(|n| n.to_string_lossy().into_owned()));
        let mut expected = Vec::new();
        if let Ok(Some(name)) = &first {
            expected.push(name.as_str());
        }
        let cwd = yard.path().to_string_lossy();
        let uid = nix::unistd::Uid::effective().to_string();
        expected.extend([&*cwd, "source", "0", &*uid]);
        assert_eq!(lines[1..], expected, "{isolate:?}");
        assert!(tmp.join("mine").exists() && !std::path::Path::new("/tmp/mine").exists());
        std::fs::remove_dir_all(&tmp).expect("removed");
    }
}

#[test]
fn f31_out_of_memory_is_told_with_its_peak() {
    let layout = Layout::detect();
    if !layout.limits("memory") {
        return skipped(&format!("oom: no memory cgroup here: {:?}", layout.refused));
    }
    let yard = Yard::new();
    let neighbour = yard.start(&yard.script("sleep 100"));
    let mut spec = yard.script("echo up; exec python3 -c 'x = bytearray(300 << 20)'");
    spec.limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    spec.cgroups = layout.plan(&spec.uid, &spec.limits, false);
    let (worker, status) = yard.run(&spec);
    assert!(status.oom() && !status.success(), "{status:?}");
    assert_eq!(status.signal, Some(9), "{status:?}");
    let peak = status.peak_memory_bytes;
    assert!((60 << 20..=64 << 20).contains(&peak), "peak {peak}");
    assert!(status.isolation.split(' ').any(|w| w == "memory"), "{}", status.isolation);
    assert_eq!(text(&worker), "up\n");
    assert!(neighbour.is_alive().expect("looked"), "the neighbour died");
    for (_, dir) in &spec.cgroups {
        assert!(!dir.exists(), "{} was left", dir.display());
    }
    neighbour.stop(std::time::Duration::ZERO).expect("heard");
    assert!(!ended(&neighbour).oom());
}

#[test]
fn f31_a_fork_bomb_stays_within_its_limit_and_ends() {
    let layout = Layout::detect();
    if !layout.limits("pids") {
        return skipped(&format!("fork bomb: no pids cgroup here: {:?}", layout.refused));
    }
    let yard = Yard::new();
    let mut spec =
        yard.script("echo up; i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; wait");
    spec.limits = Limits { pids: Some(20), ..Limits::default() };
    spec.cgroups = layout.plan(&spec.uid, &spec.limits, false);
    let worker = yard.start(&spec);
    await_output(&worker, "fork");
    let alive = worker.remains().expect("looked").len();
    assert!(alive <= 21, "{alive} processes under a limit of 20");
    worker.stop(std::time::Duration::ZERO).expect("heard");
    ended(&worker);
    let err = bytes(&records(&worker), Some(Stream::Stderr));
    assert!(String::from_utf8_lossy(&err).to_lowercase().contains("fork"));
}

#[test]
fn f31_a_fork_bomb_stays_within_its_pid_namespace_and_no_cgroup_is_made() {
    let yard = Yard::new();
    let got = Isolation::probe(&yard.launcher, yard.path()).expect("probed");
    let host = std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("read");
    for isolate in [Isolate::Auto, Isolate::User] {
        // The inner shell gives up; what it started stays.
        let mut spec = yard.script(
            "sh -c 'i=0; while [ $i -lt 600 ]; do sleep 1000 & i=$((i+1)); done'; echo full; while :; do :; done",
        );
        let limit = PIDS_BY_NAMESPACE_MIN;
        (spec.isolation, spec.limits.pids) = (isolate, Some(limit));
        if !got.pids_by_namespace {
            let status = yard.run(&yard.script("true")).1;
            skipped(&format!("a limit by namespace: {}", status.isolation));
            continue;
        }
        let worker = yard.start(&spec);
        await_output(&worker, "full");
        let alive = worker.remains().expect("looked").len() as u64;
        // The init is not one of the stage's.
        assert!((limit - 10..=limit + 1).contains(&alive), "{alive} processes, {limit} allowed");
        worker.stop(std::time::Duration::ZERO).expect("heard");
        let status = ended(&worker);
        assert!(status.isolation.split(' ').any(|w| w == "pids"), "{}", status.isolation);
    }
    let now = std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("read");
    assert_eq!(now, host, "the host's own limit was changed");
}
