//! Ports that were taken once and stay the same, so that a restarted process is found again.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ClusterError, replace};

/// The ports of a cluster; 0: not chosen yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) coordinator: u16,
    pub(super) gateways: BTreeMap<String, u16>,
}

impl Ports {
    pub(super) fn load(path: &Path) -> Result<Self, ClusterError> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| ClusterError::Damaged {
                path: path.to_owned(),
                why: error.to_string(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ClusterError::io("read", path)(error)),
        }
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), ClusterError> {
        let text = serde_json::to_string(self).expect("names and numbers are JSON");
        replace(path, &text)
    }
}

/// A port that nobody has now.
pub(super) fn free(ip: IpAddr) -> std::io::Result<u16> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?.port())
}
