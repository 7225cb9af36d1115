//! Tokens, kept as hashes.

use runyard_types::{Digest, TimestampMs};
use serde::{Deserialize, Serialize};

/// A secret that opens something; only its hash is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: String,
    pub kind: TokenKind,
    /// The principal of a user token; a note for a join token.
    pub name: String,
    /// BLAKE3 of the secret.
    pub hash: Digest,
    pub created_at: TimestampMs,
    /// Judged by wall time; `None` never expires.
    pub expires_at: Option<TimestampMs>,
    pub used: bool,
    pub revoked: bool,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    User,
    /// Lets one agent join, once.
    AgentJoin,
}
