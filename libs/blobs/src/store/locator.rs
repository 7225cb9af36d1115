//! Where a published root's chunks lie, so that a reader goes straight to the packs.

use std::collections::BTreeMap;

use runyard_types::{DecodeError, Digest};
use serde::{Deserialize, Serialize};

/// A chunk's place in a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    pub chunk: Digest,
    /// Bytes from the beginning of the pack.
    pub offset: u32,
    /// Bytes as stored.
    pub length: u32,
}

/// The places of all chunks of a root, by pack (in hexadecimal), in the order in which they lie there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locator {
    pub version: u32,
    pub packs: BTreeMap<String, Vec<Located>>,
}

impl Locator {
    /// Its bytes, for [`crate::LocalStore::put_blob`].
    pub fn encode(&self) -> Vec<u8> {
        runyard_types::encode(self)
    }
    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        runyard_types::decode("a locator", bytes)
    }
}
