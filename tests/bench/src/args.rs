//! What is measured, with what.

use std::path::PathBuf;

use clap::ValueEnum;

/// Figures of Runyard beside those of peers and limits.
#[derive(Debug, clap::Parser)]
#[command(name = "runyard-bench")]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    pub(crate) rows: Vec<Row>,
    /// The program to measure, built with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/runyard")]
    pub(crate) runyard: PathBuf,
    /// A Python that has `hyperqueue`
    #[arg(long, value_name = "PATH", default_value = "python3", env = "RUNYARD_BENCH_HQ")]
    pub(crate) hq: PathBuf,
    /// Where clusters and files lie, not below /tmp [default: beside the measured program]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Repetitions of each pair
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Tasks in one matrix, for `tasks`; may be repeated
    #[arg(long = "tasks", value_name = "N", default_values_t = [1_000, 4_000])]
    pub(crate) tasks: Vec<usize>,
    /// Repetitions of one task on an idle cluster, for `latency`
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) submissions: usize,
    /// Bytes written to a log, in MiB, for `logs`
    #[arg(long, value_name = "MIB", default_value_t = 1_024)]
    pub(crate) log_mib: u64,
    /// Bytes published and fetched, in MiB, for `blobs`
    #[arg(long, value_name = "MIB", default_value_t = 4_096)]
    pub(crate) blob_mib: u64,
    /// Seconds of idleness, for `idle`
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) idle: u64,
    /// Keep the cluster's directory, for looking at it
    #[arg(long)]
    pub(crate) keep: bool,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    All,
    /// Many tasks of /bin/true in one matrix
    Tasks,
    /// Submission to process started, on an idle cluster
    Latency,
    /// Where the time of one task goes
    Profile,
    /// 100-byte lines through shim, spool, seal and a following reader
    Logs,
    /// A line written to the same line read
    Line,
    /// Publish and fetch
    Blobs,
    /// Memory and CPU with nothing to do
    Idle,
    /// Started to serving
    Start,
    /// Commits of a group of one
    Commit,
}
