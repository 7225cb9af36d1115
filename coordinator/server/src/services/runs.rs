//! Runs: submission, lists, logs, events, reasons.

use std::pin::Pin;

use runyard_proto::v1::{
    CancelRequest, CancelResponse, Event, EventsRequest, GetRunRequest, LineageRequest,
    LineageResponse, ListRunsRequest, ListRunsResponse, LogRecord, LogsRequest, MetricsRequest,
    MetricsResponse, PlanResponse, RetryRequest, RetryResponse, Run, SubmitRequest, SubmitResponse,
    WhyRequest, WhyResponse, runs_server::Runs,
};
use runyard_state::{CancelRun, Command, Reply, RetryRun};
use runyard_transport::task;
use runyard_types::StageName;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{lineage, logs, metrics, names, plan, submit, why};
use crate::core::Core;
use crate::errors::status;
use crate::{access, views};

/// Runs in one page of a list.
const PAGE: usize = 1_000;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct RunsService {
    core: Core,
}

impl RunsService {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Runs for RunsService {
    type EventsStream = Answers<Event>;
    type LogsStream = Answers<LogRecord>;

    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let principal = access::user(&self.core, &request)?;
        submit::submit(&self.core, principal, request.into_inner()).await.map(Response::new)
    }

    async fn plan(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<PlanResponse>, Status> {
        access::user(&self.core, &request)?;
        plan::plan(&self.core, request.into_inner()).await.map(Response::new)
    }

    async fn get(&self, request: Request<GetRunRequest>) -> Result<Response<Run>, Status> {
        access::user(&self.core, &request)?;
        let request = request.into_inner();
        let project = names::project(&request.project)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let run = names::run(&view.state, &project, &request.run)?;
        Ok(Response::new(views::run(&view.state, &self.core.live, run)))
    }

    async fn list(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        access::user(&self.core, &request)?;
        let request = request.into_inner();
        let project = names::project(&request.project)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let mut runs: Vec<_> = view
            .state
            .runs
            .iter()
            .filter(|((own, _), run)| *own == project && (request.all || !run.state.is_final()))
            .map(|(_, run)| run)
            .collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.uid)));
        let after = runs
            .iter()
            .position(|run| run.uid.to_string() == request.page_token)
            .map_or(0, |at| at + 1);
        let limit = if request.limit == 0 { PAGE } else { (request.limit as usize).min(PAGE) };
        let page = runs.get(after..).unwrap_or_default();
        let next_page_token = match page.get(..limit).and_then(<[_]>::last) {
            Some(last) if page.len() > limit => last.uid.to_string(),
            _ => String::new(),
        };
        let items =
            page.iter().take(limit).map(|run| views::run_summary(&view.state, run)).collect();
        Ok(Response::new(ListRunsResponse { index: view.index, items, next_page_token }))
    }

    async fn cancel(
        &self,
        request: Request<CancelRequest>,
    ) -> Result<Response<CancelResponse>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let project = names::project(&request.project)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let run = names::run(&view.state, &project, &request.run)?.name.clone();
        let command = CancelRun { project, run, reason: request.reason, principal: principal.name };
        let stopped =
            match self.core.truth.propose(Command::CancelRun(command)).await.map_err(status)? {
                Reply::Tasks(tasks) => tasks.len() as u32,
                _ => 0,
            };
        Ok(Response::new(CancelResponse { stopped }))
    }

    async fn retry(
        &self,
        request: Request<RetryRequest>,
    ) -> Result<Response<RetryResponse>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let project = names::project(&request.project)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let run = names::run(&view.state, &project, &request.run)?.name.clone();
        let stage = match request.stage.as_str() {
            "" => None,
            text => Some(
                StageName::new(text)
                    .map_err(|error| Status::invalid_argument(error.to_string()))?,
            ),
        };
        let command = RetryRun { project, run, stage, principal: principal.name };
        let tasks =
            match self.core.truth.propose(Command::RetryRun(command)).await.map_err(status)? {
                Reply::Tasks(tasks) => tasks.iter().map(ToString::to_string).collect(),
                _ => Vec::new(),
            };
        Ok(Response::new(RetryResponse { tasks }))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        access::user(&self.core, &request)?;
        let view = self.core.truth.read().await.map_err(status)?;
        why::why(&view.state, &request.into_inner()).map(Response::new)
    }

    async fn lineage(
        &self,
        request: Request<LineageRequest>,
    ) -> Result<Response<LineageResponse>, Status> {
        access::user(&self.core, &request)?;
        let view = self.core.truth.read().await.map_err(status)?;
        lineage::lineage(&self.core, &view.state, &request.into_inner()).map(Response::new)
    }

    async fn events(
        &self,
        request: Request<EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        access::user(&self.core, &request)?;
        let (send, receive) = mpsc::channel(256);
        self.core.truth.read().await.map_err(status)?;
        drop(task::spawn(
            "events",
            super::watch::events(self.core.clone(), request.into_inner(), send),
        ));
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        access::user(&self.core, &request)?;
        self.core.truth.read().await.map_err(status)?;
        let (send, receive) = mpsc::channel(64);
        logs::check(&self.core, request.get_ref())?;
        drop(task::spawn("logs", logs::serve(self.core.clone(), request.into_inner(), send)));
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn metrics(
        &self,
        request: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        access::user(&self.core, &request)?;
        metrics::metrics(&self.core, request.into_inner()).await.map(Response::new)
    }
}
