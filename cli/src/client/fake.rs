//! A coordinator for tests: answers from what a test puts in, and can be told to fail.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::{Stream, StreamExt, stream};
use runyard_proto::v1::runs_server::{Runs, RunsServer};
use runyard_proto::v1::*;
use runyard_transport::ca::Ca;
use runyard_transport::token::UserToken;
use runyard_transport::{Audience, listen, task};
use tonic::{Request, Response, Status};

use super::Client;
use crate::context::Connection;

/// What it knows and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// The states of the one run, one an answer; the last stays.
    pub(crate) states: VecDeque<Run>,
    pub(crate) listed: Vec<Run>,
    /// Each reading of the log: records, then perhaps a break.
    pub(crate) logs: VecDeque<Vec<Result<LogRecord, Status>>>,
    pub(crate) submissions: Vec<SubmitRequest>,
    /// Answers of the next calls to `Submit`, before it works.
    pub(crate) submit_failures: VecDeque<Status>,
    pub(crate) authorization: Vec<String>,
    pub(crate) lists: Vec<ListRunsRequest>,
}

/// A running fake and a client of it.
pub(crate) struct Fake {
    pub(crate) client: Client,
    script: Arc<Mutex<Script>>,
}

impl Fake {
    /// Starts one on a free port.
    pub(crate) async fn start(script: Script) -> Self {
        let script = Arc::new(Mutex::new(script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = RunsServer::new(Service(script.clone()));
        task::spawn(
            "fake",
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
        );
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.expect("a URL").connect_lazy();
        Self { client: Client::over(channel, None, "default"), script }
    }

    /// Serves the same over TLS, as a coordinator does; returns how to connect.
    pub(crate) async fn over_tls(&self, token: &UserToken) -> Connection {
        let now = std::time::SystemTime::now();
        let ca = Ca::create("test", now).expect("a CA");
        let identity = ca.issue_server(&["localhost".into()], now).expect("an identity");
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen(any, Audience::UsersAndAgents, &identity).await.expect("listens");
        let address = listener.local_addr().to_string();
        let service = RunsServer::new(Service(self.script.clone()));
        let incoming = listener;
        task::spawn(
            "fake-tls",
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
        );
        Connection {
            addresses: vec!["127.0.0.1:1".into(), address],
            ca: ca.certificate().clone(),
            token: Some(token.clone()),
            origin: "a test".into(),
        }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics while it holds this")
    }
}

struct Service(Arc<Mutex<Script>>);

impl Service {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in this fake"))
}

#[tonic::async_trait]
impl Runs for Service {
    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let mut script = self.script();
        if let Some(value) = request.metadata().get("authorization") {
            script.authorization.push(value.to_str().unwrap_or_default().to_owned());
        }
        script.submissions.push(request.into_inner());
        match script.submit_failures.pop_front() {
            Some(status) => Err(status),
            None => Ok(Response::new(SubmitResponse { run: "d-1".into(), ..Default::default() })),
        }
    }

    async fn get(&self, request: Request<GetRunRequest>) -> Result<Response<Run>, Status> {
        let mut script = self.script();
        let run = match script.states.len() {
            0 => {
                return Err(Status::not_found(format!(
                    "there is no run `{}`",
                    request.get_ref().run
                )));
            }
            1 => script.states[0].clone(),
            _ => script.states.pop_front().unwrap_or_default(),
        };
        Ok(Response::new(run))
    }

    async fn list(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        let request = request.into_inner();
        let mut script = self.script();
        let from: usize = request.page_token.parse().unwrap_or(0);
        // Small pages, so that tests see several.
        let items: Vec<Run> = script
            .listed
            .iter()
            .skip(from)
            .take((request.limit as usize).min(2))
            .cloned()
            .collect();
        let next = from + items.len();
        let more = next < script.listed.len();
        let next_page_token = if more { next.to_string() } else { String::new() };
        script.lists.push(request);
        Ok(Response::new(ListRunsResponse { index: 7, items, next_page_token }))
    }

    type EventsStream = Answers<Event>;
    async fn events(
        &self,
        request: Request<EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let bookmark = Event { bookmark: true, ..Default::default() };
        let first = Event { index: request.get_ref().from_index, ..Default::default() };
        let rest = stream::pending();
        Ok(Response::new(
            stream::iter([Ok(first.clone()), Ok(bookmark), Ok(first)]).chain(rest).boxed(),
        ))
    }

    type LogsStream = Answers<LogRecord>;
    async fn logs(
        &self,
        _request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let records = self.script().logs.pop_front().unwrap_or_default();
        Ok(Response::new(stream::iter(records).boxed()))
    }

    async fn plan(&self, _: Request<SubmitRequest>) -> Result<Response<PlanResponse>, Status> {
        unused()
    }
    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        unused()
    }
    async fn retry(&self, _: Request<RetryRequest>) -> Result<Response<RetryResponse>, Status> {
        unused()
    }
    async fn why(&self, _: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        unused()
    }
    async fn lineage(
        &self,
        _: Request<LineageRequest>,
    ) -> Result<Response<LineageResponse>, Status> {
        unused()
    }
    async fn metrics(
        &self,
        _: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        unused()
    }
}
