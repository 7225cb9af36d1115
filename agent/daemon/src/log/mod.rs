//! Logs and metrics on their way to the store: sealed in segments, and live while somebody reads.

mod follow;
mod series;
mod ship;
mod tail;

pub(crate) use follow::{close, follow};
pub(crate) use series::follow as follow_metrics;
pub(crate) use tail::tail;
