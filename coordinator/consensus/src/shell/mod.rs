//! Threads around the core: one for raft, which never blocks, one for the log, one for the state
//! machine. They talk through inboxes and share nothing else.

mod apply_thread;
mod handle;
mod helper;
mod inbox;
mod log_thread;
mod pending;
mod raft_thread;
mod status;

pub use handle::{Handle, start};
pub use pending::{ProposeDone, ReadDone};
pub use status::Status;
