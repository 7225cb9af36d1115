//! One file per row of the table.

mod blobs;
mod commit;
mod idle;
mod latency;
mod line;
mod logs;
mod profile;
mod start;
mod tasks;

use std::process::ExitCode;

use crate::Failure;
use crate::args::{Args, Row};

/// Measures what was asked for. A row that fails is said and does not keep the others from it.
pub(crate) async fn run(args: &Args) -> ExitCode {
    machine(args);
    let all = [
        Row::Tasks,
        Row::Latency,
        Row::Profile,
        Row::Logs,
        Row::Line,
        Row::Blobs,
        Row::Idle,
        Row::Start,
        Row::Commit,
    ];
    let mut failed = Vec::new();
    for row in all {
        if !args.rows.contains(&Row::All) && !args.rows.contains(&row) {
            continue;
        }
        if let Err(error) = one(row, args).await {
            println!("!! {row:?} failed: {error}");
            failed.push(row);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\n!! not measured: {failed:?}");
    ExitCode::FAILURE
}

async fn one(row: Row, args: &Args) -> Result<(), Failure> {
    match row {
        Row::All => Ok(()),
        Row::Tasks => tasks::measure(args).await,
        Row::Latency => latency::measure(args).await,
        Row::Profile => profile::measure(args).await,
        Row::Logs => logs::measure(args).await,
        Row::Line => line::measure(args).await,
        Row::Blobs => blobs::measure(args).await,
        Row::Idle => idle::measure(args).await,
        Row::Start => start::measure(args).await,
        Row::Commit => commit::measure(args),
    }
}

/// A figure means nothing without its machine.
fn machine(args: &Args) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let cpu = info.lines().find_map(|line| {
        line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    println!(
        "machine: {} × {}, Linux {}, load before {}",
        cores,
        cpu.unwrap_or("unknown CPU"),
        kernel.trim(),
        load.split_whitespace().next().unwrap_or("unknown"),
    );
    println!(
        "measured: {}, medians of {} interleaved rounds (lowest to highest)",
        args.runyard.display(),
        args.rounds
    );
}
