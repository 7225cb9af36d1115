//! New revisions of deployments.

use std::sync::Arc;

use runyard_pipeline::StageKind;
use runyard_types::{DeploymentName, DurationMs, Parent, ProjectName, TaskKey};

use crate::command::{Deploy, RemoveDeployment};
use crate::entity::{
    Deployment, Revision, RevisionSpec, RevisionState, Task, TaskResult, TaskState,
};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn deploy(&mut self, ctx: &mut Ctx, command: Deploy) -> Result<Reply, Refusal> {
        let Deploy { project, deployment: name, spec, task } = command;
        if spec.replicas == 0 {
            return Err(Refusal::Invalid {
                what: "a deployment needs at least one replica".to_owned(),
            });
        }
        if let Some(task) = &task {
            let entity = self.tasks.get(task).ok_or_else(|| Refusal::not_found("task", task))?;
            let deploys = matches!(self.kind_of(task), Some(StageKind::Deploy(_)));
            if !deploys || entity.state != TaskState::Active || entity.revision.is_some() {
                return Err(Refusal::precondition(format!(
                    "{task} is no deploy stage that waits for its revision"
                )));
            }
        }
        let version =
            self.model(&project, &spec.model).and_then(|model| model.version(spec.model_version));
        if version.is_none_or(|version| version.root != spec.model_root) {
            return Err(Refusal::precondition(format!(
                "{}@{} is not {}",
                spec.model,
                spec.model_version,
                spec.model_root.short()
            )));
        }
        let key = (project.clone(), name.clone());
        if let Some(rolling) =
            self.deployments.get(&key).and_then(|deployment| deployment.rolling())
        {
            return Err(Refusal::precondition(format!(
                "{name} is rolling out revision {}; one at a time",
                rolling.number
            )));
        }
        if let (Some(task), Some(number)) = (&task, self.serves_already(&key, &spec)) {
            self.task_mut(task)?.revision = Some(number);
            let reason = format!("{name} revision {number} serves just this already");
            self.move_task(ctx, task, TaskState::Succeeded, &reason);
            return Ok(Reply::Revision(number));
        }
        let mut deployment = self.deployments.get(&key).map_or_else(
            || Deployment {
                project: project.clone(),
                name: name.clone(),
                revisions: Vec::new(),
                serving: None,
                latch: 0,
            },
            |deployment| Deployment::clone(deployment),
        );
        let number = deployment.revisions.len() as u32 + 1;
        deployment.revisions.push(Revision {
            number,
            spec: spec.clone(),
            state: RevisionState::Starting,
            since: self.clock.elapsed,
            created_at: self.clock.wall,
            task: task.clone(),
            requests: 0,
            errors: 0,
            reason: String::new(),
        });
        self.deployments.insert_mut(key, Arc::new(deployment));
        self.emit(
            ctx,
            Some(&project),
            EventKind::RevisionCreated {
                deployment: name.clone(),
                revision: number,
                model: spec.model.clone(),
                version: spec.model_version,
            },
        );
        if let Some(task) = &task {
            self.task_mut(task)?.revision = Some(number);
        }
        let parent = Parent::Revision { deployment: name, revision: number };
        for index in 0..spec.replicas {
            let replica = replica(
                TaskKey { project: project.clone(), parent: parent.clone(), index: Some(index) },
                &spec,
            );
            let key = replica.key.clone();
            self.tasks.insert_mut(key.clone(), Arc::new(replica));
            self.open_tasks += 1;
            self.move_task(ctx, &key, TaskState::Queued, "");
        }
        Ok(Reply::Revision(number))
    }

    /// The revision that serves exactly this: model, code, environment, command, variables and all.
    fn serves_already(
        &self,
        key: &(ProjectName, DeploymentName),
        spec: &RevisionSpec,
    ) -> Option<u32> {
        let deployment = self.deployments.get(key)?;
        let serving = deployment.revision(deployment.serving?)?;
        (serving.state == RevisionState::Serving && serving.spec == *spec).then_some(serving.number)
    }

    pub(super) fn remove_deployment(
        &mut self,
        ctx: &mut Ctx,
        command: &RemoveDeployment,
    ) -> Result<Reply, Refusal> {
        let RemoveDeployment { project, deployment: name, principal } = command;
        let deployment = self
            .deployment(project, name)
            .ok_or_else(|| Refusal::not_found("deployment", name))?
            .clone();
        let reason = "the deployment was removed";
        for revision in deployment.revisions.iter().filter(|r| r.state.wants_replicas()) {
            let (number, to) = (revision.number, RevisionState::Retired);
            self.give_up_revision(ctx, project, name, number, to, reason)?;
        }
        self.deployment_mut(project, name)?.serving = None;
        self.emit(
            ctx,
            Some(project),
            EventKind::DeploymentRemoved { deployment: name.clone(), principal: principal.clone() },
        );
        Ok(Reply::Done)
    }
}

fn replica(key: TaskKey, spec: &RevisionSpec) -> Task {
    Task {
        key,
        stage: None,
        label: String::new(),
        values_in: Default::default(),
        state: TaskState::Waiting,
        resources: spec.resources.clone(),
        nodes: 1,
        network: None,
        // What serves goes before what trains.
        priority: 2_000_000,
        attempts: Vec::new(),
        failures: 0,
        errors: 0,
        not_before: DurationMs::ZERO,
        queued_at: None,
        ended_at: None,
        content_key: None,
        inputs: Vec::new(),
        env: spec.env.clone(),
        variant: None,
        cached: false,
        cache_reason: String::new(),
        result: TaskResult::default(),
        reason: String::new(),
        gate: None,
        revision: None,
    }
}
