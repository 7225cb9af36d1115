//! The service for agents: sessions, heartbeats, seals, live tails.

mod convert;
mod desired;
mod enrol;
mod ingest;
mod seal;
mod service;

pub(crate) use enrol::EnrolService;
pub(crate) use ingest::{ingest_workers, step};
pub(crate) use service::AgentService;
