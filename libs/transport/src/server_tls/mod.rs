//! The listener: TLS for one port, and who is at the other end of each connection.

mod config;
mod conn;
mod crowd;
mod half_open;
mod listener;
mod verify;

pub use config::{Audience, TlsConfigError};
pub use conn::{ConnectInfo, Identity, TlsConn};
pub use listener::{ListenError, Listener, Reloader, listen};
