//! Tiny servers, a client, and routes for the tests of the gateway.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use runyard_gateway::{Gateway, Options, Ready, Replica, RevisionReport, Route, RouteRevision};
use runyard_transport::task;
use runyard_types::{DeploymentName, ProjectName, TaskKey};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
/// What is waited for in a test comes well within this, or the test has failed.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

pub(crate) fn with_status(status: u16, body: &str) -> Response<Body> {
    let mut answer = Response::new(text(body.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

/// A replica; its listener and connections end with it.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// Requests to any path but `/ready`.
    pub(crate) requests: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Backend {
    /// `answer` gets the number of the request, from 1, and the request; `/ready` is answered 200.
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(u64, Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let requests = Arc::new(AtomicU64::new(0));
        let (answer, counted, stopped) = (Arc::new(answer), Arc::clone(&requests), stop.clone());
        task::spawn("backend", async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.expect("a connection"),
                    () = stopped.cancelled() => return,
                };
                stream.set_nodelay(true).expect("a TCP stream");
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                    async move {
                        if request.uri().path() == "/ready" {
                            return Ok::<_, Infallible>(with_status(200, "ready"));
                        }
                        let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
                        Ok(answer(number, request).await)
                    }
                });
                let stopped = stopped.clone();
                task::spawn("backend connection", async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let serving =
                        builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = serving => {}
                        () = stopped.cancelled() => {}
                    }
                });
            }
        });
        Self { address, requests, stop }
    }

    /// Always 200 with this text.
    pub(crate) async fn saying(says: &'static str) -> Self {
        Self::start(move |_, _| async move { with_status(200, says) }).await
    }

    /// As after kill -9: connections break off, new ones are refused.
    pub(crate) fn kill(&self) {
        self.stop.cancel();
    }

    pub(crate) fn count(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

pub(crate) fn revision(
    number: u32,
    weight_permille: u32,
    addresses: &[SocketAddr],
) -> RouteRevision {
    let project = ProjectName::default_project();
    let replicas = addresses.iter().enumerate().map(|(at, address)| Replica {
        task: TaskKey::parse(&project, &format!("digits@{number}/replica[{at}]")).expect("a key"),
        address: address.to_string(),
    });
    RouteRevision {
        number,
        weight_permille,
        replicas: replicas.collect(),
        ready: Ready { path: "/ready".into(), within_ms: 0, warm_up: Vec::new() },
        baseline_requests: 0,
        baseline_errors: 0,
    }
}

pub(crate) fn route(serving: u32, revisions: Vec<RouteRevision>) -> Route {
    Route {
        project: ProjectName::default_project(),
        deployment: DeploymentName::new("digits").expect("a name"),
        revisions,
        latch: 0,
        serving,
        drain_ms: 60_000,
    }
}

pub(crate) struct Env {
    pub(crate) gateway: Gateway,
    pub(crate) client: Client<HttpConnector, Full<Bytes>>,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Env {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_in(folder).await
    }

    pub(crate) async fn start_in(folder: tempfile::TempDir) -> Self {
        Self::start_with(folder, |options| options).await
    }

    pub(crate) async fn start_with(
        folder: tempfile::TempDir,
        change: impl Fn(Options) -> Options,
    ) -> Self {
        let address = "127.0.0.1:0".parse().expect("an address");
        let options = change(Options::new(address, folder.path().join("gateway")));
        let gateway = Gateway::start(options).await.expect("a gateway");
        Self { gateway, client: Client::builder(TokioExecutor::new()).build_http(), folder }
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(self.uri(path)).body(Full::default()).expect("a request");
        self.send(request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        let request = Request::post(self.uri(path))
            .header("content-type", "application/json")
            .body(Full::from(body.to_owned()))
            .expect("a request");
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let answer = self.client.request(request).await.expect("the gateway answers");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    pub(crate) fn report(&self, revision: u32) -> RevisionReport {
        let all = self.gateway.reports();
        all.into_iter().find(|report| report.revision == revision).expect("a known revision")
    }

    /// Waits until the report of the revision is as wanted.
    pub(crate) async fn until(
        &self,
        revision: u32,
        what: &str,
        wanted: impl Fn(&RevisionReport) -> bool,
    ) -> RevisionReport {
        let start = Instant::now();
        loop {
            let report = self.report(revision);
            if wanted(&report) {
                return report;
            }
            assert!(start.elapsed() < SOON, "not {what} after {SOON:?}: {report:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn until_ready(&self, revision: u32) {
        self.until(revision, "ready", |report| report.ready).await;
    }
}
