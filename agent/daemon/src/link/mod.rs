//! The agent's way to its group: joining, the session, heartbeats.

mod channels;
mod convert;
mod heartbeat;
mod hello;
mod join;
mod renew;
mod session;

pub(crate) use channels::Channels;
pub(crate) use heartbeat::{Beat, start as start_heartbeat};
pub(crate) use hello::{Inventory, own_address};
pub(crate) use join::{Joined, identity};
pub(crate) use renew::renew;
pub(crate) use session::{Session, run};
