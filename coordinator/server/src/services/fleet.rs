//! Nodes, tokens and the group.

use runyard_proto::v1::{
    CreateTokenRequest, CreateTokenResponse, GetNodeRequest, ListNodesRequest, ListNodesResponse,
    ListTokensRequest, ListTokensResponse, Node, RemoveNodeRequest, RemoveNodeResponse,
    RevokeTokenRequest, RevokeTokenResponse, SetEligibilityRequest, StatusRequest, StatusResponse,
    StopOrphanRequest, TokenInfo, fleet_server::Fleet,
};
use runyard_state::entity::{Eligibility, TokenKind};
use runyard_state::{Command, CreateToken, RemoveNode, RevokeToken, SetEligibility, StopOrphan};
use runyard_transport::token::{JoinToken, UserToken};
use runyard_types::{DurationMs, Name, NodeName};
use tonic::{Request, Response, Status};

use crate::core::Core;
use crate::errors::status;
use crate::{access, views};

/// The longest life of a join token.
const JOIN_TTL_MS_MAX: u64 = 3_600_000;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct FleetService {
    core: Core,
}

impl FleetService {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }
}

fn node_name(text: &str) -> Result<NodeName, Status> {
    NodeName::new(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

#[tonic::async_trait]
impl Fleet for FleetService {
    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        access::user(&self.core, &request)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let items =
            view.state.nodes.values().map(|node| views::node(&self.core.live, node)).collect();
        Ok(Response::new(ListNodesResponse { index: view.index, items }))
    }

    async fn get_node(&self, request: Request<GetNodeRequest>) -> Result<Response<Node>, Status> {
        access::user(&self.core, &request)?;
        let name = node_name(&request.get_ref().name)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let node = view
            .state
            .nodes
            .get(&name)
            .ok_or_else(|| Status::not_found(format!("there is no node `{name}`")))?;
        Ok(Response::new(views::node(&self.core.live, node)))
    }

    async fn set_eligibility(
        &self,
        request: Request<SetEligibilityRequest>,
    ) -> Result<Response<Node>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let name = node_name(&request.name)?;
        let eligibility = match request.eligibility.as_str() {
            "open" => Eligibility::Open,
            "cordoned" => Eligibility::Cordoned,
            "draining" => Eligibility::Draining,
            other => {
                return Err(Status::invalid_argument(format!(
                    "`{other}` is no eligibility; say open, cordoned or draining"
                )));
            }
        };
        let command = SetEligibility {
            node: name.clone(),
            eligibility,
            reason: request.reason,
            principal: principal.name,
        };
        self.core.truth.propose(Command::SetEligibility(command)).await.map_err(status)?;
        let view = self.core.truth.view();
        let node = view
            .state
            .nodes
            .get(&name)
            .ok_or_else(|| Status::not_found(format!("there is no node `{name}`")))?;
        Ok(Response::new(views::node(&self.core.live, node)))
    }

    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeResponse>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let node = node_name(&request.name)?;
        let command =
            RemoveNode { node: node.clone(), force: request.force, principal: principal.name };
        self.core.truth.propose(Command::RemoveNode(command)).await.map_err(status)?;
        self.core.live.forget(&node);
        Ok(Response::new(RemoveNodeResponse {}))
    }

    async fn stop_orphan(
        &self,
        request: Request<StopOrphanRequest>,
    ) -> Result<Response<Node>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let name = node_name(&request.node)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let node = view
            .state
            .nodes
            .get(&name)
            .ok_or_else(|| Status::not_found(format!("there is no node `{name}`")))?;
        let listed = node.orphans.keys().find(|key| views::orphan(key) == request.worker);
        let worker = listed.cloned().ok_or_else(|| {
            Status::not_found(format!(
                "node `{name}` has no orphan `{}`; `runyard nodes get {name}` lists them",
                request.worker
            ))
        })?;
        let command =
            StopOrphan { node: name, worker, reason: request.reason, principal: principal.name };
        let name = command.node.clone();
        self.core.truth.propose(Command::StopOrphan(command)).await.map_err(status)?;
        let view = self.core.truth.view();
        let node = view
            .state
            .nodes
            .get(&name)
            .ok_or_else(|| Status::not_found(format!("there is no node `{name}`")))?;
        Ok(Response::new(views::node(&self.core.live, node)))
    }

    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let (id, text, hash, kind, ttl) = match request.kind.as_str() {
            "agent" => {
                let token = JoinToken::generate(self.core.group.ca.pin());
                let ttl = if request.ttl_ms == 0 {
                    JOIN_TTL_MS_MAX
                } else {
                    request.ttl_ms.min(JOIN_TTL_MS_MAX)
                };
                (
                    token.id.as_str().to_owned(),
                    token.expose(),
                    token.hash(),
                    TokenKind::AgentJoin,
                    Some(ttl),
                )
            }
            "user" => {
                Name::new(&request.name)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                let token = UserToken::generate();
                let ttl = (request.ttl_ms > 0).then_some(request.ttl_ms);
                (token.id.as_str().to_owned(), token.expose(), token.hash(), TokenKind::User, ttl)
            }
            other => {
                return Err(Status::invalid_argument(format!(
                    "`{other}` is no kind of token; say agent or user"
                )));
            }
        };
        let command = CreateToken {
            id: id.clone(),
            kind,
            name: request.name,
            hash,
            ttl: ttl.map(DurationMs),
            principal: principal.name,
        };
        self.core.truth.propose(Command::CreateToken(command)).await.map_err(status)?;
        let expires_ms = ttl.map_or(0, |ttl| crate::clock::wall_ms().saturating_add(ttl));
        Ok(Response::new(CreateTokenResponse { token: text, id, expires_ms }))
    }

    async fn list_tokens(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        access::user(&self.core, &request)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let items = view
            .state
            .tokens
            .values()
            .map(|token| TokenInfo {
                id: token.id.clone(),
                kind: match token.kind {
                    TokenKind::User => "user",
                    TokenKind::AgentJoin => "agent",
                }
                .to_owned(),
                name: token.name.clone(),
                created_ms: token.created_at.0,
                expires_ms: token.expires_at.map_or(0, |at| at.0),
                used: token.used,
                revoked: token.revoked,
            })
            .collect();
        Ok(Response::new(ListTokensResponse { index: view.index, items }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let principal = access::user(&self.core, &request)?;
        let command = RevokeToken { id: request.into_inner().id, principal: principal.name };
        self.core.truth.propose(Command::RevokeToken(command)).await.map_err(status)?;
        Ok(Response::new(RevokeTokenResponse {}))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let principal = access::user(&self.core, &request)?;
        let consensus = self.core.truth.status();
        let view = self.core.truth.view();
        let group = &self.core.group;
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: crate::COMMIT.to_owned(),
            group: group.id.clone(),
            generation: group.generation,
            peer: group.peer,
            role: format!("{:?}", consensus.role).to_lowercase(),
            term: consensus.term,
            commit_index: consensus.commit,
            applied_index: consensus.applied,
            state_version: view.state.version,
            now_ms: crate::clock::wall_ms(),
            principal: principal.name,
            page: group.page.clone(),
            disk: match format!("{:?}", consensus.disk).to_lowercase().as_str() {
                "ready" => "ok".to_owned(),
                other => other.to_owned(),
            },
            started_ms: group.started_ms,
        }))
    }
}
