//! Going back: by a gateway's watch, or by a person.

use runyard_types::{DeploymentName, ProjectName};

use crate::command::Rollback;
use crate::entity::{Deployment, RevisionState, VersionStatus};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn rollback(&mut self, ctx: &mut Ctx, command: &Rollback) -> Result<Reply, Refusal> {
        let Rollback { project, deployment: name, to, principal, reason } = command;
        let deployment = self
            .deployment(project, name)
            .ok_or_else(|| Refusal::not_found("deployment", name))?
            .clone();
        let from = match deployment.rolling() {
            Some(rolling) => rolling.number,
            None => deployment.serving.ok_or_else(|| {
                Refusal::precondition(format!("{name} serves nothing that could be rolled back"))
            })?,
        };
        let target = successor(&deployment, from);
        if let Some(wanted) = to {
            if Some(*wanted) != target {
                let served =
                    deployment.revision(*wanted).is_some_and(|r| r.state == RevisionState::Warm);
                if !served || *wanted >= from {
                    return Err(Refusal::precondition(format!(
                        "revision {wanted} of {name} is not warm; {} can be rolled back to",
                        target.map_or_else(
                            || "none".to_owned(),
                            |target| format!("revision {target}")
                        )
                    )));
                }
            }
        } else if target.is_none() {
            return Err(Refusal::precondition(format!(
                "no earlier revision of {name} is warm; deploy an earlier version instead"
            )));
        }
        let wanted = to.or(target);
        let beside = target.filter(|_| deployment.rolling().is_some() && wanted != target);
        let names = (project, name);
        match beside {
            None => self.go_back(ctx, names, (from, wanted), principal, reason, 0)?,
            // Further back than to what serves beside the canary: that goes as well.
            Some(serving) => {
                self.go_back(ctx, names, (from, Some(serving)), principal, reason, 0)?;
                self.go_back(ctx, names, (serving, wanted), principal, reason, 0)?;
            }
        }
        Ok(Reply::Revision(from))
    }

    /// Takes `from` out of service for good, gives its traffic to what served before, and moves the alias
    /// back, so that the next candidate is not judged against the bad version.
    pub(super) fn go_back(
        &mut self,
        ctx: &mut Ctx,
        (project, name): (&ProjectName, &DeploymentName),
        (from, to): (u32, Option<u32>),
        by: &str,
        reason: &str,
        affected: u64,
    ) -> Result<(), Refusal> {
        let deployment = self
            .deployment(project, name)
            .ok_or_else(|| Refusal::not_found("deployment", name))?
            .clone();
        let bad = deployment
            .revision(from)
            .ok_or_else(|| Refusal::not_found("revision", format!("{name}@{from}")))?
            .clone();
        let entity = self.deployment_mut(project, name)?;
        entity.latch = entity.latch.max(from);
        entity.serving = to;
        self.emit(
            ctx,
            Some(project),
            EventKind::RolledBack {
                deployment: name.clone(),
                from,
                to,
                by: by.to_owned(),
                reason: reason.to_owned(),
                affected,
            },
        );
        if let Some(to) = to
            && deployment.revision(to).is_some_and(|revision| revision.state == RevisionState::Warm)
        {
            self.set_revision_state(
                ctx,
                project,
                name,
                to,
                RevisionState::Serving,
                "took over again",
            );
        }
        let version =
            to.and_then(|to| deployment.revision(to)).map(|revision| revision.spec.model_version);
        // Where code or settings alone were changed, the model is not what was bad: it still serves.
        if version != Some(bad.spec.model_version) {
            self.mark_version(project, name, from, VersionStatus::RolledBack);
            let by = format!("rollback of {name}@{from}");
            self.move_alias_back(ctx, project, &bad.spec, version, &by);
        }
        self.give_up_revision(ctx, project, name, from, RevisionState::RolledBack, reason)
    }
}

/// The revision that takes over when `from` goes: the one that serves beside it, else the newest warm one.
pub(super) fn successor(deployment: &Deployment, from: u32) -> Option<u32> {
    match deployment.serving {
        Some(serving) if serving != from => Some(serving),
        _ => deployment
            .revisions
            .iter()
            .rev()
            .find(|revision| revision.number < from && revision.state == RevisionState::Warm)
            .map(|revision| revision.number),
    }
}
