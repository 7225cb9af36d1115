//! The client that all verbs (and the demo) use: one channel, a token, retries that never do a thing
//! twice.

mod dial;
mod follow;
mod logs;
mod measure;
mod names;
mod retry;
mod runs;
mod upload;

use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use runyard_proto::v1;
use runyard_transport::AuthInterceptor;
use runyard_transport::token::UserToken;

pub(crate) use follow::{Follow, Happening};
pub(crate) use names::{Target, is_run_name};
pub(crate) use retry::{once, passes, retry};
pub(crate) use runs::{gate_exit, is_over};

use crate::context::Connection;
use crate::errors::Result;

/// A channel that sends the token.
pub(crate) type Authorised = InterceptedService<Channel, AuthInterceptor>;

/// A client of one group, for one project.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
    auth: AuthInterceptor,
    pub(crate) project: String,
}

impl Client {
    /// Connects to the first address that answers.
    pub(crate) async fn connect(connection: &Connection, project: &str) -> Result<Self> {
        let channel = dial::dial(connection).await?;
        Ok(Self::over(channel, connection.token.as_ref(), project))
    }

    /// A client over a channel that is there already.
    pub(crate) fn over(channel: Channel, token: Option<&UserToken>, project: &str) -> Self {
        let auth = token.map_or_else(AuthInterceptor::none, AuthInterceptor::new);
        Self { channel, auth, project: project.to_owned() }
    }

    fn authorised(&self) -> Authorised {
        InterceptedService::new(self.channel.clone(), self.auth.clone())
    }

    /// Runs, logs, events, metrics.
    pub(crate) fn runs(&self) -> v1::runs_client::RunsClient<Authorised> {
        v1::runs_client::RunsClient::new(self.authorised())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Models, gates, deployments.
    pub(crate) fn models(&self) -> v1::models_client::ModelsClient<Authorised> {
        v1::models_client::ModelsClient::new(self.authorised())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Nodes, tokens, the group.
    pub(crate) fn fleet(&self) -> v1::fleet_client::FleetClient<Authorised> {
        v1::fleet_client::FleetClient::new(self.authorised())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// The largest answer accepted: a page of a thousand runs, each with its tasks.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A new idempotency key.
pub(crate) fn new_key() -> String {
    ulid::Ulid::generate().to_string()
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
