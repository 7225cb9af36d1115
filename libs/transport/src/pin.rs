//! The pin of a CA: the SHA-256 of its public key, by which a join token names its group.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a certificate's SubjectPublicKeyInfo (as in RFC 7469).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// Why there is no pin.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PinError {
    /// The text is no pin.
    #[error("a CA pin is 64 hexadecimal digits (a SHA-256), this has {length} characters")]
    Malformed { length: usize },
    /// The bytes are no certificate.
    #[error("the certificate cannot be read")]
    Certificate(#[source] rustls::Error),
}

impl Pin {
    /// The pin of `certificate`'s key.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, PinError> {
        let parsed = ParsedCertificate::try_from(certificate).map_err(PinError::Certificate)?;
        Ok(Self(Sha256::digest(parsed.subject_public_key_info()).into()))
    }

    /// The first certificate of `chain` whose key this is.
    pub(crate) fn find<'a, 'b>(
        self,
        chain: &'a [CertificateDer<'b>],
    ) -> Option<&'a CertificateDer<'b>> {
        chain.iter().find(|certificate| Self::of(certificate).is_ok_and(|pin| pin == self))
    }
}

impl FromStr for Pin {
    type Err = PinError;
    fn from_str(text: &str) -> Result<Self, PinError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| PinError::Malformed { length: text.chars().count() })?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({})", hex::encode(&self.0[..6]))
    }
}
