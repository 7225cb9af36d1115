//! One TLS connection to one of several addresses.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error as TlsError, InvalidMessage};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::verify::PinMismatch;

/// Why a coordinator could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// There was nothing to dial.
    #[error("no address of a coordinator was given")]
    NoAddress,
    /// An address is malformed.
    #[error("`{address}` is not an address: {reason}")]
    Address { address: String, reason: &'static str },
    /// TCP or name resolution failed.
    #[error("cannot connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    /// Name resolution, TCP and TLS together took too long.
    #[error("{address} did not answer within {} s", limit.as_secs_f64())]
    Timeout { address: String, limit: Duration },
    /// Something else than TLS answered.
    #[error("{address} does not speak TLS, so it is not a coordinator")]
    NotTls { address: String },
    /// The server's CA is not the one that was pinned. Nothing was sent.
    #[error(
        "{address} belongs to another group: its CA has the pin {presented}, expected {expected}; nothing was sent to it. Check the address, and where the token came from"
    )]
    OtherGroup { address: String, expected: String, presented: String },
    /// The server's certificate was refused for another reason. Nothing was sent.
    #[error("{address} showed a certificate that cannot be trusted; nothing was sent to it")]
    Certificate {
        address: String,
        #[source]
        source: TlsError,
    },
    /// TLS failed.
    #[error("no TLS connection with {address}")]
    Tls {
        address: String,
        #[source]
        source: io::Error,
    },
    /// Our own certificate or key cannot be used.
    #[error("the identity cannot be used for TLS")]
    Identity(#[source] TlsError),
    /// TLS stands, HTTP/2 does not.
    #[error("no HTTP/2 connection with the coordinator")]
    Http(#[source] tonic::transport::Error),
    /// No address answered.
    #[error("no coordinator answered: {}", list(errors))]
    All { errors: Vec<DialError> },
}

fn list(errors: &[DialError]) -> String {
    let one = |error: &DialError| match std::error::Error::source(error) {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    };
    errors.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) addresses: Vec<Address>,
    /// Asked for whatever address is dialled.
    pub(super) name: ServerName<'static>,
    pub(super) config: Arc<ClientConfig>,
    /// For one address, in all.
    pub(super) limit: Duration,
    /// The address that answered last, tried first.
    pub(super) preferred: AtomicUsize,
}

impl Dialer {
    /// Tries each address in turn, beginning with the one that answered last.
    pub(super) async fn dial(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let count = self.addresses.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut errors = Vec::new();
        for turn in 0..count {
            let index = (first + turn) % count;
            match self.dial_one(&self.addresses[index]).await {
                Ok(stream) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => errors.push(error),
            }
        }
        match errors.pop() {
            None => Err(DialError::NoAddress),
            Some(only) if errors.is_empty() => Err(only),
            Some(last) => {
                errors.push(last);
                Err(DialError::All { errors })
            }
        }
    }

    async fn dial_one(&self, address: &Address) -> Result<TlsStream<TcpStream>, DialError> {
        let attempt = async {
            let connect = |source| DialError::Connect { address: address.to_string(), source };
            let tcp = TcpStream::connect(address.host_and_port()).await.map_err(connect)?;
            tcp.set_nodelay(true).map_err(connect)?;
            TlsConnector::from(self.config.clone())
                .connect(self.name.clone(), tcp)
                .await
                .map_err(|error| explain(address, error))
        };
        match timeout(self.limit, attempt).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Timeout { address: address.to_string(), limit: self.limit }),
        }
    }
}

/// Tells apart what a person must do something different about.
fn explain(address: &Address, error: io::Error) -> DialError {
    let address = address.to_string();
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        )) => DialError::NotTls { address },
        Some(TlsError::InvalidCertificate(reason)) => {
            let mismatch = match reason {
                CertificateError::Other(other) => other.0.downcast_ref::<PinMismatch>(),
                _ => None,
            };
            match mismatch {
                Some(mismatch) => DialError::OtherGroup {
                    address,
                    expected: mismatch.expected.to_string(),
                    presented: mismatch.presented.clone(),
                },
                None => DialError::Certificate {
                    address,
                    source: TlsError::InvalidCertificate(reason.clone()),
                },
            }
        }
        _ => DialError::Tls { address, source: error },
    }
}
