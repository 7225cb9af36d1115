//! The agent's way to its group: joining, the session, heartbeats.

mod convert;
mod heartbeat;
mod hello;
mod join;
mod session;

pub(crate) use heartbeat::{Beat, start as start_heartbeat};
pub(crate) use hello::{Inventory, own_address};
pub(crate) use join::{Joined, identity};
pub(crate) use session::{Session, run};
