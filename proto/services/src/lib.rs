//! The gRPC services of Runyard and the JSON form of their messages.
//!
//! Three packages: [`v1`] for users, [`agent`] for agents, [`peer`] between coordinators. Version 1
//! packages only grow; `tests/descriptors.rs` holds them to it.

mod json;

pub use json::{JsonError, descriptor_set, from_json, to_json};

/// The generated code, nested as its packages are.
#[allow(
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod runyard {
    pub mod v1 {
        tonic::include_proto!("runyard.v1");
    }
    pub mod agent {
        pub mod v1 {
            tonic::include_proto!("runyard.agent.v1");
        }
    }
    pub mod peer {
        pub mod v1 {
            tonic::include_proto!("runyard.peer.v1");
        }
    }
}

pub use runyard::agent::v1 as agent;
pub use runyard::peer::v1 as peer;
pub use runyard::v1;

/// The server name under which agents connect; it alone asks for a client certificate.
pub const AGENT_SERVER_NAME: &str = "agent.runyard";
/// The server name under which users connect.
pub const USER_SERVER_NAME: &str = "runyard";
/// The version of the session protocol spoken here.
pub const SESSION_PROTOCOL: u32 = 1;
/// The largest message accepted on any service, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
