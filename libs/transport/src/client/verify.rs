//! Checks of the server: its chain must end in the group's CA, known whole or by its pin.
//!
//! The check is part of the handshake, so nothing of ours (no token, no request) has been sent when
//! it fails.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::{Pin, Role, provider};

/// How a client knows its group.
#[derive(Debug, Clone)]
pub enum Trust {
    /// By the CA's certificate.
    Ca(CertificateDer<'static>),
    /// By the SHA-256 of the CA's public key; the server sends the certificate along.
    Pin(Pin),
}

/// The server's chain has no CA with the pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server belongs to another group: its CA is {presented}, not {expected}")]
pub(super) struct PinMismatch {
    pub(super) expected: Pin,
    pub(super) presented: String,
}

#[derive(Debug)]
pub(super) struct GroupVerifier {
    trust: Trust,
    /// On the peers' port the server must be a peer, too.
    peers_only: bool,
}

impl GroupVerifier {
    pub(super) fn new(trust: Trust, peers_only: bool) -> Self {
        Self { trust, peers_only }
    }

    fn ca(&self, chain: &[CertificateDer<'_>]) -> Result<CertificateDer<'static>, Error> {
        match &self.trust {
            Trust::Ca(ca) => Ok(ca.clone()),
            Trust::Pin(pin) => match pin.find(chain) {
                Some(ca) => Ok(ca.clone().into_owned()),
                None => Err(Error::InvalidCertificate(CertificateError::Other(OtherError(
                    Arc::new(PinMismatch { expected: *pin, presented: presented(chain) }),
                )))),
            },
        }
    }
}

fn presented(chain: &[CertificateDer<'_>]) -> String {
    match chain.last().map(Pin::of) {
        Some(Ok(pin)) => pin.to_string(),
        Some(Err(_)) => "unreadable".into(),
        None => "not shown".into(),
    }
}

impl ServerCertVerifier for GroupVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca(intermediates)?)?;
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if self.peers_only && !matches!(Role::of(end_entity), Ok(Role::Peer(_))) {
            return Err(Error::InvalidCertificate(CertificateError::InvalidPurpose));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
