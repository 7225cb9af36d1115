//! Whom to call as whom, and the channels for it.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use runyard_proto::{AGENT_SERVER_NAME, USER_SERVER_NAME};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::address::Address;
use super::dial::Dialer;
use super::shown::Shown;
use super::verify::{GroupVerifier, Trust};
use super::{DialError, PEER_SERVER_NAME};
use crate::{AgentIdentity, Pin, TlsIdentity, limits, provider};

/// The coordinators of a group and the face that is shown to them.
#[derive(Debug, Clone)]
pub struct Target {
    dialer: Arc<Dialer>,
    /// What all clones of this target show.
    shown: Option<Arc<Shown>>,
}

impl Target {
    /// As a user, or as an agent that has yet to join: no certificate is shown.
    pub fn user(addresses: &[String], trust: Trust) -> Result<Self, DialError> {
        Self::new(addresses, USER_SERVER_NAME, trust, None)
    }

    /// As the agent of `identity`.
    pub fn agent(addresses: &[String], identity: &AgentIdentity) -> Result<Self, DialError> {
        let trust = Trust::Ca(identity.ca().clone());
        let shown = (identity.chain(), identity.key());
        Self::new(addresses, AGENT_SERVER_NAME, trust, Some(shown))
    }

    /// As a coordinator, to coordinators, whose certificates must be peers', too.
    pub fn peer(addresses: &[String], identity: &TlsIdentity) -> Result<Self, DialError> {
        let ca = identity.client_roots.first().cloned().ok_or_else(|| {
            DialError::Identity(rustls::Error::General("the peer's identity has no CA".into()))
        })?;
        let shown = (identity.chain.clone(), identity.key.clone_key());
        Self::new(addresses, PEER_SERVER_NAME, Trust::Ca(ca), Some(shown))
    }

    fn new(
        addresses: &[String],
        name: &'static str,
        trust: Trust,
        shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Self, DialError> {
        let addresses =
            addresses.iter().map(|text| Address::parse(text)).collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err(DialError::NoAddress);
        }
        let name_of_server =
            ServerName::try_from(name).expect("the three names are plain DNS names");
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(DialError::Identity)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(GroupVerifier::new(
                trust,
                name == PEER_SERVER_NAME,
            )));
        let shown = shown
            .map(|(chain, key)| Shown::new(chain, key).map(Arc::new))
            .transpose()
            .map_err(DialError::Identity)?;
        let mut config = match &shown {
            None => builder.with_no_client_auth(),
            Some(shown) => builder.with_client_cert_resolver(shown.clone()),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Each connection checks the server anew; they are few and long-lived.
        config.resumption = Resumption::disabled();
        let dialer = Dialer {
            addresses,
            name: name_of_server,
            config: Arc::new(config),
            limit: limits::CONNECT_TIMEOUT,
            preferred: AtomicUsize::new(0),
        };
        Ok(Self { dialer: Arc::new(dialer), shown })
    }

    /// Shows `identity` from now on, here and in all clones of this target: the next connection has
    /// it, open ones keep what they have.
    ///
    /// # Errors
    /// The target shows no certificate, or the identity cannot be used.
    pub fn show(&self, identity: &AgentIdentity) -> Result<(), DialError> {
        let shown = self.shown.as_ref().ok_or_else(|| {
            DialError::Identity(rustls::Error::General("the target shows no certificate".into()))
        })?;
        shown.replace(identity.chain(), identity.key()).map_err(DialError::Identity)
    }

    /// Gives each address `limit` instead of [`limits::CONNECT_TIMEOUT`].
    #[must_use]
    pub fn connect_timeout(self, limit: Duration) -> Self {
        let old = &self.dialer;
        let dialer = Dialer {
            addresses: old.addresses.clone(),
            name: old.name.clone(),
            config: old.config.clone(),
            limit,
            preferred: AtomicUsize::new(0),
        };
        Self { dialer: Arc::new(dialer), shown: self.shown }
    }

    /// Opens one bare TLS connection (ALPN h2).
    pub async fn dial(&self) -> Result<TlsStream<TcpStream>, DialError> {
        self.dialer.dial().await
    }

    /// Connects now, so that a wrong address or CA is told at once. A connection that dies later is
    /// replaced at the next call.
    pub async fn connect(&self) -> Result<Channel, DialError> {
        let first = self.dial().await?;
        let connector = connector(self.dialer.clone(), Some(first));
        endpoint().connect_with_connector(connector).await.map_err(DialError::Http)
    }

    /// A channel that connects at its first call; a failure is that call's `Unavailable`.
    pub fn lazy(&self) -> Channel {
        endpoint().connect_with_connector_lazy(connector(self.dialer.clone(), None))
    }
}

/// Connects as a user to the first of `addresses` that answers.
pub async fn connect_user(addresses: &[String], trust: Trust) -> Result<Channel, DialError> {
    Target::user(addresses, trust)?.connect().await
}

/// Connects as an agent to the first of `addresses` that answers.
pub async fn connect_agent(
    addresses: &[String],
    identity: &AgentIdentity,
) -> Result<Channel, DialError> {
    Target::agent(addresses, identity)?.connect().await
}

/// Fetches the group's CA, knowing only its pin. The pin is checked in the handshake, before
/// anything is sent; the returned certificate is the one that has it.
pub async fn fetch_ca(
    addresses: &[String],
    pin: Pin,
) -> Result<CertificateDer<'static>, DialError> {
    let stream = Target::user(addresses, Trust::Pin(pin))?.dial().await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let ca = pin.find(chain).expect("the handshake found the pin in this very chain");
    Ok(ca.clone().into_owned())
}

/// The URI only gives calls their scheme and authority: whom to dial is the connector's affair.
fn endpoint() -> Endpoint {
    // `http` in the endpoint keeps tonic from laying its own TLS over ours; the origin tells `https`.
    Endpoint::from_static("http://runyard")
        .origin(http::Uri::from_static("https://runyard"))
        .user_agent(concat!("runyard/", env!("CARGO_PKG_VERSION")))
        .expect("a version is a header's value")
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_frame_size(limits::FRAME_BYTES_MAX)
        .http2_max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

/// Hands out `first` once, then dials.
fn connector(
    dialer: Arc<Dialer>,
    first: Option<TlsStream<TcpStream>>,
) -> impl tower::Service<
    http::Uri,
    Response = TokioIo<TlsStream<TcpStream>>,
    Error = DialError,
    Future: Send,
> + Send
+ 'static {
    let first = Arc::new(Mutex::new(first));
    tower::service_fn(move |_: http::Uri| {
        let dialer = dialer.clone();
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => dialer.dial().await?,
            };
            Ok(TokioIo::new(stream))
        }
    })
}
