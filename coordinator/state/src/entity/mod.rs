//! What the state holds, one entity a file. Passive data; `apply` alone changes it.

mod deployment;
mod model;
mod node;
mod run;
mod task;
mod token;

pub use deployment::{Deployment, PythonEnvironment, Revision, RevisionSpec, RevisionState};
pub use model::{Alias, AliasMove, Model, ModelVersion, VersionStatus};
pub use node::{Eligibility, Liveness, Node, NodeDevice, Used};
pub use run::{GitInfo, Run, RunState, StageProgress};
pub use task::{
    Attempt, GateDecision, GateOutcome, GateVerdict, OutputRoot, ResolvedInput, ResolvedSource,
    Sealed, Stop, Task, TaskResult, TaskState, Worker, WorkerPhase,
};
pub use token::{Token, TokenKind};
