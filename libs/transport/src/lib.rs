//! Identity, TLS, channels with keepalive and deadlines, retry.
//!
//! One listener serves users and agents: the server name `agent.runyard` asks for a client
//! certificate of the group's own CA, all other names ask for none. TLS 1.3 only, by ring.
//!
//! Invariant: nothing here knows what the services mean; who may call what is the coordinator's
//! table. This crate says only who is at the other end of a connection.

pub mod ca;
pub mod client;
pub mod contexts;
pub mod identity;
pub mod limits;
pub mod retry;
pub mod server_tls;
pub mod task;
pub mod token;

mod descriptors;
mod ownership;
mod pem;
mod pin;
mod role;
mod secret_file;
mod validity;

pub use client::{
    AuthInterceptor, DialError, Target, Trust, connect_agent, connect_user, fetch_ca,
};
pub use contexts::{Contexts, CredentialsFile};
pub use descriptors::{descriptor_limit, raise_descriptor_limit};
pub use identity::{AgentIdentity, AgentKey, TlsIdentity};
pub use ownership::explain_denied;
pub use pem::{PemError, certificate_from_pem, certificate_to_pem};
pub use pin::{Pin, PinError};
pub use role::{Role, RoleError};
pub use secret_file::{SecretFileError, read_secret, write_secret};
pub use server_tls::{
    Audience, ConnectInfo, Identity, ListenError, Listener, Reloader, TlsConn, listen,
};
pub use validity::Validity;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

/// The only cryptography used: ring's, given explicitly so that nothing depends on a process-wide
/// default having been installed.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// Makes ring the process's provider for libraries that ask for a default. Call it first in `main`;
/// a second call changes nothing.
pub fn install_crypto() {
    // An error means that a provider is installed already, which is what was wanted.
    let _ = CryptoProvider::install_default((*provider()).clone());
}
