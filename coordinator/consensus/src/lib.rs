//! Replicates bytes for any [`StateMachine`]: raft driver, durable log, snapshots.
//!
//! * [`Core`] decides: a sync state machine around raft-rs, `step(inputs) -> outputs`.
//! * [`Handle`] is the shell around it: a thread each for raft, the log and the state machine.
//! * [`Lockstep`] is the same peer on one thread, for simulations.
//! * The log and the snapshots are files of our own, written through a [`Disk`].
//!
//! Invariant: nothing here knows what the bytes mean, and no type of raft-rs leaves this crate.

mod applier;
mod boot;
mod config;
mod core;
mod disk;
mod error;
mod ids;
mod lockstep;
mod log;
mod machine;
mod members;
mod room;
mod shell;
pub mod sim;
mod snapshot;

pub use boot::{Founding, identity, init};
pub use config::{Config, FatalHook, Transport};
pub use core::{
    Answer, Applicable, Body, Core, CoreConfig, CoreStatus, Envelope, Input, Outputs, Role,
};
pub use disk::{DirLock, Disk, DiskFile, LockError, OsDisk};
pub use error::{CannotApply, Fatal, ProposeError, ReadError, RestoreError, StartError};
pub use ids::{GroupId, Identity, PeerId};
pub use lockstep::{Effects, Lockstep};
pub use machine::{Serialise, StateMachine};
pub use members::Members;
pub use room::DiskState;
pub use shell::{Handle, ProposeDone, ReadDone, Status, start};
pub use snapshot::SnapshotMark;
