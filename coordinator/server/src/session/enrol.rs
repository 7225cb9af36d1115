//! Letting agents in.

use std::time::SystemTime;

use runyard_proto::agent::{JoinRequest, JoinResponse, enrol_server::Enrol};
use runyard_state::entity::TokenKind;
use runyard_state::{Command, JoinNode};
use runyard_transport::token::{Kind, TokenId, TokenSecret, hash};
use runyard_types::NodeName;
use tonic::{Request, Response, Status};

use crate::core::Core;
use crate::errors::status;

/// The one call that needs no certificate.
#[derive(Debug, Clone)]
pub(crate) struct EnrolService {
    core: Core,
}

impl EnrolService {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl Enrol for EnrolService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let node =
            NodeName::new(&request.node).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let malformed = || Status::unauthenticated("the join token is malformed; copy it whole");
        let id = TokenId::parse(&request.token_id).ok_or_else(malformed)?;
        let secret = TokenSecret::parse(&request.token_secret).ok_or_else(malformed)?;
        // Looked at before anything is signed or proposed: this call is open to everybody.
        let hash = hash(Kind::Join, &id, &secret);
        let usable = self.core.truth.view().state.tokens.get(id.as_str()).is_some_and(|token| {
            let expired = token.expires_at.is_some_and(|at| at.0 <= crate::clock::wall_ms());
            token.kind == TokenKind::AgentJoin
                && token.hash == hash
                && !token.used
                && !token.revoked
                && !expired
        });
        if !usable {
            return Err(Status::permission_denied(
                "the join token is unknown, used, revoked or expired; make a new one with `runyard token create agent`",
            ));
        }
        // Signed before the token is used up: a bad request must not cost it.
        let signed =
            self.core.group.ca.sign_agent(&request.csr_der, &node, SystemTime::now()).map_err(
                |e| Status::invalid_argument(format!("the signing request is refused: {e}")),
            )?;
        let command = JoinNode {
            name: node.clone(),
            fingerprint: signed.fingerprint,
            token: id.as_str().to_owned(),
            secret_hash: hash,
        };
        self.core.truth.propose(Command::JoinNode(command)).await.map_err(status)?;
        tracing::info!(%node, version = request.version, "node joined");
        Ok(Response::new(response(&self.core, &node, signed.certificate.to_vec())))
    }
}

/// A new certificate for the key of a node that is known.
pub(super) fn certificate(
    core: &Core,
    node: NodeName,
    csr_der: &[u8],
) -> Result<JoinResponse, Status> {
    let signed =
        core.group.ca.sign_agent(csr_der, &node, SystemTime::now()).map_err(|e| {
            Status::invalid_argument(format!("the signing request is refused: {e}"))
        })?;
    let known = core.truth.view().state.nodes.get(&node).map(|node| node.fingerprint);
    if known.as_ref() != Some(&signed.fingerprint) {
        return Err(Status::permission_denied(format!("node {node} joined with another key")));
    }
    Ok(response(core, &node, signed.certificate.to_vec()))
}

fn response(core: &Core, node: &NodeName, certificate: Vec<u8>) -> JoinResponse {
    JoinResponse {
        certificate_der: certificate.into(),
        ca_der: core.group.ca.certificate().to_vec().into(),
        node: node.to_string(),
        group: core.group.id.clone(),
        generation: core.group.generation,
        addresses: core.group.addresses.clone(),
    }
}
