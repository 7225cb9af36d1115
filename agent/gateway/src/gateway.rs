//! The gateway as the daemon holds it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use runyard_transport::task;
use runyard_types::{DeploymentName, ProjectName};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::AnswerBody;
use crate::choice::Draws;
use crate::deployment::{Deployment, Shared};
use crate::latch::{LatchError, Latches};
use crate::proxy::{Proxy, split_path};
use crate::ready::{ProbeClient, keep_probing};
use crate::route::{RevisionReport, Route};
use crate::{answer, headers, server};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Shorter than the five seconds after which common servers close an idle connection, which would
/// lose the request sent at that moment.
const IDLE_CONNECTION: Duration = Duration::from_secs(3);
/// Until a latch that the disk refused is written again.
const LATCH_AGAIN: Duration = Duration::from_secs(1);

/// What a gateway needs to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where users connect; port 0 takes a free one.
    pub address: SocketAddr,
    /// Its own folder, made if missing; holds `latches.json`.
    pub state_dir: PathBuf,
    /// A replica that so long after the last byte of the request has not begun to answer, or takes
    /// nothing of a body for so long, has failed: 504. A user who sends nothing of a body for so long
    /// gets 408, which is nobody's error.
    pub answer_within: Duration,
    /// Connections from users at a time; more wait.
    pub connections_max: usize,
    /// A connection that has not sent a request's head by then is closed, an idle one too. Bodies may
    /// take as long as they like, as long as they go on.
    pub head_within: Duration,
}

impl Options {
    /// Five minutes for an answer to begin, 10,000 connections, half a minute for a head.
    pub fn new(address: SocketAddr, state_dir: PathBuf) -> Self {
        let answer_within = Duration::from_secs(300);
        let head_within = Duration::from_secs(30);
        Self { address, state_dir, answer_within, connections_max: 10_000, head_within }
    }
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the gateway can't listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Latch(#[from] LatchError),
}

/// A running gateway. Dropping it without [`Gateway::shutdown`] cuts its connections when the runtime
/// ends.
#[derive(Debug)]
pub struct Gateway {
    inner: Arc<Inner>,
    address: SocketAddr,
    runtime: tokio::runtime::Handle,
    stop: CancellationToken,
    connections: TaskTracker,
    latch_writer: tokio::task::JoinHandle<()>,
    latch_writer_stop: CancellationToken,
}

type Key = (ProjectName, DeploymentName);

#[derive(Debug)]
pub(crate) struct Inner {
    shared: Arc<Shared>,
    proxy: Proxy,
    probe_client: ProbeClient,
    /// All deployments with anything left; changed by `set_routes` only.
    deployments: Mutex<BTreeMap<Key, Arc<Deployment>>>,
    /// Those that are served, by name and then project; read by every request.
    table: ArcSwap<BTreeMap<DeploymentName, Vec<Arc<Deployment>>>>,
}

impl Gateway {
    /// Binds the address, reads the latches, and serves; without routes it answers 404.
    pub async fn start(options: Options) -> Result<Self, GatewayError> {
        let latches = {
            let folder = options.state_dir.clone();
            // A start-up read; nothing else runs on this gateway yet.
            Latches::open(&folder)?
        };
        let address = options.address;
        let listen = |source| GatewayError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let connections = TaskTracker::new();
        let seed = RandomState::new().build_hasher().finish();
        let shared =
            Arc::new(Shared { draws: Draws::new(seed), latches, changes: watch::Sender::new(0) });
        let mut http2 = builder();
        http2.http2_only(true);
        let inner = Arc::new(Inner {
            shared,
            proxy: Proxy {
                http1: builder().build(connector()),
                http2: http2.build(connector()),
                answer_within: options.answer_within,
                upgrades: connections.clone(),
            },
            probe_client: builder().build(connector()),
            deployments: Mutex::default(),
            table: ArcSwap::default(),
        });
        let stop = CancellationToken::new();
        let accept = server::accept(
            listener,
            Arc::clone(&inner),
            server::Limits {
                connections_max: options.connections_max,
                head_within: options.head_within,
            },
            stop.clone(),
            connections.clone(),
        );
        task::spawn("gateway accept", accept);
        let latch_writer_stop = CancellationToken::new();
        let write = write_latches(Arc::clone(&inner.shared), latch_writer_stop.clone());
        let latch_writer = task::spawn("gateway latches", write);
        let runtime = tokio::runtime::Handle::current();
        Ok(Self { inner, address, runtime, stop, connections, latch_writer, latch_writer_stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes over the whole desired set. What is in no route gets nothing new and drains.
    pub fn set_routes(&self, routes: Vec<Route>) {
        let _runtime = self.runtime.enter();
        let inner = &self.inner;
        let mut deployments = inner.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        let routed: BTreeMap<Key, Route> = routes
            .into_iter()
            .map(|route| ((route.project.clone(), route.deployment.clone()), route))
            .collect();
        for key in routed.keys() {
            deployments.entry(key.clone()).or_insert_with(|| {
                let (project, name) = key.clone();
                Arc::new(Deployment::new(project, name, Arc::clone(&inner.shared)))
            });
        }
        let mut table: BTreeMap<DeploymentName, Vec<Arc<Deployment>>> = BTreeMap::new();
        for (key, deployment) in deployments.iter() {
            let route = routed.get(key);
            for (revision, replica) in deployment.update(route) {
                let client = inner.probe_client.clone();
                let probing = keep_probing(Arc::clone(deployment), revision, replica, client);
                task::spawn("gateway prober", probing);
            }
            if route.is_some() {
                table.entry(key.1.clone()).or_default().push(Arc::clone(deployment));
            }
        }
        deployments.retain(|key, deployment| routed.contains_key(key) || !deployment.is_over());
        inner.table.store(Arc::new(table));
    }

    /// What is known of every revision that is in a route or still has requests.
    pub fn reports(&self) -> Vec<RevisionReport> {
        let deployments = self.inner.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        deployments.values().flat_map(|deployment| deployment.reports()).collect()
    }

    /// Changes whenever a report should be sent at once: readiness, failure, rollback.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.shared.changes.subscribe()
    }

    /// Stops accepting, lets what runs come to its end for at most `drain`, and writes the latches.
    pub async fn shutdown(self, drain: Duration) {
        self.stop.cancel();
        self.connections.close();
        if tokio::time::timeout(drain, self.connections.wait()).await.is_err() {
            tracing::warn!(left = self.connections.len(), "connections outlasted the drain");
        }
        for deployment in
            self.inner.deployments.lock().unwrap_or_else(PoisonError::into_inner).values()
        {
            deployment.stop_probing();
        }
        self.latch_writer_stop.cancel();
        if let Err(error) = self.latch_writer.await {
            tracing::error!(%error, "the writer of latches ended badly");
        }
    }
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_CONNECTION);
    builder
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    connector
}

/// Writes latches as they come, and what is left at the end.
async fn write_latches(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let is_last = stop.is_cancelled();
        let writer = Arc::clone(&shared);
        let written = tokio::task::spawn_blocking(move || writer.latches.write()).await;
        let failed = match written {
            Ok(Ok(())) => false,
            Ok(Err(error)) => {
                tracing::error!(%error, "a rollback is in force but not on disk; trying again");
                true
            }
            Err(error) => {
                tracing::error!(%error, "the write of latches ended badly");
                true
            }
        };
        shared.changes.send_modify(|count| *count += 1);
        if is_last {
            return;
        }
        // Cancel-safe: a missed notice is kept by `Notify`, the others hold nothing.
        tokio::select! {
            () = shared.latches.unwritten.notified() => {}
            () = tokio::time::sleep(LATCH_AGAIN), if failed => {}
            () = stop.cancelled() => {}
        }
    }
}

impl Inner {
    /// Answers any request.
    pub(crate) async fn handle(
        &self,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let (name, rest) = split_path(request.uri());
        let table = self.table.load_full();
        let found = table.get(name).map_or(&[][..], Vec::as_slice);
        let project = request.headers().get(headers::PROJECT).and_then(|value| value.to_str().ok());
        let deployment = match (found, project) {
            ([one], None) => Arc::clone(one),
            ([], _) => {
                let there_are: Vec<String> = table.keys().map(ToString::to_string).collect();
                return answer::no_such_deployment(name, &there_are);
            }
            (several, None) => {
                let projects: Vec<&str> = several.iter().map(|d| d.project.as_str()).collect();
                let error = format!(
                    "several projects have a deployment `{name}`; say which with the header \
                     x-runyard-project: {}",
                    projects.join(" or ")
                );
                return answer::refused(StatusCode::MULTIPLE_CHOICES, &error);
            }
            (several, Some(project)) => {
                let named = several.iter().find(|d| d.project.as_str() == project);
                let Some(named) = named else {
                    let error = format!("project `{project}` has no deployment `{name}` here");
                    return answer::refused(StatusCode::NOT_FOUND, &error);
                };
                Arc::clone(named)
            }
        };
        self.proxy.handle(&deployment, rest, peer, request).await
    }
}
