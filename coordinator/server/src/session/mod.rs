//! The service for agents: sessions, heartbeats, seals, live tails.

mod clones;
mod convert;
pub(crate) mod desired;
mod enrol;
mod ingest;
mod leaving;
mod lost;
mod orphans;
mod probation;
mod push;
mod seal;
mod service;

pub(crate) use enrol::EnrolService;
pub(crate) use ingest::{ingest_workers, step};
pub(crate) use service::AgentService;
