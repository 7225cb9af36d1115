//! `/api/v1`: the services' answers as JSON, asked with the caller's own token.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use runyard_proto::v1::fleet_server::Fleet;
use runyard_proto::v1::models_server::Models;
use runyard_proto::v1::runs_server::Runs;
use runyard_proto::v1::{
    GetDeploymentRequest, GetModelRequest, GetNodeRequest, GetRunRequest, ListDeploymentsRequest,
    ListModelsRequest, ListNodesRequest, ListRunsRequest, ListRunsResponse, StatusRequest,
};
use runyard_types::ProjectName;
use serde::Deserialize;
use tonic::Status;

use super::answer::{Answer, Refused, list, message};
use super::login::{request, user};
use crate::core::Core;
use crate::readmodel::{ReadModelError, RunQuery};
use crate::services::{FleetService, ModelsService, RunsService};
use crate::views;

/// Runs in one page of a list.
const PAGE: u32 = 1_000;

/// Which project; `default` where none is named.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scope {
    #[serde(default)]
    project: String,
}

/// Which runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct RunFilter {
    project: String,
    /// Those at their end, too.
    all: bool,
    pipeline: String,
    state: String,
    limit: u32,
    page_token: String,
}

pub(super) fn project(text: &str) -> Result<ProjectName, Status> {
    if text.is_empty() {
        return Ok(ProjectName::default_project());
    }
    ProjectName::new(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(super) async fn status(State(core): State<Core>, headers: HeaderMap) -> Answer {
    let answer = FleetService::new(core).status(request(&headers, StatusRequest {})?).await?;
    message("runyard.v1.StatusResponse", answer.get_ref())
}

pub(super) async fn runs(
    State(core): State<Core>,
    headers: HeaderMap,
    Query(filter): Query<RunFilter>,
) -> Answer {
    if !filter.pipeline.is_empty() || !filter.state.is_empty() {
        return search(&core, &headers, filter).await;
    }
    let RunFilter { project, all, limit, page_token, .. } = filter;
    let ask = request(&headers, ListRunsRequest { project, all, limit, page_token })?;
    let answer = RunsService::new(core).list(ask).await?;
    list("runyard.v1.ListRunsResponse", answer.get_ref())
}

/// Runs by pipeline or state: found in the read model, shown from the state.
async fn search(core: &Core, headers: &HeaderMap, filter: RunFilter) -> Answer {
    user(core, headers)?;
    let own = project(&filter.project)?;
    let view = core.truth.read().await.map_err(crate::errors::status)?;
    let limit = if filter.limit == 0 { PAGE } else { filter.limit.min(PAGE) };
    let query = RunQuery {
        pipeline: filter.pipeline,
        state: filter.state,
        before: filter.page_token,
        limit: limit as usize,
    };
    let (model, asked) = (std::sync::Arc::clone(&core.read_model), own.clone());
    let (rows, more) = tokio::task::spawn_blocking(move || model.runs(&asked, &query))
        .await
        .map_err(|_| Status::internal("the search was cut off"))?
        .map_err(read_model)?;
    let known = |name: &str| view.state.run(&own, &name.parse().ok()?);
    let items = rows
        .iter()
        .filter_map(|row| known(&row.name))
        .map(|run| views::run_summary(&view.state, run));
    let answer = ListRunsResponse {
        index: view.index,
        items: items.collect(),
        next_page_token: more.unwrap_or_default(),
    };
    list("runyard.v1.ListRunsResponse", &answer)
}

/// What a caller is told about the read model.
pub(super) fn read_model(error: ReadModelError) -> Refused {
    let text = error.to_string();
    Refused(match error {
        ReadModelError::Compacted { .. } => Status::out_of_range(text),
        ReadModelError::Cursor(_) => Status::invalid_argument(text),
        ReadModelError::NotReady => Status::unavailable(text),
        _ => {
            tracing::error!(%error, "the read model gave no answer");
            Status::unavailable(
                "the read model is damaged and is being rebuilt; try again in a moment",
            )
        }
    })
}

pub(super) async fn run(
    State(core): State<Core>,
    headers: HeaderMap,
    Path(run): Path<String>,
    Query(scope): Query<Scope>,
) -> Answer {
    let ask = request(&headers, GetRunRequest { project: scope.project, run })?;
    message("runyard.v1.Run", RunsService::new(core).get(ask).await?.get_ref())
}

pub(super) async fn nodes(State(core): State<Core>, headers: HeaderMap) -> Answer {
    let answer =
        FleetService::new(core).list_nodes(request(&headers, ListNodesRequest {})?).await?;
    list("runyard.v1.ListNodesResponse", answer.get_ref())
}

pub(super) async fn node(
    State(core): State<Core>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Answer {
    let answer =
        FleetService::new(core).get_node(request(&headers, GetNodeRequest { name })?).await?;
    message("runyard.v1.Node", answer.get_ref())
}

pub(super) async fn models(
    State(core): State<Core>,
    headers: HeaderMap,
    Query(scope): Query<Scope>,
) -> Answer {
    let ask = request(&headers, ListModelsRequest { project: scope.project })?;
    list(
        "runyard.v1.ListModelsResponse",
        ModelsService::new(core).list_models(ask).await?.get_ref(),
    )
}

pub(super) async fn model(
    State(core): State<Core>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
) -> Answer {
    let ask = request(&headers, GetModelRequest { project: scope.project, name })?;
    message("runyard.v1.Model", ModelsService::new(core).get_model(ask).await?.get_ref())
}

pub(super) async fn deployments(
    State(core): State<Core>,
    headers: HeaderMap,
    Query(scope): Query<Scope>,
) -> Answer {
    let ask = request(&headers, ListDeploymentsRequest { project: scope.project })?;
    list(
        "runyard.v1.ListDeploymentsResponse",
        ModelsService::new(core).list_deployments(ask).await?.get_ref(),
    )
}

pub(super) async fn deployment(
    State(core): State<Core>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(scope): Query<Scope>,
) -> Answer {
    let ask = request(&headers, GetDeploymentRequest { project: scope.project, name })?;
    message("runyard.v1.Deployment", ModelsService::new(core).get_deployment(ask).await?.get_ref())
}
