//! Commits a second of a group of one on this directory's disk, beside the limit: a bare loop of
//! append and fdatasync of the same bytes. `cargo run --release --example commit_bench [DIR]`
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use runyard_consensus::{
    Config, Founding, GroupId, OsDisk, PeerId, RestoreError, Serialise, StateMachine, init, start,
};

const ENTRY: [u8; 200] = [7; 200];
const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_millis(600);

struct Count(u64);

impl StateMachine for Count {
    type Reply = u64;

    fn apply(&mut self, _: u64, _: &[u8]) -> u64 {
        self.0 += 1;
        self.0
    }

    fn snapshot(&self) -> Serialise {
        let count = self.0;
        Box::new(move || count.to_le_bytes().to_vec())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let bytes = bytes.try_into().map_err(|_| RestoreError("not eight bytes".into()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("commit-bench-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    println!("medians of {ROUNDS} interleaved rounds (lowest to highest)");
    for window in [1, 16, 256] {
        let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // In turns, and who begins alternates: a neighbour's load falls on both. Nothing is
            // deleted until the end, because the file system would work it off during the other.
            let name = |who: &str| dir.join(format!("{who}-{window}-{round}"));
            let (limit, commits) = if round % 2 == 0 {
                let limit = limit(&name("bare"), window)?;
                (limit, commits(&name("ours"), window)?)
            } else {
                let commits = commits(&name("ours"), window)?;
                (limit(&name("bare"), window)?, commits)
            };
            ratios.push(commits.0 / limit.0);
            bare.push(limit);
            ours.push(commits);
        }
        println!("{window} in flight: ratio {}", spread(ratios, 2));
        report("  bare append + fdatasync", bare);
        report("  commits", ours);
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Rates and latencies of all rounds on one line.
fn report(what: &str, rounds: Vec<(f64, f64, f64)>) {
    let column = |pick: fn(&(f64, f64, f64)) -> f64| rounds.iter().map(pick).collect::<Vec<_>>();
    let rate = spread(column(|round| round.0), 0);
    let (p50, p99) = (spread(column(|round| round.1), 2), spread(column(|round| round.2), 2));
    println!("{what}: {rate} entries/s, p50 {p50} ms, p99 {p99} ms");
}

fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (low, middle, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
}

fn percentiles(rate: f64, mut latencies: Vec<Duration>) -> (f64, f64, f64) {
    latencies.sort();
    let at = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_secs_f64() * 1e3;
    (rate, at(50), at(99))
}

/// Waits until what was done before is on the disk.
fn settle(path: &Path) -> std::io::Result<()> {
    let above = path.parent().unwrap_or(path);
    File::open(above)?.sync_all()
}

/// Entries a second of a loop that appends `window` entries and syncs.
fn limit(path: &Path, window: usize) -> std::io::Result<(f64, f64, f64)> {
    let mut file = File::create(path)?;
    file.write_all(&vec![0; 8 << 20])?;
    file.sync_all()?;
    std::io::Seek::rewind(&mut file)?;
    let batch = ENTRY.repeat(window);
    settle(path)?;
    let mut latencies = Vec::new();
    let begin = Instant::now();
    let (mut entries, mut at) = (0, 0);
    while begin.elapsed() < ROUND {
        if at + batch.len() > 8 << 20 {
            std::io::Seek::rewind(&mut file)?;
            at = 0;
        }
        let since = Instant::now();
        file.write_all(&batch)?;
        file.sync_data()?;
        latencies.push(since.elapsed());
        entries += window;
        at += batch.len();
    }
    let rate = entries as f64 / begin.elapsed().as_secs_f64();
    Ok(percentiles(rate, latencies))
}

/// Commits a second with `window` proposals always under way, and their latencies.
fn commits(dir: &Path, window: usize) -> Result<(f64, f64, f64), Box<dyn std::error::Error>> {
    let (group, peer) = (GroupId(1), PeerId(1));
    let config = Config::new(dir.to_owned(), group, peer);
    let segment_bytes = config.segment_bytes;
    init(
        dir,
        &OsDisk,
        &Founding { group, peer, generation: 1, voters: vec![peer], segment_bytes },
    )?;
    let handle = start(config, Arc::new(OsDisk), Count(0))?;
    if !handle.wait_ready(Duration::from_secs(10)) {
        return Err(format!("not ready: {:?}", handle.status()).into());
    }
    settle(dir)?;
    let (done, dones) = mpsc::channel();
    let propose = || {
        let (done, since) = (done.clone(), Instant::now());
        // The receiver lives as long as anybody waits.
        let answer = move |reply| drop(done.send((since.elapsed(), reply)));
        handle.propose(ENTRY.to_vec(), Box::new(answer));
    };
    let begin = Instant::now();
    (0..window).for_each(|_| propose());
    let mut latencies = Vec::new();
    while begin.elapsed() < ROUND {
        let (latency, reply) = dones.recv()?;
        reply?;
        latencies.push(latency);
        propose();
    }
    let rate = latencies.len() as f64 / begin.elapsed().as_secs_f64();
    handle.shutdown();
    Ok(percentiles(rate, latencies))
}
