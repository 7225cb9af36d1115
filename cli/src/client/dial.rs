//! Opening the channel. The certificate must come from the group's CA, whatever the address.

use runyard_transport::{DialError, Trust};
use tonic::transport::Channel;

use crate::context::Connection;
use crate::errors::{Error, Kind};

/// Connects to the first of the addresses that answers.
pub(super) async fn dial(connection: &Connection) -> Result<Channel, Error> {
    let trust = Trust::Ca(connection.ca.clone());
    runyard_transport::connect_user(&connection.addresses, trust).await.map_err(|error| {
        let error = Error::from(error);
        let told = format!("{} (from {})", error.message(), connection.origin);
        error.saying(told)
    })
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        let message = error.to_string();
        let (kind, help) = match &error {
            DialError::NoAddress | DialError::Address { .. } => {
                (Kind::Usage, "write HOST:PORT, e.g. trainer.example.org:7443")
            }
            DialError::OtherGroup { .. } | DialError::Certificate { .. } => (
                Kind::Auth,
                "the coordinator is not the one that you logged in to; if it was set up anew, log in again with `runyard login`",
            ),
            _ => (
                Kind::Unreachable,
                "is a coordinator running there? `runyard doctor` checks the way",
            ),
        };
        Self::new(kind, message).help(help).because(error)
    }
}
