//! Open calls end with what opened them: a revoked or expired token, a node that is no longer known, a
//! certificate that ran out.
//!
//! Services check their caller once, when a call begins. A stream may be open for days, so here each call
//! of gRPC is looked after until it ends. (Streams of the status page do the same for themselves.)

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Extensions, HeaderMap, Response};
use axum::middleware::Next;
use hyper::body::{Body as _, Frame, SizeHint};
use runyard_transport::token::UserToken;
use runyard_transport::{ConnectInfo, Identity};
use runyard_types::{Digest, NodeName};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use crate::core::Core;

/// How often a caller is looked up: what was revoked ends within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who opened a call, as far as it can be looked up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    User { token: String },
    Agent { node: NodeName, fingerprint: Digest, not_after_ms: Option<u64> },
}

impl Caller {
    /// `None` where there is nothing to revoke: the service refuses such callers by itself, or serves
    /// everybody.
    fn of<B>(request: &axum::http::Request<B>) -> Option<Self> {
        if let Some(agent) = Self::of_connection(request.extensions()) {
            return Some(agent);
        }
        let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let token = UserToken::from_authorization(header)?.id.as_str().to_owned();
        Some(Self::User { token })
    }

    /// The agent whose connection it is.
    pub(crate) fn of_connection(extensions: &Extensions) -> Option<Self> {
        let info = extensions.get::<ConnectInfo>()?;
        let Identity::Agent { node, fingerprint } = &info.identity else { return None };
        let (node, fingerprint) = (node.clone(), *fingerprint);
        Some(Self::Agent { node, fingerprint, not_after_ms: info.not_after_ms })
    }

    /// Whether the call may go on; its secret was checked when it began.
    pub(crate) fn check(&self, core: &Core, now_ms: u64) -> Result<(), Status> {
        let view = core.truth.view();
        let good = match self {
            Self::User { token } => view.state.tokens.get(token).is_some_and(|known| {
                !known.revoked && known.expires_at.is_none_or(|at| at.0 > now_ms)
            }),
            Self::Agent { node, fingerprint, not_after_ms } => {
                // One that was over from the start may renew: for that the service decides.
                not_after_ms.is_none_or(|end| now_ms <= end)
                    && view.state.nodes.get(node).is_some_and(|one| one.fingerprint == *fingerprint)
            }
        };
        match (good, self) {
            (true, _) => Ok(()),
            (false, Self::User { .. }) => Err(Status::unauthenticated(
                "the token was revoked or has expired while the call was open; get a new one from an admin",
            )),
            (false, Self::Agent { node, .. }) => Err(Status::unauthenticated(format!(
                "node {node} was removed, or its certificate ended, while the call was open"
            ))),
        }
    }

    /// Why the call must end, once it must.
    async fn revoked(&self, core: &Core) -> Status {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(status) = self.check(core, crate::clock::wall_ms()) {
                return status;
            }
        }
    }
}

/// Looks after a call from its beginning to the end of its answer.
pub(crate) async fn guard(
    State(core): State<Core>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let caller = match is_grpc(request.headers()) {
        // A caller that is not good from the start is the service's to refuse, or to let renew.
        true => Caller::of(&request)
            .filter(|caller| caller.check(&core, crate::clock::wall_ms()).is_ok()),
        false => None,
    };
    let Some(caller) = caller else { return next.run(request).await };
    let response = tokio::select! {
        // The call first: one that is answered at once costs no timer.
        biased;
        // Cut, it is dropped as if its client had left.
        response = next.run(request) => response,
        status = caller.revoked(&core) => return status.into_http(),
    };
    if response.body().is_end_stream() {
        return response;
    }
    response.map(|inner| {
        let due = Instant::now() + LOOK_EVERY;
        Body::new(Guarded { inner, caller, core: Arc::new(core), due, timer: None, over: false })
    })
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// An answer that ends early when its caller may no longer have it.
struct Guarded {
    inner: Body,
    caller: Caller,
    core: Arc<Core>,
    /// The next look at the caller.
    due: Instant,
    /// Wakes an answer that has nothing to say.
    timer: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Guarded {
    /// The last frame, which says why nothing follows.
    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, axum::Error> {
        self.over = true;
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).map_err(axum::Error::new)?;
        Ok(Frame::trailers(trailers))
    }
}

impl hyper::body::Body for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        loop {
            let now = Instant::now();
            if now >= this.due {
                // Also of an answer that never pauses.
                (this.due, this.timer) = (now + LOOK_EVERY, None);
                if let Err(status) = this.caller.check(&this.core, crate::clock::wall_ms()) {
                    return Poll::Ready(Some(this.end(&status)));
                }
            }
            if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
                return Poll::Ready(frame);
            }
            let due = this.due;
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // It may end early.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn callers_are_known_by_their_token_or_certificate() {
        let plain = || Request::post("/runyard.v1.Runs/Logs");
        assert_eq!(Caller::of(&plain().body(()).expect("a request")), None);
        let token = UserToken::generate();
        let value = format!("Bearer {}", token.expose());
        let user = plain().header(AUTHORIZATION, &value).body(()).expect("a request");
        let id = token.id.as_str().to_owned();
        assert_eq!(Caller::of(&user), Some(Caller::User { token: id }));
        let rubbish = plain().header(AUTHORIZATION, "Bearer x").body(()).expect("a request");
        assert_eq!(Caller::of(&rubbish), None);

        let node: NodeName = "gpu-7".parse().expect("a name");
        let fingerprint = Digest::of(b"a key");
        let peer_addr = "10.0.0.1:9".parse().expect("an address");
        // The certificate tells who it is, whatever else is in the headers.
        for (identity, known) in [
            (Identity::Agent { node: node.clone(), fingerprint }, true),
            (Identity::ExpiredAgent { node: node.clone(), fingerprint }, false),
        ] {
            let mut agent = plain().body(()).expect("a request");
            let info = ConnectInfo { peer_addr, identity, not_after_ms: Some(7) };
            agent.extensions_mut().insert(info);
            let expected = known.then(|| Caller::Agent {
                node: node.clone(),
                fingerprint,
                not_after_ms: Some(7),
            });
            assert_eq!(Caller::of(&agent), expected);
        }
    }

    #[test]
    fn only_grpc_is_looked_after_here() {
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().expect("a value"));
            assert_eq!(is_grpc(&headers), grpc, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
