//! The agent's identity: kept from before, or given by the group for a token.

use std::time::Duration;

use runyard_proto::agent::JoinRequest;
use runyard_proto::agent::enrol_client::EnrolClient;
use runyard_transport::{AgentIdentity, AgentKey, Pin, Target, Trust, fetch_ca, retry};
use runyard_types::NodeName;

use crate::state_dir::{Memory, Paths};
use crate::{AgentError, Config};

/// The call may wait for a commit.
const JOIN_WITHIN: Duration = Duration::from_secs(30);

/// Who we are and whom to call.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) identity: AgentIdentity,
    pub(crate) addresses: Vec<String>,
}

/// The identity that is kept, or a new one for the token.
pub(crate) async fn identity(
    config: &Config,
    paths: &Paths,
    memory: &mut Memory,
) -> Result<Joined, AgentError> {
    let path = paths.identity();
    if path.exists() {
        let identity = AgentIdentity::load(&path)?;
        check(config, paths, &identity)?;
        return Ok(Joined { addresses: addresses(config, memory), identity });
    }
    let identity = join(config, memory).await?;
    memory.save(paths)?;
    identity.save(&path)?;
    tracing::info!(node = %identity.node(), "joined");
    Ok(Joined { addresses: addresses(config, memory), identity })
}

fn check(config: &Config, paths: &Paths, identity: &AgentIdentity) -> Result<(), AgentError> {
    if *identity.node() != config.node {
        return Err(AgentError::OtherNode {
            path: paths.root.clone(),
            found: identity.node().to_string(),
            wanted: config.node.to_string(),
        });
    }
    let other = |token: &runyard_transport::token::JoinToken| {
        Pin::of(identity.ca()).is_ok_and(|pin| pin != token.pin)
    };
    if config.join.as_ref().is_some_and(other) {
        return Err(AgentError::OtherGroup(paths.root.clone()));
    }
    Ok(())
}

/// Those that the agent was given first: whoever starts it knows best.
fn addresses(config: &Config, memory: &Memory) -> Vec<String> {
    let mut all = config.addresses.clone();
    all.extend(memory.addresses.iter().filter(|one| !config.addresses.contains(one)).cloned());
    all
}

async fn join(config: &Config, memory: &mut Memory) -> Result<AgentIdentity, AgentError> {
    let token = config.join.as_ref().ok_or(AgentError::NotJoined)?;
    // The pin is checked in this handshake, and the CA in the next: the token goes to no other.
    let ca = fetch_ca(&config.addresses, token.pin).await?;
    let channel = Target::user(&config.addresses, Trust::Ca(ca.clone()))?.connect().await?;
    let key = AgentKey::generate()?;
    let request = JoinRequest {
        token_id: token.id.as_str().to_owned(),
        token_secret: token.secret.expose().to_owned(),
        node: config.node.to_string(),
        csr_der: key.signing_request()?.into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let answer = EnrolClient::new(channel).join(retry::request(request, JOIN_WITHIN)).await;
    let answer = answer.map_err(|status| AgentError::Refused(status.message().to_owned()))?;
    let answer = answer.into_inner();
    if answer.ca_der.as_ref() != ca.as_ref() {
        return Err(AgentError::Refused("it answered with another CA than it showed".into()));
    }
    let named = NodeName::new(&answer.node).ok();
    if named.as_ref() != Some(&config.node) {
        return Err(AgentError::Refused(format!("it named this node `{}`", answer.node)));
    }
    memory.addresses = answer.addresses;
    Ok(key.with_certificate(answer.certificate_der.to_vec().into(), ca)?)
}
