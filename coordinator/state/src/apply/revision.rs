//! The life of a revision: the leader moves it on, a gateway only ever back.

use runyard_pipeline::StageKind;
use runyard_types::{AttemptKey, Cause, DeploymentName, ProjectName, TaskKey};

use super::rollback::successor;
use crate::command::{AdvanceRevision, ReportRevision, RevisionFate, RevisionStep};
use crate::entity::{RevisionState, TaskState, VersionStatus};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn advance_revision(
        &mut self,
        ctx: &mut Ctx,
        command: &AdvanceRevision,
    ) -> Result<Reply, Refusal> {
        let AdvanceRevision { project, deployment: name, revision: number, to } = command;
        let deployment = self
            .deployment(project, name)
            .ok_or_else(|| Refusal::not_found("deployment", name))?
            .clone();
        let revision = deployment
            .revision(*number)
            .ok_or_else(|| Refusal::not_found("revision", format!("{name}@{number}")))?;
        if *number <= deployment.latch && *to != RevisionStep::Retire {
            return Err(Refusal::precondition(format!(
                "{name}@{number} was rolled back; revisions up to {} are refused",
                deployment.latch
            )));
        }
        let before = deployment.serving.filter(|serving| serving != number);
        match (to, revision.state) {
            (RevisionStep::Canary, RevisionState::Starting) if before.is_some() => {
                self.set_revision_state(ctx, project, name, *number, RevisionState::Canary, "");
            }
            (RevisionStep::Serving, RevisionState::Starting | RevisionState::Canary) => {
                self.set_revision_state(ctx, project, name, *number, RevisionState::Serving, "");
                if let Some(before) = before {
                    self.set_revision_state(
                        ctx,
                        project,
                        name,
                        before,
                        RevisionState::Warm,
                        &format!("replaced by revision {number}"),
                    );
                }
                self.deployment_mut(project, name)?.serving = Some(*number);
                self.mark_version(project, name, *number, VersionStatus::Served);
                if let Some(task) = &revision.task
                    && self.is_carrying_out(task, *number)
                {
                    self.move_task(
                        ctx,
                        task,
                        TaskState::Succeeded,
                        &format!("{name} revision {number} serves"),
                    );
                }
            }
            (RevisionStep::Retire, RevisionState::Warm) => {
                self.set_revision_state(
                    ctx,
                    project,
                    name,
                    *number,
                    RevisionState::Retired,
                    "no longer kept warm",
                );
                self.stop_replicas(ctx, project, name, *number, "replaced");
            }
            (_, state) => {
                return Err(Refusal::precondition(format!(
                    "{name}@{number} is {}",
                    state.as_str()
                )));
            }
        }
        Ok(Reply::Done)
    }

    pub(super) fn report_revision(
        &mut self,
        ctx: &mut Ctx,
        command: ReportRevision,
    ) -> Result<Reply, Refusal> {
        let ReportRevision { project, deployment: name, revision: number, what, requests, errors } =
            command;
        let deployment = self
            .deployment(&project, &name)
            .ok_or_else(|| Refusal::not_found("deployment", &name))?
            .clone();
        let revision = deployment
            .revision(number)
            .ok_or_else(|| Refusal::not_found("revision", format!("{name}@{number}")))?;
        let state = revision.state;
        let allowed = match &what {
            RevisionFate::Counted => true,
            RevisionFate::Failed { .. } => state == RevisionState::Starting,
            RevisionFate::RolledBack { .. } => {
                matches!(state, RevisionState::Canary | RevisionState::Serving)
            }
        };
        if !allowed {
            return Err(Refusal::precondition(format!("{name}@{number} is {}", state.as_str())));
        }
        if let Some(revision) = self.deployment_mut(&project, &name)?.revision_mut(number) {
            revision.requests = revision.requests.max(requests);
            revision.errors = revision.errors.max(errors);
        }
        match what {
            RevisionFate::Counted => {}
            RevisionFate::Failed { reason } => {
                // It never served: the next candidate must not be judged against it.
                let serving = deployment.serving.and_then(|serving| deployment.revision(serving));
                if let (Some(serving), Some(failed)) = (serving, deployment.revision(number))
                    && serving.spec.model_version != failed.spec.model_version
                {
                    let back = Some(serving.spec.model_version);
                    self.move_alias_back(
                        ctx,
                        &project,
                        &failed.spec,
                        back,
                        &format!("failed start of {name}@{number}"),
                    );
                }
                self.give_up_revision(
                    ctx,
                    &project,
                    &name,
                    number,
                    RevisionState::Failed,
                    &reason,
                )?;
            }
            RevisionFate::RolledBack { reason, affected } => {
                self.go_back(
                    ctx,
                    (&project, &name),
                    (number, successor(&deployment, number)),
                    "the gateway's watch",
                    &reason,
                    affected,
                )?;
            }
        }
        Ok(Reply::Done)
    }

    /// Ends a revision that does not serve: its replicas stop, its stage fails, what served goes on.
    pub(super) fn give_up_revision(
        &mut self,
        ctx: &mut Ctx,
        project: &ProjectName,
        name: &DeploymentName,
        number: u32,
        state: RevisionState,
        reason: &str,
    ) -> Result<(), Refusal> {
        self.set_revision_state(ctx, project, name, number, state, reason);
        self.stop_replicas(ctx, project, name, number, reason);
        let task = self
            .deployment(project, name)
            .and_then(|deployment| deployment.revision(number))
            .and_then(|revision| revision.task.clone());
        if let Some(task) = task
            && self.is_carrying_out(&task, number)
        {
            self.move_task(ctx, &task, TaskState::Failed, reason);
        }
        Ok(())
    }

    /// Whether the deploy stage waits for this revision; one that was retried waits for another.
    fn is_carrying_out(&self, task: &TaskKey, revision: u32) -> bool {
        self.tasks
            .get(task)
            .is_some_and(|task| task.state == TaskState::Active && task.revision == Some(revision))
    }

    /// Takes back what a cancelled deploy stage has begun and not brought to its end.
    pub(super) fn withdraw_revision_of(&mut self, ctx: &mut Ctx, task: &TaskKey, reason: &str) {
        let Some(StageKind::Deploy(deploy)) = self.kind_of(task) else { return };
        let name = deploy.name.clone();
        let Some(number) = self.tasks.get(task).and_then(|task| task.revision) else { return };
        let Some(deployment) = self.deployment(&task.project, &name).cloned() else { return };
        let Some(revision) = deployment.revision(number).filter(|r| r.state.is_rolling()) else {
            return;
        };
        // What serves goes on, so that is what the alias names: the next candidate is judged against it.
        let serving = deployment.serving.and_then(|serving| deployment.revision(serving));
        if let Some(serving) = serving
            && serving.spec.model_version != revision.spec.model_version
        {
            let back = Some(serving.spec.model_version);
            let by = format!("cancelled rollout of {name}@{number}");
            self.move_alias_back(ctx, &task.project, &revision.spec, back, &by);
        }
        let to = RevisionState::Failed;
        self.set_revision_state(ctx, &task.project, &name, number, to, reason);
        self.stop_replicas(ctx, &task.project, &name, number, reason);
    }

    pub(super) fn set_revision_state(
        &mut self,
        ctx: &mut Ctx,
        project: &ProjectName,
        name: &DeploymentName,
        number: u32,
        state: RevisionState,
        reason: &str,
    ) {
        let elapsed = self.clock.elapsed;
        let Ok(deployment) = self.deployment_mut(project, name) else { return };
        let Some(revision) = deployment.revision_mut(number) else { return };
        revision.state = state;
        revision.since = elapsed;
        revision.reason = reason.to_owned();
        let kind = EventKind::RevisionMoved {
            deployment: name.clone(),
            revision: number,
            state: state.as_str().to_owned(),
            reason: reason.to_owned(),
        };
        self.emit(ctx, Some(project), kind);
    }

    pub(super) fn stop_replicas(
        &mut self,
        ctx: &mut Ctx,
        project: &ProjectName,
        name: &DeploymentName,
        number: u32,
        reason: &str,
    ) {
        let replicas: Vec<_> = self
            .replicas(project, name, number)
            .filter(|task| !task.state.is_final())
            .map(|task| {
                (
                    task.key.clone(),
                    task.attempts.last().filter(|a| a.outcome.is_none()).map(|a| a.number),
                )
            })
            .collect();
        for (key, attempt) in replicas {
            match attempt {
                Some(number) => {
                    let attempt = AttemptKey { task: key, number };
                    self.request_stop(ctx, &attempt, Cause::Cancelled, reason);
                }
                None => self.move_task(ctx, &key, TaskState::Cancelled, reason),
            }
        }
    }

    pub(super) fn mark_version(
        &mut self,
        project: &ProjectName,
        name: &DeploymentName,
        number: u32,
        status: VersionStatus,
    ) {
        let Some(spec) = self
            .deployment(project, name)
            .and_then(|deployment| deployment.revision(number))
            .map(|revision| (revision.spec.model.clone(), revision.spec.model_version))
        else {
            return;
        };
        let (model, version) = spec;
        if let Some(model) =
            self.models.get_mut(&(project.clone(), model)).map(std::sync::Arc::make_mut)
            && let Some(version) = usize::try_from(version)
                .ok()
                .and_then(|v| model.versions.get_mut(v.wrapping_sub(1)))
            && version.status != VersionStatus::RolledBack
        {
            version.status = status;
        }
    }
}
