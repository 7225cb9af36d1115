//! The certificate that a client shows; it can be replaced while channels are open.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, SignatureScheme};

use crate::provider;

#[derive(Debug)]
pub(super) struct Shown {
    key: RwLock<Arc<CertifiedKey>>,
}

impl Shown {
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        Ok(Self { key: RwLock::new(certified(chain, key)?) })
    }

    /// Handshakes that begin from now on show this.
    pub(super) fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), Error> {
        let new = certified(chain, key)?;
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

/// Fails where the key is not that of the chain's first certificate.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, Error> {
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new)
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner).clone();
        key.key.choose_scheme(schemes)?;
        Some(key)
    }
    fn has_certs(&self) -> bool {
        true
    }
}
