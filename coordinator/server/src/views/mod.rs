//! The state's entities as users' messages.

mod event;
mod model;
mod node;
mod run;

pub(crate) use event::event;
pub(crate) use model::{deployment, gate, model};
pub(crate) use node::{node, orphan};
pub(crate) use run::{run, run_summary};
