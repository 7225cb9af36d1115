//! The CA of a group: what it signs, for whom, for how long.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SubjectPublicKeyInfo, date_time_ymd,
};
use runyard_proto::{AGENT_SERVER_NAME, USER_SERVER_NAME};
use runyard_types::{Digest, NodeName};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::client::PEER_SERVER_NAME;
use crate::{Pin, PinError, Role, TlsIdentity};

/// How long an agent's certificate holds; it is renewed at two thirds.
pub const AGENT_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// How long a server's or peer's certificate holds; it is made anew at each start of its process, and
/// while it runs once a third of it is left.
pub const SERVER_LIFETIME: Duration = Duration::from_secs(397 * 86_400);
/// How long the CA holds.
pub const CA_LIFETIME: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Certificates begin this long before they are made, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(600);
/// A signing request with a P-256 key has some 250 bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The stored CA cannot be used.
    #[error("the CA's certificate or key cannot be used")]
    Unusable(#[source] rcgen::Error),
    /// The stored certificate and key do not belong together.
    #[error("the CA's key is not that of its certificate")]
    KeyMismatch,
    /// The CA's own certificate has no readable key.
    #[error("the CA's certificate cannot be read")]
    Pin(#[from] PinError),
    /// A name cannot stand in a certificate.
    #[error("`{0}` is neither a host name nor an IP address")]
    Name(String),
    /// The request is not a PKCS #10 request of a sane size.
    #[error("the signing request cannot be read ({bytes} bytes)")]
    Request { bytes: usize },
    /// The requester does not hold the key.
    #[error("the signing request is not signed by the key in it")]
    NotPossessed,
    /// The request's key is of another kind.
    #[error("the signing request's key is not ECDSA P-256")]
    KeyKind,
    /// Signing failed.
    #[error("cannot sign the certificate of `{subject}`")]
    Sign {
        subject: String,
        #[source]
        source: rcgen::Error,
    },
}

/// A certificate made for an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCertificate {
    pub certificate: CertificateDer<'static>,
    /// The BLAKE3 of the key's SubjectPublicKeyInfo, by which the state knows the agent's key.
    pub fingerprint: Digest,
    /// The certificate's end, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
}

/// A group's certificate authority.
pub struct Ca {
    certificate: CertificateDer<'static>,
    pin: Pin,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("pin", &self.pin).finish_non_exhaustive()
    }
}

impl Ca {
    /// A new CA for the group named `group`, beginning at `now`.
    pub fn create(group: &str, now: SystemTime) -> Result<Self, CaError> {
        let subject = format!("Runyard CA {group}");
        let failed = |source| CaError::Sign { subject: subject.clone(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = params(&subject, now, CA_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = CertificateDer::from(params.self_signed(&key).map_err(failed)?);
        Self::assemble(certificate, key)
    }

    /// The CA from its stored parts: its certificate and its key as PKCS #8, both DER.
    pub fn from_der(certificate: &[u8], key: &[u8]) -> Result<Self, CaError> {
        let key = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(key),
            &PKCS_ECDSA_P256_SHA256,
        )
        .map_err(CaError::Unusable)?;
        Self::assemble(CertificateDer::from(certificate.to_vec()), key)
    }

    fn assemble(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, CaError> {
        let pin = Pin::of(&certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| CaError::Unusable(rcgen::Error::CouldNotParseCertificate))?;
        if parsed.public_key().subject_public_key.as_ref() != key.public_key_raw() {
            return Err(CaError::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(CaError::Unusable)?;
        Ok(Self { certificate, pin, issuer })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
    /// The CA's key, as PKCS #8 DER. A secret: seal it before it is stored.
    pub fn key_der(&self) -> &[u8] {
        self.issuer.key().serialized_der()
    }
    /// The SHA-256 of the CA's public key, which join tokens carry.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// A server's identity for 7443: good for `hosts` (DNS names or IP addresses, for browsers) and
    /// for the two names that clients of ours ask for whatever address they dial.
    pub fn issue_server(&self, hosts: &[String], now: SystemTime) -> Result<TlsIdentity, CaError> {
        let mut params = params("Runyard server", now, SERVER_LIFETIME);
        params.subject_alt_names = vec![dns(USER_SERVER_NAME)?, dns(AGENT_SERVER_NAME)?];
        for host in hosts {
            params.subject_alt_names.push(host_name(host)?);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue("Runyard server", params)
    }

    /// A coordinator's identity for 7444, where both ends show one.
    pub fn issue_peer(&self, id: u64, now: SystemTime) -> Result<TlsIdentity, CaError> {
        let subject = format!("Runyard peer {id}");
        let mut params = params(&subject, now, SERVER_LIFETIME);
        params.subject_alt_names = vec![dns(PEER_SERVER_NAME)?, uri(&Role::Peer(id))?];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&subject, params)
    }

    /// Signs an agent's certificate for `node`. Of the request (PKCS #10, DER) only the key is
    /// taken, and the proof that the requester holds it; names and extensions in it are ignored.
    pub fn sign_agent(
        &self,
        request: &[u8],
        node: &NodeName,
        now: SystemTime,
    ) -> Result<AgentCertificate, CaError> {
        self.sign_agent_for(request, node, now, AGENT_LIFETIME)
    }

    /// The same with another lifetime than [`AGENT_LIFETIME`].
    pub fn sign_agent_for(
        &self,
        request: &[u8],
        node: &NodeName,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<AgentCertificate, CaError> {
        let key = requested_key(request)?;
        let subject = format!("Runyard agent {node}");
        let mut params = params(&subject, now, lifetime);
        params.subject_alt_names = vec![uri(&Role::Agent(node.clone()))?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params
            .signed_by(&key, &self.issuer)
            .map_err(|source| CaError::Sign { subject, source })?;
        let expires_ms = since_epoch(now + lifetime).as_secs().saturating_mul(1_000);
        let fingerprint = Digest::of(&key.subject_public_key_info());
        Ok(AgentCertificate { certificate: signed.into(), fingerprint, expires_ms })
    }

    fn issue(&self, subject: &str, params: CertificateParams) -> Result<TlsIdentity, CaError> {
        let failed = |source| CaError::Sign { subject: subject.into(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(TlsIdentity {
            // The CA is sent along, for those who know only its pin.
            chain: vec![leaf.into(), self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(key).into(),
            client_roots: vec![self.certificate.clone()],
        })
    }
}

fn requested_key(request: &[u8]) -> Result<SubjectPublicKeyInfo, CaError> {
    let unreadable = || CaError::Request { bytes: request.len() };
    if request.len() > REQUEST_BYTES_MAX {
        return Err(unreadable());
    }
    let (rest, parsed) = X509CertificationRequest::from_der(request).map_err(|_| unreadable())?;
    if !rest.is_empty() {
        return Err(unreadable());
    }
    // The kind is checked first: verifying a huge RSA key's signature is work for nothing.
    let key = SubjectPublicKeyInfo::from_der(parsed.certification_request_info.subject_pki.raw)
        .map_err(|_| CaError::KeyKind)?;
    if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(CaError::KeyKind);
    }
    parsed.verify_signature().map_err(|_| CaError::NotPossessed)?;
    Ok(key)
}

fn params(subject: &str, now: SystemTime, lifetime: Duration) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + since_epoch(now).saturating_sub(BACKDATE);
    params.not_after = epoch + since_epoch(now + lifetime);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

/// Whole seconds, which is all that a certificate can hold.
fn since_epoch(at: SystemTime) -> Duration {
    Duration::from_secs(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn host_name(host: &str) -> Result<SanType, CaError> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => {
            rustls::pki_types::DnsName::try_from(host).map_err(|_| CaError::Name(host.into()))?;
            dns(host)
        }
    }
}

fn dns(name: &str) -> Result<SanType, CaError> {
    Ia5String::try_from(name).map(SanType::DnsName).map_err(|_| CaError::Name(name.into()))
}

fn uri(role: &Role) -> Result<SanType, CaError> {
    let text = role.to_string();
    Ia5String::try_from(text.as_str()).map(SanType::URI).map_err(|_| CaError::Name(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AgentKey;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn node() -> NodeName {
        NodeName::new("gpu-7").expect("a name")
    }

    #[test]
    fn a_ca_comes_back_from_its_parts_and_keeps_its_pin() {
        let ca = Ca::create("test", now()).expect("made");
        let back = Ca::from_der(ca.certificate(), ca.key_der()).expect("read back");
        assert_eq!(back.pin(), ca.pin());
        let other = Ca::create("test", now()).expect("made");
        assert_ne!(other.pin(), ca.pin());
        assert!(matches!(
            Ca::from_der(ca.certificate(), other.key_der()),
            Err(CaError::KeyMismatch)
        ));
        assert!(matches!(Ca::from_der(ca.certificate(), b"junk"), Err(CaError::Unusable(_))));
        assert!(matches!(Ca::from_der(b"junk", ca.key_der()), Err(CaError::Pin(_))));
    }

    #[test]
    fn a20_of_a_request_only_the_key_is_taken() {
        let ca = Ca::create("test", now()).expect("made");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        // A greedy request: a CA, a peer's URI, the server's name, any use.
        let mut greedy = CertificateParams::default();
        greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        greedy.distinguished_name.push(DnType::CommonName, "root");
        greedy.subject_alt_names =
            vec![uri(&Role::Peer(1)).expect("a URI"), dns(USER_SERVER_NAME).expect("a name")];
        greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let request = greedy.serialize_request(&key).expect("a request");
        let issued = ca.sign_agent(request.der(), &node(), now()).expect("signed");

        assert_eq!(Role::of(&issued.certificate), Ok(Role::Agent(node())));
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&issued.certificate).expect("a certificate");
        assert!(!parsed.is_ca());
        assert_eq!(parsed.subject().to_string(), "CN=Runyard agent gpu-7");
        assert_eq!(parsed.public_key().subject_public_key.as_ref(), key.public_key_raw());
        let names = parsed.subject_alternative_name().expect("readable").expect("present");
        assert_eq!(names.value.general_names.len(), 1, "no DNS name slipped in");
        let uses = parsed.extended_key_usage().expect("readable").expect("present");
        assert!(uses.value.client_auth && !uses.value.server_auth && !uses.value.any);
        let validity = parsed.validity();
        let days = (validity.not_after.timestamp() - 1_800_000_000) / 86_400;
        assert_eq!(days, 30);
        assert_eq!(issued.expires_ms, 1_000 * validity.not_after.timestamp() as u64);
    }

    #[test]
    fn requests_that_prove_nothing_are_refused() {
        let ca = Ca::create("test", now()).expect("made");
        let sign = |request: &[u8]| ca.sign_agent(request, &node(), now());
        let good = AgentKey::generate().expect("a key").signing_request().expect("a request");
        assert!(sign(&good).is_ok());

        let mut forged = good.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(matches!(sign(&forged), Err(CaError::NotPossessed | CaError::Request { .. })));
        let long = [good.as_slice(), b"x"].concat();
        assert!(matches!(sign(&long), Err(CaError::Request { .. })));
        assert!(matches!(sign(&vec![0; 1 << 20]), Err(CaError::Request { .. })));
        for cut in 0..good.len() {
            assert!(sign(&good[..cut]).is_err(), "cut at {cut}");
        }
        let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let request = CertificateParams::default().serialize_request(&ed).expect("a request");
        assert!(matches!(sign(request.der()), Err(CaError::KeyKind)));
    }

    #[test]
    fn a_server_is_good_for_its_hosts() {
        let ca = Ca::create("test", now()).expect("made");
        let hosts = ["ci.example.org".to_string(), "10.0.0.7".into(), "fd00::7".into()];
        let identity = ca.issue_server(&hosts, now()).expect("issued");
        assert_eq!(identity.chain.last(), Some(ca.certificate()), "the CA is sent along");
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&identity.chain[0]).expect("a certificate");
        let names = parsed.subject_alternative_name().expect("readable").expect("present");
        assert_eq!(names.value.general_names.len(), 5);
        for bad in ["", "two words", "a/b", "-x"] {
            assert!(
                matches!(ca.issue_server(&[bad.into()], now()), Err(CaError::Name(_))),
                "{bad}"
            );
        }
    }
}
