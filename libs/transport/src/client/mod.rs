//! Channels to a group: its CA pinned, several addresses, keepalive.

mod address;
mod auth;
mod dial;
mod shown;
mod target;
mod verify;

pub use auth::AuthInterceptor;
pub use dial::DialError;
pub use target::{Target, connect_agent, connect_user, fetch_ca};
pub use verify::Trust;

/// The port of users and agents where an address names none.
pub const DEFAULT_PORT: u16 = 7443;
/// The server name that coordinators ask for among themselves.
pub const PEER_SERVER_NAME: &str = "peer.runyard";
