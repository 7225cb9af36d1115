//! Logs: sealed segments and the live end, joined by offset.

mod reader;
mod tails;

pub(crate) use reader::{LogPlan, follow};
pub(crate) use tails::Tails;
