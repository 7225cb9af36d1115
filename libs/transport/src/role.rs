//! What a certificate of the group is for: an agent's or a peer's, told by a URI in its SAN.

use std::fmt;

use runyard_types::NodeName;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// Whom a client certificate stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The agent of a node: `runyard://agent/NODE`.
    Agent(NodeName),
    /// A coordinator of the group: `runyard://peer/ID`.
    Peer(u64),
}

/// Why a certificate has no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// The bytes are no certificate.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// There is not exactly one URI among the names.
    #[error("the certificate names {0} roles where one is due")]
    Count(usize),
    /// The URI is not one of ours.
    #[error("the certificate is for `{0}`, which is neither an agent nor a peer")]
    Unknown(String),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(node) => write!(f, "runyard://agent/{node}"),
            Self::Peer(id) => write!(f, "runyard://peer/{id}"),
        }
    }
}

impl Role {
    /// The role that `certificate` names. Whether it may be believed is for the verifier to say.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, RoleError> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| RoleError::Unreadable)?;
        let names = parsed.subject_alternative_name().map_err(|_| RoleError::Unreadable)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        match uris.as_slice() {
            [uri] => Self::parse(uri),
            _ => Err(RoleError::Count(uris.len())),
        }
    }

    fn parse(uri: &str) -> Result<Self, RoleError> {
        let unknown =
            || RoleError::Unknown(uri.chars().take(120).flat_map(char::escape_default).collect());
        match uri.strip_prefix("runyard://").and_then(|rest| rest.split_once('/')) {
            Some(("agent", node)) => NodeName::new(node).map(Self::Agent).map_err(|_| unknown()),
            Some(("peer", id)) => id.parse().map(Self::Peer).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in [Role::Agent(NodeName::new("gpu-7").expect("a name")), Role::Peer(u64::MAX)] {
            assert_eq!(Role::parse(&role.to_string()), Ok(role));
        }
    }

    #[test]
    fn a20_other_uris_are_no_role() {
        for bad in [
            "runyard://agent/",
            "runyard://agent/../peer/1",
            "runyard://agent/a/b",
            "runyard://user/ann",
            "runyard://peer/-1",
            "RUNYARD://agent/gpu",
            "https://agent/gpu",
            "runyard:agent/gpu",
        ] {
            assert!(matches!(Role::parse(bad), Err(RoleError::Unknown(_))), "{bad}");
        }
    }
}
