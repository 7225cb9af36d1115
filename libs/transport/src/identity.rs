//! Keys with their certificates: a server's or peer's in memory, an agent's in its file.

use std::fmt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use runyard_types::NodeName;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::pem::{self, PemError};
use crate::{Role, RoleError, SecretFileError, Validity, read_secret, write_secret};

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
    /// The renewed certificate names another node.
    #[error("the renewed certificate is for node {found}, not for {wanted}")]
    OtherNode { found: NodeName, wanted: NodeName },
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
        request_of(&self.0)
    }

    /// Puts the key and the certificate made for it together.
    pub fn with_certificate(
        self,
        certificate: CertificateDer<'static>,
        ca: CertificateDer<'static>,
    ) -> Result<AgentIdentity, IdentityError> {
        check_key(&certificate, &self.0)?;
        AgentIdentity::new(PrivatePkcs8KeyDer::from(self.0).into(), certificate, ca)
    }
}

fn request_of(key: &KeyPair) -> Result<Vec<u8>, IdentityError> {
    CertificateParams::default()
        .serialize_request(key)
        .map(|request| request.der().to_vec())
        .map_err(IdentityError::Key)
}

fn check_key(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), IdentityError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| RoleError::Unreadable)?;
    if parsed.public_key().subject_public_key.as_ref() == key.public_key_raw() {
        Ok(())
    } else {
        Err(IdentityError::OtherKey)
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

    /// When the certificate holds.
    pub fn validity(&self) -> Result<Validity, IdentityError> {
        Ok(Validity::of(&self.certificate)?)
    }

    /// The instant from which the certificate should be renewed, in milliseconds since 1970 UTC: two
    /// thirds of its life.
    pub fn renew_at_ms(&self) -> Result<u64, IdentityError> {
        Ok(self.validity()?.renew_at_ms())
    }

    /// A signing request for this very key, with which the certificate is renewed. The key stays: by
    /// it the group knows the node.
    pub fn signing_request(&self) -> Result<Vec<u8>, IdentityError> {
        request_of(&self.key_pair()?)
    }

    /// This identity with a renewed certificate for the same key and node.
    ///
    /// # Errors
    /// The certificate is for another key, another node, or no agent's.
    pub fn with_certificate(
        &self,
        certificate: CertificateDer<'static>,
    ) -> Result<Self, IdentityError> {
        check_key(&certificate, &self.key_pair()?)?;
        let renewed = Self::new(self.key.clone_key(), certificate, self.ca.clone())?;
        if renewed.node == self.node {
            Ok(renewed)
        } else {
            Err(IdentityError::OtherNode { found: renewed.node, wanted: self.node.clone() })
        }
    }

    fn key_pair(&self) -> Result<KeyPair, IdentityError> {
        let der = PrivatePkcs8KeyDer::from(self.key.secret_der());
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map_err(IdentityError::Key)
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
    fn f42_a_renewed_certificate_keeps_key_node_and_ca() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now).expect("a CA");
        let key = AgentKey::generate().expect("a key");
        let (node, other) = ("gpu-7", "gpu-8");
        let name = |text: &str| NodeName::new(text).expect("a name");
        let first = ca.sign_agent(&key.signing_request().expect("a request"), &name(node), now);
        let first = first.expect("signed");
        let old = key
            .with_certificate(first.certificate.clone(), ca.certificate().clone())
            .expect("it fits");
        let request = old.signing_request().expect("a request");
        let later = now + AGENT_LIFETIME;
        let issued = ca.sign_agent(&request, &name(node), later).expect("signed");
        assert_eq!(issued.fingerprint, first.fingerprint, "the group knows the node by its key");
        let new = old.with_certificate(issued.certificate).expect("it fits");
        assert_eq!((new.key(), new.ca(), new.node()), (old.key(), old.ca(), old.node()));
        let (was, is) = (old.validity().expect("dates"), new.validity().expect("dates"));
        assert!(is.not_after_ms > was.not_after_ms, "{was:?} {is:?}");

        let elsewhere = ca.sign_agent(&request, &name(other), now).expect("signed");
        let refused = old.with_certificate(elsewhere.certificate).expect_err("another node");
        assert!(refused.to_string().contains("gpu-8"), "{refused}");
        let strange = AgentKey::generate().expect("a key").signing_request().expect("a request");
        let strange = ca.sign_agent(&strange, &name(node), now).expect("signed");
        assert!(matches!(old.with_certificate(strange.certificate), Err(IdentityError::OtherKey)));
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
