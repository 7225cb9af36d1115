//! Who is let in, for how long, and what strangers can do to the port of a served coordinator.

mod a38_hostile;
mod bounds;
mod clones;
mod gangs;
mod group;
mod lost_logs;
mod newer_log;
mod renewal;
mod revocation;
mod strangers;
