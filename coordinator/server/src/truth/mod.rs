//! The replicated state as the rest of the server sees it: read a view, propose commands, watch.

mod machine;
mod proposer;
mod reserve;

pub(crate) use machine::{Machine, Published};
pub(crate) use proposer::{Denied, Truth};
