//! Running workers: shim, isolation, environments, workspaces.
//!
//! A worker is a folder ([`WorkerDir`]) with a [`WorkerSpec`], a [`spool`], a lock and, at the end,
//! an [`ExitStatus`]. Its shim owns its processes, and outlives the agent; [`Launcher`] starts it.
//! [`environment`] builds what a stage's code needs, [`workspace`] the folders it works in, and
//! takes its outputs.
//!
//! Invariant: nothing here uses an async runtime, and nothing on the shim's way does more than
//! std and nix can.

pub mod cgroup;
pub mod clock;
pub mod environment;
mod isolation;
mod launcher;
pub mod notify;
mod processes;
mod secrets;
mod shim;
mod spec;
pub mod spool;
mod status;
mod sys;
mod worker;
pub mod workspace;
mod zygote;

pub use isolation::{Isolation, PIDS_BY_NAMESPACE_MIN, ProbeError};
pub use launcher::{LaunchError, Launcher};
pub use processes::{MARK, Remain};
pub use spec::{Isolate, Limits, SpecError, SpoolLimits, User, WorkerSpec};
pub use status::{ExitStatus, Reason, StatusError};
pub use worker::{ShimAnswer, Spares, State, WorkerDir, WorkerError, sync_file_system};
pub use zygote::dispatch;
