//! Checks of client certificates: our CA, the port's role, the dates.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::config::{Audience, TlsConfigError};
use crate::{Role, provider};

/// Takes certificates of the group's CAs that have the role of the port.
///
/// An agent's certificate that has run out is let through here, because its key may still ask for a
/// new one; the connection's identity then says so (`Identity::ExpiredAgent`).
#[derive(Debug)]
pub(super) struct RoleVerifier {
    audience: Audience,
    chain: Arc<dyn ClientCertVerifier>,
}

impl RoleVerifier {
    pub(super) fn new(
        audience: Audience,
        roots: &[CertificateDer<'static>],
    ) -> Result<Self, TlsConfigError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).map_err(TlsConfigError::Identity)?;
        }
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(TlsConfigError::Roots)?;
        Ok(Self { audience, chain })
    }

    fn role_fits(&self, role: &Role) -> bool {
        match role {
            Role::Agent(_) => self.audience == Audience::UsersAndAgents,
            Role::Peer(_) => self.audience == Audience::Peers,
        }
    }
}

impl ClientCertVerifier for RoleVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match self.chain.verify_client_cert(end_entity, intermediates, now) {
            Err(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) if self.audience == Audience::UsersAndAgents => {
                // All but the date must hold: ask again for the last second of its life.
                let end = not_after(end_entity)
                    .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
                self.chain.verify_client_cert(end_entity, intermediates, end)?
            }
            other => other?,
        };
        let role = Role::of(end_entity).map_err(|error| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        })?;
        if self.role_fits(&role) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::InvalidPurpose))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// The certificate's last second.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(end)))
}
