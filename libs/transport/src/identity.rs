//! Keys with their certificates: a server's or peer's in memory, an agent's in its file.

use std::fmt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use runyard_types::NodeName;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::pem::{self, PemError};
use crate::{Role, RoleError, SecretFileError, read_secret, write_secret};

/// What an agent's or peer's identity was refused for.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file could not be read or written, or is too open.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file is not what was written.
    #[error("the identity in `{path}` is unusable; remove it and join again with a fresh token")]
    Damaged {
        path: String,
        #[source]
        source: PemError,
    },
    /// The certificate is not an agent's.
    #[error("the certificate is not an agent's")]
    Role(#[from] RoleError),
    /// The certificate is a peer's, not an agent's.
    #[error("the certificate is for `{0}`, not for an agent")]
    NotAnAgent(Role),
    /// The certificate was made for another key.
    #[error("the certificate does not fit the key that it was asked for with")]
    OtherKey,
    /// A key could not be made or used.
    #[error("cannot make a key or a signing request")]
    Key(#[source] rcgen::Error),
}

/// What a server shows: its chain (leaf first, the group's CA last) and its key, and whose client
/// certificates it takes.
pub struct TlsIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// CAs whose client certificates are taken; more than one while a CA is being replaced.
    pub client_roots: Vec<CertificateDer<'static>>,
}

impl Clone for TlsIdentity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            client_roots: self.client_roots.clone(),
        }
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// An agent's private key, before it has a certificate. It never leaves its node.
pub struct AgentKey(KeyPair);

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentKey(..)")
    }
}

impl AgentKey {
    /// A fresh ECDSA P-256 key.
    pub fn generate() -> Result<Self, IdentityError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(IdentityError::Key)
    }

    /// A signing request (PKCS #10, DER) that proves possession of the key and asks for nothing
    /// else: the name in the certificate is the coordinator's to give.
    pub fn signing_request(&self) -> Result<Vec<u8>, IdentityError> {
        CertificateParams::default()
            .serialize_request(&self.0)
            .map(|request| request.der().to_vec())
            .map_err(IdentityError::Key)
    }

    /// Puts the key and the certificate made for it together.
    pub fn with_certificate(
        self,
        certificate: CertificateDer<'static>,
        ca: CertificateDer<'static>,
    ) -> Result<AgentIdentity, IdentityError> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|_| RoleError::Unreadable)?;
        if parsed.public_key().subject_public_key.as_ref() != self.0.public_key_raw() {
            return Err(IdentityError::OtherKey);
        }
        AgentIdentity::new(PrivatePkcs8KeyDer::from(self.0).into(), certificate, ca)
    }
}

/// An agent's key, its certificate and the CA of its group.
pub struct AgentIdentity {
    node: NodeName,
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
}

impl fmt::Debug for AgentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentIdentity").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Clone for AgentIdentity {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            key: self.key.clone_key(),
            certificate: self.certificate.clone(),
            ca: self.ca.clone(),
        }
    }
}

impl AgentIdentity {
    fn new(
        key: PrivateKeyDer<'static>,
        certificate: CertificateDer<'static>,
        ca: CertificateDer<'static>,
    ) -> Result<Self, IdentityError> {
        match Role::of(&certificate)? {
            Role::Agent(node) => Ok(Self { node, key, certificate, ca }),
            role @ Role::Peer(_) => Err(IdentityError::NotAnAgent(role)),
        }
    }

    /// The node that the certificate names.
    pub fn node(&self) -> &NodeName {
        &self.node
    }
    /// The group's CA.
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }
    /// The agent's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// The instant from which the certificate should be renewed, in milliseconds since 1970 UTC: two
    /// thirds of its life.
    pub fn renew_at_ms(&self) -> Result<u64, IdentityError> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.certificate)
            .map_err(|_| RoleError::Unreadable)?;
        let validity = parsed.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let at_s = from.saturating_add(to.saturating_sub(from) / 3 * 2);
        Ok(u64::try_from(at_s).unwrap_or(0).saturating_mul(1_000))
    }

    /// Reads the identity that [`save`](Self::save) wrote.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let text = read_secret(path)?;
        let damaged = |source| IdentityError::Damaged { path: path.display().to_string(), source };
        let key = pem::private_key(&text).map_err(damaged)?;
        let mut certificates = pem::certificates(&text).map_err(damaged)?.into_iter();
        match (certificates.next(), certificates.next()) {
            (Some(certificate), Some(ca)) => Self::new(key, certificate, ca),
            _ => Err(damaged(PemError::Missing("CERTIFICATE"))),
        }
    }

    /// Writes key, certificate and CA as one PEM file of mode 0600, so that a renewal replaces all
    /// three in one step.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let text = [
            pem::encode("PRIVATE KEY", self.key.secret_der()),
            pem::certificate_to_pem(&self.certificate),
            pem::certificate_to_pem(&self.ca),
        ]
        .concat();
        Ok(write_secret(path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::ca::{AGENT_LIFETIME, Ca};

    fn joined(now: SystemTime) -> AgentIdentity {
        let ca = Ca::create("test", now).expect("a CA");
        let key = AgentKey::generate().expect("a key");
        let request = key.signing_request().expect("a request");
        let node = NodeName::new("gpu-7").expect("a name");
        let issued = ca.sign_agent(&request, &node, now).expect("signed");
        key.with_certificate(issued.certificate, ca.certificate().clone()).expect("it fits")
    }

    #[test]
    fn a41_an_identity_survives_its_file_and_is_refused_when_open() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.pem");
        let identity = joined(SystemTime::now());
        identity.save(&path).expect("saved");
        let back = AgentIdentity::load(&path).expect("loaded");
        assert_eq!(back.node().as_str(), "gpu-7");
        assert_eq!(back.certificate(), identity.certificate());
        assert_eq!(back.ca(), identity.ca());
        assert_eq!(back.key(), identity.key());
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(
            AgentIdentity::load(&path),
            Err(IdentityError::File(SecretFileError::TooOpen { .. }))
        ));
    }

    #[test]
    fn a_torn_file_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("identity.pem");
        joined(SystemTime::now()).save(&path).expect("saved");
        let whole = read_secret(&path).expect("read");
        for cut in [0, 40, whole.len() / 2, whole.len() - 40] {
            write_secret(&path, &whole[..cut]).expect("written");
            let text = AgentIdentity::load(&path).expect_err("torn").to_string();
            assert!(text.contains("identity.pem") && text.contains("join again"), "{text}");
        }
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).expect("a CA");
        let (mine, other) = (AgentKey::generate(), AgentKey::generate());
        let request = other.expect("a key").signing_request().expect("a request");
        let node = NodeName::new("gpu-7").expect("a name");
        let issued = ca.sign_agent(&request, &node, now).expect("signed");
        let fitted =
            mine.expect("a key").with_certificate(issued.certificate, ca.certificate().clone());
        assert!(matches!(fitted, Err(IdentityError::OtherKey)));
    }

    #[test]
    fn renewal_is_due_at_two_thirds() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let due = UNIX_EPOCH + Duration::from_millis(joined(now).renew_at_ms().expect("a date"));
        let wait = due.duration_since(now).expect("later than now");
        let expected = AGENT_LIFETIME / 3 * 2;
        assert!(wait <= expected && wait + Duration::from_secs(3_600) > expected, "{wait:?}");
    }
}
