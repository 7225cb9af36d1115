//! What others need for the same work.

mod hyperqueue;
mod limits;

pub(crate) use hyperqueue::HyperQueue;
pub(crate) use limits::{cat_to_file, pipe_latency, shell, timed_shell, xargs};
