//! What all parts of a coordinator share.

use std::path::PathBuf;
use std::sync::Arc;

use runyard_blobs::LocalStore;
use runyard_transport::ca::Ca;

use crate::live::Live;
use crate::logs::Tails;
use crate::readmodel::ReadModel;
use crate::truth::Truth;

/// Handles to everything; cloned freely.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    pub(crate) truth: Truth,
    pub(crate) live: Arc<Live>,
    pub(crate) store: Arc<LocalStore>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) read_model: Arc<ReadModel>,
    pub(crate) group: Arc<Group>,
}

/// Who this coordinator is.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) ca: Ca,
    pub(crate) id: String,
    pub(crate) peer: u64,
    pub(crate) generation: u64,
    /// Addresses under which users and agents reach the group.
    pub(crate) addresses: Vec<String>,
    pub(crate) page: String,
    /// The program to start for a gate's statistics; it is this one.
    pub(crate) program: PathBuf,
    pub(crate) started_ms: u64,
}
