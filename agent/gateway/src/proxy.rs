//! A request on its way: which deployment, which revision, which replica, and what if that fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_util::task::TaskTracker;

use crate::body::{AnswerBody, Awaited, Replay, Sending, Watched};
use crate::choice::Choice;
use crate::deployment::Deployment;
use crate::exchange::Exchange;
use crate::ready::chain;
use crate::replica::ReplicaState;
use crate::revision::Revision;
use crate::{answer, feedback, headers, upgrade};

/// Tries at one request, the first included.
const TRIES_MAX: usize = 3;

pub(crate) type ReplicaClient = Client<HttpConnector, Sending>;

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) http1: ReplicaClient,
    /// For gRPC, which needs HTTP/2 from end to end.
    pub(crate) http2: ReplicaClient,
    pub(crate) answer_within: Duration,
    pub(crate) upgrades: TaskTracker,
}

/// How a try at a replica ended without an answer for the user.
struct Failed {
    status: StatusCode,
    problem: String,
    /// It never reached the replica, so it may be sent again whatever it asks for.
    unsent: bool,
    /// The user stopped sending: no fault of the replica, and nobody waits for an answer.
    by_user: bool,
}

/// The request as it is sent, again and again if need be.
struct Outgoing {
    parts: Parts,
    body: Replay,
    is_upgrade: bool,
    is_grpc: bool,
}

/// The deployment's part and the rest of a path: `/digits/predict?x=1` → `digits`, `/predict?x=1`.
pub(crate) fn split_path(uri: &Uri) -> (&str, PathAndQuery) {
    let text = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let text = text.strip_prefix('/').unwrap_or(text);
    let end = text.find(['/', '?']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    // A part of a valid path and query that begins with a slash is valid.
    (name, rest.parse().unwrap_or_else(|_| PathAndQuery::from_static("/")))
}

impl Proxy {
    /// Answers a request for `deployment`; `rest` is the path as the replica sees it.
    pub(crate) async fn handle(
        &self,
        deployment: &Arc<Deployment>,
        rest: PathAndQuery,
        peer: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        if rest.path() == "/-/feedback" {
            let (parts, body) = request.into_parts();
            return feedback::take(deployment, &parts.method, &parts.headers, body).await;
        }
        let is_upgrade =
            request.version() == Version::HTTP_11 && headers::is_upgrade(request.headers());
        let on_upgrade = is_upgrade.then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let id = headers::request_id(&parts.headers, || deployment.shared.draws.next());
        self.prepare(&mut parts, &id, rest, peer, deployment, is_upgrade);
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_grpc = parts.version == Version::HTTP_2
            && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let outgoing = Outgoing { parts, body: Replay::new(body), is_upgrade, is_grpc };
        let mut answer = self.answer(deployment, &outgoing, on_upgrade, &id).await;
        answer.headers_mut().insert(headers::REQUEST_ID, id);
        answer
    }

    fn prepare(
        &self,
        parts: &mut Parts,
        id: &HeaderValue,
        rest: PathAndQuery,
        peer: SocketAddr,
        deployment: &Deployment,
        is_upgrade: bool,
    ) {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| parts.uri.authority().map(|a| a.as_str())).map(str::to_owned);
        headers::strip_hop_by_hop(&mut parts.headers, is_upgrade);
        let name = deployment.name.as_str();
        headers::add_forwarded(&mut parts.headers, peer, host.as_deref(), name);
        parts.headers.insert(headers::REQUEST_ID, id.clone());
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(&host).ok()) {
            parts.headers.insert(header::HOST, host);
        }
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(rest);
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
    }

    async fn answer(
        &self,
        deployment: &Arc<Deployment>,
        outgoing: &Outgoing,
        mut on_upgrade: Option<OnUpgrade>,
        id: &HeaderValue,
    ) -> Response<AnswerBody> {
        let choice = deployment.choice();
        let Some(mut revision) = choice.draw(&deployment.shared.draws).cloned() else {
            return answer::not_ready(deployment.name.as_str(), &deployment.why_not());
        };
        let mut shares = Some(Arc::clone(&choice.shares));
        let mut tried: Vec<Arc<ReplicaState>> = Vec::new();
        let mut failures: Vec<Arc<Revision>> = Vec::new();
        loop {
            let Some(replica) = revision.replica(&deployment.shared.draws, &tried) else {
                // Its replicas were replaced since the draw.
                let serving = deployment.choice().serving.clone();
                match serving.filter(|serving| !Arc::ptr_eq(serving, &revision)) {
                    Some(serving) => {
                        (revision, shares) = (serving, None);
                        continue;
                    }
                    None => {
                        not_rescued(&failures);
                        let why = deployment.why_not();
                        return answer::not_ready(deployment.name.as_str(), &why);
                    }
                }
            };
            let mut exchange =
                Exchange::begin(deployment, Arc::clone(&revision), replica, shares.take());
            let failed = match self.send(outgoing, &exchange).await {
                Ok(answer) => {
                    exchange.answered();
                    let status = answer.status();
                    let is_retriable =
                        matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE);
                    let next = is_retriable.then(|| self.next(&exchange, &tried, outgoing, false));
                    let Some(next) = next.flatten() else {
                        if is_error(&answer) {
                            not_rescued(&failures);
                        }
                        return self.pass_on(deployment, answer, exchange, on_upgrade.take(), id);
                    };
                    rescue(&mut exchange, &mut failures);
                    tried.push(Arc::clone(&exchange.replica));
                    revision = next;
                    continue;
                }
                Err(failed) => failed,
            };
            if failed.by_user {
                return answer::refused(failed.status, &failed.problem);
            }
            tracing::debug!(
                deployment = %deployment.name, revision = revision.number,
                replica = %exchange.replica.replica.task, problem = failed.problem,
                "a replica failed a request"
            );
            if failed.unsent && exchange.replica.doubt() {
                exchange.revision.status().detail =
                    format!("{}: {}", exchange.replica.replica.task, failed.problem);
                deployment.readiness_changed();
            }
            match self.next(&exchange, &tried, outgoing, failed.unsent) {
                Some(next) => {
                    rescue(&mut exchange, &mut failures);
                    tried.push(Arc::clone(&exchange.replica));
                    revision = next;
                }
                None => {
                    exchange.failed();
                    not_rescued(&failures);
                    deployment.remember(id, &revision, exchange.shares(), true);
                    let error = format!(
                        "revision {} of `{}` gave no answer: {}",
                        revision.number, deployment.name, failed.problem
                    );
                    return answer::refused(failed.status, &error);
                }
            }
        }
    }

    /// The revision that may answer instead, by a replica not tried yet: the same, if it serves alone;
    /// else the one that all falls back to.
    fn next(
        &self,
        exchange: &Exchange,
        tried: &[Arc<ReplicaState>],
        outgoing: &Outgoing,
        unsent: bool,
    ) -> Option<Arc<Revision>> {
        let may_repeat = unsent || outgoing.is_idempotent();
        if tried.len() + 1 >= TRIES_MAX || !may_repeat || !outgoing.body.can_repeat() {
            return None;
        }
        // Read afresh: the failure may just have moved the traffic.
        let choice: Arc<Choice> = exchange.choice();
        let is_other = |replica: &Arc<ReplicaState>| {
            replica.was_ready()
                && !Arc::ptr_eq(replica, &exchange.replica)
                && !tried.iter().any(|tried| Arc::ptr_eq(tried, replica))
        };
        let has_other = |revision: &&Arc<Revision>| revision.replicas.load().iter().any(is_other);
        let alone = Some(&exchange.revision).filter(|own| choice.shares.of(own.number) >= 1.0);
        alone.filter(has_other).or_else(|| choice.serving.as_ref().filter(has_other)).cloned()
    }

    async fn send(
        &self,
        outgoing: &Outgoing,
        exchange: &Exchange,
    ) -> Result<Response<Incoming>, Failed> {
        let address = &exchange.replica.replica.address;
        let request = outgoing.request(address)?;
        let client = if outgoing.is_grpc { &self.http2 } else { &self.http1 };
        // Cancel-safe: a request that is dropped closes its connection, the other holds nothing.
        let answer = tokio::select! {
            biased;
            answer = client.request(request) => Ok(answer),
            awaited = outgoing.body.overdue(self.answer_within) => Err(awaited),
        };
        let waited = self.answer_within.as_secs();
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Err(Awaited::User) => Err(Failed {
                status: StatusCode::REQUEST_TIMEOUT,
                unsent: false,
                by_user: true,
                problem: format!("nothing came of the request's body for {waited} s"),
            }),
            Ok(Err(error)) if is_by_user(&error) => Err(Failed {
                status: StatusCode::BAD_REQUEST,
                unsent: false,
                by_user: true,
                problem: format!("the request's body broke off: {}", chain(&error)),
            }),
            Ok(Err(error)) => Err(Failed {
                status: StatusCode::BAD_GATEWAY,
                unsent: error.is_connect(),
                by_user: false,
                problem: chain(&error),
            }),
            Err(Awaited::Replica) => Err(Failed {
                status: StatusCode::GATEWAY_TIMEOUT,
                unsent: false,
                by_user: false,
                problem: format!("no answer in {waited} s"),
            }),
        }
    }

    fn pass_on(
        &self,
        deployment: &Deployment,
        mut answer: Response<Incoming>,
        mut exchange: Exchange,
        on_upgrade: Option<OnUpgrade>,
        id: &HeaderValue,
    ) -> Response<AnswerBody> {
        let revision = exchange.revision.number;
        let is_error = is_error(&answer);
        if is_error {
            exchange.failed();
        }
        deployment.remember(id, &exchange.revision, exchange.shares(), is_error);
        let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        headers::strip_hop_by_hop(answer.headers_mut(), switches);
        answer.headers_mut().insert(headers::REVISION, HeaderValue::from(revision));
        *answer.version_mut() = Version::default();
        match on_upgrade.filter(|_| switches) {
            Some(user) => {
                let replica = hyper::upgrade::on(&mut answer);
                upgrade::join(&self.upgrades, user, replica, exchange);
                answer.map(|_| crate::body::full(""))
            }
            None => answer.map(|body| Watched::new(body, exchange).boxed_unsync()),
        }
    }
}

/// Counts the error as one that no user sees: before the watch hears of it, because that may roll back
/// at once and tell how many users were affected.
fn rescue(exchange: &mut Exchange, failures: &mut Vec<Arc<Revision>>) {
    exchange.revision.counters.rescued.fetch_add(1, Ordering::Relaxed);
    failures.push(Arc::clone(&exchange.revision));
    exchange.failed();
}

/// Takes that back: in the end the user met an error.
fn not_rescued(failures: &[Arc<Revision>]) {
    for failed in failures {
        failed.counters.rescued.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_error(answer: &Response<Incoming>) -> bool {
    answer.status().is_server_error()
        || answer.headers().get(headers::ERROR).is_some_and(|value| value == "1")
}

/// Whether sending failed because the body from the user did.
fn is_by_user(error: &hyper_util::client::legacy::Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.and_then(|cause| cause.downcast_ref::<hyper::Error>()).is_some_and(hyper::Error::is_user)
}

impl Outgoing {
    fn request(&self, address: &str) -> Result<Request<Sending>, Failed> {
        let mut uri = self.parts.uri.clone().into_parts();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        let unusable = |error: &dyn std::error::Error| Failed {
            status: StatusCode::BAD_GATEWAY,
            problem: format!("the replica's address `{address}` is unusable: {error}"),
            unsent: true,
            by_user: false,
        };
        uri.authority = Some(address.parse().map_err(|error| unusable(&error))?);
        let uri = Uri::from_parts(uri).map_err(|error| unusable(&error))?;
        let mut request = Request::new(self.body.send());
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.parts.headers.clone();
        *request.version_mut() = if self.is_grpc { Version::HTTP_2 } else { Version::HTTP_11 };
        Ok(request)
    }

    /// It may be carried out twice: by its method, or because its caller said so by a key.
    fn is_idempotent(&self) -> bool {
        let method = &self.parts.method;
        !self.is_upgrade
            && (method.is_idempotent()
                || method == Method::POST && self.parts.headers.contains_key("idempotency-key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployment_is_the_first_part_of_the_path() {
        for (uri, name, rest) in [
            ("/digits/predict?x=1", "digits", "/predict?x=1"),
            ("/digits", "digits", "/"),
            ("/digits?a=b", "digits", "/?a=b"),
            ("/digits//a/../b", "digits", "//a/../b"),
            ("/", "", "/"),
            ("//x", "", "/x"),
            ("http://host:1/digits/v2", "digits", "/v2"),
            ("/digits/a%2Fb", "digits", "/a%2Fb"),
        ] {
            let uri: Uri = uri.parse().expect("a URI");
            let (found, path) = split_path(&uri);
            assert_eq!((found, path.as_str()), (name, rest), "{uri}");
        }
    }
}
