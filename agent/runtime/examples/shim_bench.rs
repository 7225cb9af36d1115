//! What a shim costs: `/bin/true` at two slots, bare and through shims, and the rate of its log.
//!
//! `cargo run --release -p runyard-runtime --example shim_bench [SHIMS] [MEGABYTES]`

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runyard_runtime::spool::{Body, SpoolReader};
use runyard_runtime::{Isolate, Launcher, Limits, Spares, WorkerDir, WorkerSpec};

const SLOTS: u32 = 2;

/// Microseconds spent in create, launch, wait and remove, over all shims.
static STEPS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

fn main() {
    runyard_runtime::dispatch();
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse::<u32>().ok());
    let (count, megabytes) = (args.next().unwrap_or(1000), args.next().unwrap_or(500));
    let launcher = Launcher::from_this_binary().expect("a launcher");
    let root = tempfile::tempdir().expect("a folder");
    let spares = Spares::open(root.path()).expect("spares");
    let line = |name: &str, rates: &mut Vec<f64>, unit: &str| {
        rates.sort_by(f64::total_cmp);
        let (low, mid, high) = (rates[0], rates[rates.len() / 2], rates[rates.len() - 1]);
        println!("{name:62} {mid:8.0} {unit}   ({low:.0} to {high:.0})");
    };
    let mut bare = Vec::new();
    let mut shims = vec![Vec::new(); 3];
    let kinds = [
        ("no namespaces", Isolate::None, false),
        ("PID and mount namespace", Isolate::Auto, false),
        ("the same, private /tmp and /dev/shm, limit of processes", Isolate::Auto, true),
    ];
    for _ in 0..3 {
        bare.push(rate(count, |_| {
            Command::new("/bin/true").stdin(Stdio::null()).status().expect("true");
        }));
        for (rates, (_, isolate, private)) in shims.iter_mut().zip(kinds) {
            rates.push(rate(count, |n| one(&launcher, &spares, root.path(), n, isolate, private)));
        }
    }
    println!("{count} x /bin/true, {SLOTS} slots (median of 3 interleaved, lowest to highest):");
    line("spawn loop, no shim", &mut bare, "/s");
    for (rates, (name, ..)) in shims.iter_mut().zip(kinds) {
        line(&format!("shim, {name}"), rates, "/s");
    }
    let mean = STEPS.each_ref().map(|s| s.load(Ordering::Relaxed) / u64::from(count * 9));
    println!(
        "mean us of a shim: create {}, launch {}, wait {}, remove {}",
        mean[0], mean[1], mean[2], mean[3]
    );
    println!("{megabytes} MB through shim, spool and a following reader:");
    let blocks = format!("head -c {megabytes}000000 /dev/zero");
    let lines = format!("yes {} | head -c {megabytes}000000", "x".repeat(99));
    // One write call for each line, as a program that flushes every line does.
    let single = format!(
        "exec python3 -c 'import os\nl = b\"x\" * 99 + b\"\\n\"\nfor _ in range({}): os.write(1, l)'",
        megabytes * 10_000
    );
    for (name, script) in [
        ("in blocks", &blocks),
        ("100-byte lines, buffered", &lines),
        ("100-byte lines, one write each", &single),
    ] {
        let mut rates: Vec<f64> = (0..3)
            .map(|_| f64::from(megabytes) / log_seconds(&launcher, root.path(), script))
            .collect();
        line(name, &mut rates, "MB/s");
    }
}

fn rate(count: u32, one: impl Fn(u32) + Sync) -> f64 {
    let next = AtomicU32::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..SLOTS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    one(n);
                }
            });
        }
    });
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// Folder, spec, launch, wait for the end, status, remove: all that an agent does for a task.
fn one(
    launcher: &Launcher,
    spares: &Spares,
    root: &Path,
    n: u32,
    isolation: Isolate,
    private: bool,
) {
    // The agent uses these again, too.
    let tmp = root.join(format!(".tmp-{}", n % 2));
    if private {
        let _ = std::fs::create_dir(&tmp);
    }
    let spec = WorkerSpec {
        uid: format!("w{n}"),
        argv: vec!["/bin/true".into()],
        cwd: "/".into(),
        isolation,
        tmp: private.then(|| tmp.clone()),
        private_shm: private,
        limits: Limits { pids: private.then_some(32_768), ..Limits::default() },
        ..WorkerSpec::default()
    };
    let begin = Instant::now();
    let mut last = Duration::ZERO;
    let mut spent = |step: usize| {
        let now = begin.elapsed();
        STEPS[step].fetch_add((now - last).as_micros() as u64, Ordering::Relaxed);
        last = now;
    };
    let worker = spares.create(&spec).expect("a worker");
    spent(0);
    launcher.launch(worker.path(), &[]).expect("launched");
    spent(1);
    worker.wait(Duration::from_secs(10)).expect("ended");
    spent(2);
    assert!(worker.status().expect("readable").expect("a status").success());
    spares.take_back(&worker).expect("taken back");
    spent(3);
}

fn log_seconds(launcher: &Launcher, root: &Path, script: &str) -> f64 {
    let spec = WorkerSpec {
        uid: "log".into(),
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: vec![("PATH".into(), std::env::var_os("PATH").expect("a PATH"))],
        cwd: "/".into(),
        ..WorkerSpec::default()
    };
    let worker = WorkerDir::create(root, &spec).expect("a worker");
    let begin = Instant::now();
    launcher.launch(worker.path(), &[]).expect("launched");
    let mut watch = runyard_runtime::notify::Watch::new().expect("inotify");
    watch.worker(&worker).expect("watched");
    let mut reader: SpoolReader = worker.output();
    let mut cut = 0;
    while !reader.ended() {
        let records = reader.poll_new(4 << 20).expect("readable");
        for r in &records {
            if let Body::Cut { len, .. } = r.body {
                cut += len;
            }
        }
        let _ = reader.prune(reader.offset());
        if records.is_empty() {
            watch.wait(Duration::from_millis(100)).expect("waited");
            watch.events().expect("read");
        }
    }
    let took = begin.elapsed().as_secs_f64();
    if cut > 0 {
        println!("    the reader fell behind the quota: {cut} bytes were cut");
    }
    worker.wait(Duration::from_secs(10)).expect("ended");
    worker.remove().expect("removed");
    took
}
