//! Starts real clusters of processes for tests, on free ports, in a temporary directory.
//!
//! The supervisor is the one of `runyard dev`, taken in by its path, so that tests go through what
//! people run. A test names the binary: `Cluster::builder(env!("CARGO_BIN_EXE_runyard"))`.
//!
//! Invariant: nothing here knows the product but by its command line, its files and its services;
//! and whatever becomes of a test, no process of it stays behind.

#[path = "../../../cli/src/commands/dev/cluster/mod.rs"]
#[expect(dead_code, unused_imports, reason = "`dev` and `demo` use more of it than tests do")]
mod cluster;

mod browser;
mod builder;
mod cli;
mod dev;
mod dice;
mod disk;
mod running;
mod wait;

pub use browser::Browser;
pub use builder::Builder;
pub use cli::{Said, write_files};
pub use dev::{Dev, Home};
pub use dice::Dice;
pub use disk::{Disk, Disks, with_disks};
pub use running::Cluster;
pub use wait::{processes_of, skipped, wait_for};

/// The coordinator's name among the processes.
pub const COORDINATOR: &str = cluster::COORDINATOR;
