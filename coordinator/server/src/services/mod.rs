//! The services for users.

mod fleet;
mod lineage;
mod logs;
mod metrics;
mod models;
mod names;
mod plan;
mod runs;
mod submit;
mod watch;
mod why;

pub(crate) use fleet::FleetService;
pub(crate) use models::ModelsService;
pub(crate) use runs::RunsService;
