//! Which TLS configuration a connection gets.

use std::sync::Arc;

use runyard_proto::AGENT_SERVER_NAME;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::version::TLS13;

use super::verify::RoleVerifier;
use crate::{TlsIdentity, provider};

/// Whom a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// 7443: the server name `agent.runyard` asks for an agent's certificate; others ask for none, so
    /// that browsers show no prompt.
    UsersAndAgents,
    /// 7444: every connection must show a peer's certificate.
    Peers,
}

/// Why an identity cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The certificate or key was refused.
    #[error("the server's certificate and key cannot be used")]
    Identity(#[source] rustls::Error),
    /// There is no CA to check clients against, or it cannot be used.
    #[error("the CA for client certificates cannot be used")]
    Roots(#[source] rustls::server::VerifierBuilderError),
}

/// The configurations of one listener.
#[derive(Debug)]
pub(super) struct Configs {
    /// For names that ask for no certificate; on the peers' port there are none.
    open: Option<Arc<ServerConfig>>,
    /// For names that ask for one.
    identified: Arc<ServerConfig>,
}

impl Configs {
    pub(super) fn new(audience: Audience, identity: &TlsIdentity) -> Result<Self, TlsConfigError> {
        let verifier = RoleVerifier::new(audience, &identity.client_roots)?;
        let builder = builder()?.with_client_cert_verifier(Arc::new(verifier));
        let mut identified = builder
            .with_single_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(TlsConfigError::Identity)?;
        // A resumed session would skip the check of the certificate's dates.
        identified.session_storage = Arc::new(NoServerSessionStorage {});
        identified.send_tls13_tickets = 0;
        let open = match audience {
            Audience::Peers => None,
            Audience::UsersAndAgents => {
                Some(builder_open(identity).map(with_protocols).map(Arc::new)?)
            }
        };
        Ok(Self { open, identified: Arc::new(with_protocols(identified)) })
    }

    /// The configuration for a client that asks for `name`.
    pub(super) fn for_name(&self, name: Option<&str>) -> Arc<ServerConfig> {
        match &self.open {
            Some(open) if name != Some(AGENT_SERVER_NAME) => open.clone(),
            _ => self.identified.clone(),
        }
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, TlsConfigError> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsConfigError::Identity)
}

fn builder_open(identity: &TlsIdentity) -> Result<ServerConfig, TlsConfigError> {
    builder()?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(TlsConfigError::Identity)
}

fn with_protocols(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
