//! Who calls, and whether the call is for them.

use runyard_state::State;
use runyard_state::entity::TokenKind;
use runyard_transport::token::{Kind, UserToken, verify};
use runyard_transport::{ConnectInfo, Identity};
use runyard_types::{NodeName, ProjectName};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};

use crate::core::Core;

/// The caller of a user's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) name: String,
    pub(crate) token: String,
}

/// The user behind a call.
pub(crate) fn user<T>(core: &Core, request: &Request<T>) -> Result<Principal, Status> {
    user_of(&core.truth.view().state, request.metadata())
}

/// The user whose token the metadata carries.
pub(crate) fn user_of(state: &State, metadata: &MetadataMap) -> Result<Principal, Status> {
    let value =
        metadata.get("authorization").and_then(|value| value.to_str().ok()).ok_or_else(|| {
            Status::unauthenticated("no token was sent; run `runyard login`, or set RUNYARD_TOKEN")
        })?;
    user_by_header(state, value)
}

/// The user whose token an `Authorization` header carries.
pub(crate) fn user_by_header(state: &State, value: &str) -> Result<Principal, Status> {
    // One text for all: whether a token exists is nobody's business.
    let refused = || {
        Status::unauthenticated(
            "the token is unknown, expired or revoked; get a new one from an admin",
        )
    };
    let token = UserToken::from_authorization(value).ok_or_else(refused)?;
    let known = state.tokens.get(token.id.as_str()).ok_or_else(refused)?;
    let expired = known.expires_at.is_some_and(|at| at.0 <= crate::clock::wall_ms());
    let right = verify(Kind::User, &token.id, &token.secret, &known.hash);
    if known.kind != TokenKind::User || known.revoked || expired || !right {
        return Err(refused());
    }
    Ok(Principal { name: known.name.clone(), token: known.id.clone() })
}

/// What an agent is told whose connection has outlived its certificate.
pub(crate) fn certificate_over(node: &NodeName) -> Status {
    Status::unauthenticated(format!(
        "the certificate of node {node} has ended; it can only be renewed with it"
    ))
}

/// Whether a caller may touch a project's blobs: users by their token, nodes by the work they hold there.
pub(crate) fn blobs(
    core: &Core,
    metadata: &MetadataMap,
    extensions: &Extensions,
    project: &ProjectName,
) -> Result<(), Status> {
    let view = core.truth.view();
    let info = extensions.get::<ConnectInfo>();
    if let Some(info @ ConnectInfo { identity: Identity::Agent { node, fingerprint }, .. }) = info {
        if info.is_over(crate::clock::wall_ms()) {
            return Err(certificate_over(node));
        }
        let known = view.state.nodes.get(node).filter(|known| known.fingerprint == *fingerprint);
        let Some(known) = known else {
            return Err(Status::permission_denied("this node is not part of the group"));
        };
        let works = known.workers.iter().any(|key| key.attempt.task.project == *project)
            || core.live.is_granted(node, project);
        if works {
            return Ok(());
        }
        return Err(Status::permission_denied(format!(
            "node {node} has no work in project {project}"
        )));
    }
    user_of(&view.state, metadata).map(drop)
}
