//! Models, gates and deployments.

use runyard_pipeline::StageKind;
use runyard_proto::v1::{
    DecideGateRequest, Deployment, GateView, GetDeploymentRequest, GetGateRequest, GetModelRequest,
    ListDeploymentsRequest, ListDeploymentsResponse, ListModelsRequest, ListModelsResponse, Model,
    RemoveDeploymentRequest, RemoveDeploymentResponse, RollbackRequest, SetAliasRequest,
    models_server::Models,
};
use runyard_state::entity::Task;
use runyard_state::{ApproveGate, Command, RemoveDeployment, Rollback, SetAlias, State};
use runyard_types::AliasName;
use tonic::{Request, Response, Status};

use super::names::{self, Target};
use crate::core::Core;
use crate::errors::status;
use crate::{access, reconcile, views};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct ModelsService {
    core: Core,
}

impl ModelsService {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }
}

/// The gate that a target means: itself, or the one of the run.
fn gate_task<'a>(state: &'a State, project: &str, target: &str) -> Result<&'a Task, Status> {
    let project = names::project(project)?;
    let found = names::target(state, &project, target)?;
    let is_gate = |task: &Task| {
        let run = task.key.run().and_then(|run| state.run(&project, run));
        run.and_then(|run| run.pipeline.stage(task.stage.as_ref()?.as_str()))
            .is_some_and(|stage| matches!(stage.kind, StageKind::Gate(_)))
    };
    let mut gates = found.tasks(state).into_iter().filter(|task| is_gate(task));
    let first = gates.next().ok_or_else(|| Status::not_found(format!("`{target}` has no gate")))?;
    match (gates.next(), &found) {
        (Some(second), Target::Run(_)) => Err(Status::invalid_argument(format!(
            "`{target}` has several gates; name one, such as {} or {}",
            first.key, second.key
        ))),
        _ => Ok(first),
    }
}

#[tonic::async_trait]
impl Models for ModelsService {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        access::user(&self.core, &request)?;
        let project = names::project(&request.get_ref().project)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let items = view
            .state
            .models
            .values()
            .filter(|model| model.project == project)
            .map(|model| views::model(&view.state, model))
            .collect();
        Ok(Response::new(ListModelsResponse { index: view.index, items }))
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<Model>, Status> {
        access::user(&self.core, &request)?;
        let request = request.into_inner();
        let (project, name) = (names::project(&request.project)?, names::model(&request.name)?);
        let view = self.core.truth.read().await.map_err(status)?;
        let model = view.state.model(&project, &name).ok_or_else(|| {
            Status::not_found(format!("there is no model `{name}`; `runyard models ls` lists them"))
        })?;
        Ok(Response::new(views::model(&view.state, model)))
    }

    async fn set_alias(
        &self,
        request: Request<SetAliasRequest>,
    ) -> Result<Response<Model>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let (project, model) = (names::project(&request.project)?, names::model(&request.model)?);
        let alias = AliasName::new(&request.alias)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let command = SetAlias {
            project: project.clone(),
            model: model.clone(),
            alias,
            version: (!request.remove).then_some(request.version),
            principal: principal.name,
            override_reason: (!request.override_reason.is_empty())
                .then_some(request.override_reason),
        };
        self.core.truth.propose(Command::SetAlias(command)).await.map_err(status)?;
        let view = self.core.truth.view();
        let model = view
            .state
            .model(&project, &model)
            .ok_or_else(|| Status::not_found("the model is gone"))?;
        Ok(Response::new(views::model(&view.state, model)))
    }

    async fn get_gate(
        &self,
        request: Request<GetGateRequest>,
    ) -> Result<Response<GateView>, Status> {
        access::user(&self.core, &request)?;
        let request = request.into_inner();
        let view = self.core.truth.read().await.map_err(status)?;
        let task = gate_task(&view.state, &request.project, &request.target)?;
        Ok(Response::new(views::gate(&self.core, task)))
    }

    async fn decide_gate(
        &self,
        request: Request<DecideGateRequest>,
    ) -> Result<Response<GateView>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let view = self.core.truth.read().await.map_err(status)?;
        let task = gate_task(&view.state, &request.project, &request.target)?;
        let promote = match task.key.run().and_then(|run| view.state.run(&task.key.project, run)) {
            Some(run) => match task
                .stage
                .as_ref()
                .and_then(|stage| run.pipeline.stage(stage.as_str()))
                .map(|s| &s.kind)
            {
                Some(StageKind::Gate(gate)) => reconcile::promotion(&view.state, run, gate)
                    .map_err(Status::failed_precondition)?,
                _ => None,
            },
            None => None,
        };
        let key = task.key.clone();
        let command = ApproveGate {
            task: key.clone(),
            approve: request.approve,
            principal: principal.name,
            reason: request.reason,
            promote,
        };
        self.core.truth.propose(Command::ApproveGate(command)).await.map_err(status)?;
        let view = self.core.truth.view();
        let task =
            view.state.tasks.get(&key).ok_or_else(|| Status::not_found("the gate is gone"))?;
        Ok(Response::new(views::gate(&self.core, task)))
    }

    async fn list_deployments(
        &self,
        request: Request<ListDeploymentsRequest>,
    ) -> Result<Response<ListDeploymentsResponse>, Status> {
        access::user(&self.core, &request)?;
        let project = names::project(&request.get_ref().project)?;
        let view = self.core.truth.read().await.map_err(status)?;
        let items = view
            .state
            .deployments
            .values()
            .filter(|deployment| deployment.project == project)
            .map(|deployment| views::deployment(&self.core, &view.state, deployment))
            .collect();
        Ok(Response::new(ListDeploymentsResponse { index: view.index, items }))
    }

    async fn get_deployment(
        &self,
        request: Request<GetDeploymentRequest>,
    ) -> Result<Response<Deployment>, Status> {
        access::user(&self.core, &request)?;
        let request = request.into_inner();
        let view = self.core.truth.read().await.map_err(status)?;
        self.show(&view.state, &request.project, &request.name)
    }

    async fn rollback(
        &self,
        request: Request<RollbackRequest>,
    ) -> Result<Response<Deployment>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let command = Rollback {
            project: names::project(&request.project)?,
            deployment: names::deployment(&request.deployment)?,
            to: (request.to_revision > 0).then_some(request.to_revision),
            principal: principal.name,
            reason: request.reason,
        };
        self.core.truth.propose(Command::Rollback(command)).await.map_err(status)?;
        self.show(&self.core.truth.view().state, &request.project, &request.deployment)
    }

    async fn remove_deployment(
        &self,
        request: Request<RemoveDeploymentRequest>,
    ) -> Result<Response<RemoveDeploymentResponse>, Status> {
        let principal = access::user(&self.core, &request)?;
        let request = request.into_inner();
        let command = RemoveDeployment {
            project: names::project(&request.project)?,
            deployment: names::deployment(&request.name)?,
            principal: principal.name,
        };
        self.core.truth.propose(Command::RemoveDeployment(command)).await.map_err(status)?;
        Ok(Response::new(RemoveDeploymentResponse {}))
    }
}

impl ModelsService {
    fn show(
        &self,
        state: &State,
        project: &str,
        name: &str,
    ) -> Result<Response<Deployment>, Status> {
        let (project, name) = (names::project(project)?, names::deployment(name)?);
        let deployment = state.deployment(&project, &name).ok_or_else(|| {
            Status::not_found(format!(
                "there is no deployment `{name}`; `runyard deploy ls` lists them"
            ))
        })?;
        Ok(Response::new(views::deployment(&self.core, state, deployment)))
    }
}
