//! PEM (RFC 7468) of certificates and keys.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a PEM text was refused.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// A section is damaged.
    #[error("the PEM text is damaged")]
    Damaged(#[source] rustls::pki_types::pem::Error),
    /// A section that must be there is not.
    #[error("the PEM text has no section `{0}`")]
    Missing(&'static str),
}

/// Reads the first certificate of a PEM text.
pub fn certificate_from_pem(text: &str) -> Result<CertificateDer<'static>, PemError> {
    certificates(text)?.into_iter().next().ok_or(PemError::Missing("CERTIFICATE"))
}

/// The PEM form of a certificate.
pub fn certificate_to_pem(certificate: &CertificateDer<'_>) -> String {
    encode("CERTIFICATE", certificate)
}

pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, PemError> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(PemError::Damaged)
}

pub(crate) fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, PemError> {
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(PemError::Missing("PRIVATE KEY")),
        Err(error) => Err(PemError::Damaged(error)),
    }
}

/// Lines of 64 characters between the two marks.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = base64(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// RFC 4648 §4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let index = (group >> (18 - 6 * position)) & 63;
            let used = position <= chunk.len();
            text.push(if used { ALPHABET[index as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_vectors_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn what_was_encoded_is_read_back_at_every_length() {
        for length in 1..200_u8 {
            let der: Vec<u8> = (0..length).map(|i| i.wrapping_mul(83)).collect();
            let certificate = CertificateDer::from(der);
            let text = certificate_to_pem(&certificate);
            assert_eq!(certificate_from_pem(&text).expect("well-formed"), certificate);
        }
    }

    #[test]
    fn a_text_without_a_certificate_says_so() {
        let error = certificate_from_pem("hello").expect_err("no section");
        assert_eq!(error.to_string(), "the PEM text has no section `CERTIFICATE`");
        assert!(private_key("").expect_err("no section").to_string().contains("PRIVATE KEY"));
    }
}
