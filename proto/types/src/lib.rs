//! Ids, units and messages that every room shares and that outlive a process.
//!
//! Invariant: nothing here reads a clock, a file, the network or a random source.

mod codec;
mod digest;
mod ids;
mod keys;
mod resources;
mod status;
mod units;

pub use codec::{DecodeError, decode, encode};
pub use digest::{Digest, DigestError};
pub use ids::{
    AliasName, DeploymentName, IdError, ModelName, Name, NodeName, PipelineName, ProjectName,
    StageName, Uid,
};
pub use keys::{AttemptKey, KeyError, Parent, RunName, TaskKey, WorkerKey};
pub use resources::{DeviceMemory, GpuRequest, Launch, Resources};
pub use status::{Cause, ExitReport, Outcome};
pub use units::{ByteSize, CpuMilli, DurationMs, GpuMilli, TimestampMs, UnitError};
