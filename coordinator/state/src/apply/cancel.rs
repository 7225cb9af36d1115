//! Stopping a run.

use runyard_types::{AttemptKey, Cause, ProjectName, RunName, StageName, TaskKey};

use crate::command::CancelRun;
use crate::entity::TaskState;
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn cancel_run(
        &mut self,
        ctx: &mut Ctx,
        command: &CancelRun,
    ) -> Result<Reply, Refusal> {
        let run = self
            .run(&command.project, &command.run)
            .ok_or_else(|| Refusal::not_found("run", &command.run))?;
        if run.state.is_final() {
            return Err(Refusal::precondition(format!(
                "run {} is {} already",
                command.run,
                run.state.as_str()
            )));
        }
        let reason = match command.reason.as_str() {
            "" => format!("cancelled by {}", command.principal),
            reason => format!("cancelled by {}: {reason}", command.principal),
        };
        let run = self.run_mut(&command.project, &command.run)?;
        run.cancelled.get_or_insert_with(|| reason.clone());
        self.emit(
            ctx,
            Some(&command.project),
            EventKind::RunCancelled {
                run: command.run.clone(),
                principal: command.principal.clone(),
                reason: command.reason.clone(),
            },
        );
        let stopped = self.cancel_tasks(ctx, &command.project, &command.run, None, &reason);
        Ok(Reply::Tasks(stopped))
    }

    /// Ends what has not begun and asks what runs to stop; answers with the latter.
    pub(super) fn cancel_tasks(
        &mut self,
        ctx: &mut Ctx,
        project: &ProjectName,
        run: &RunName,
        stage: Option<&StageName>,
        reason: &str,
    ) -> Vec<TaskKey> {
        let Some(entity) = self.run(project, run).cloned() else { return Vec::new() };
        let mut stopping = Vec::new();
        for name in entity.stages.keys().filter(|name| stage.is_none_or(|only| only == *name)) {
            let open: Vec<_> = self
                .stage_tasks(project, run, name)
                .filter(|task| !task.state.is_final())
                .map(|task| {
                    (
                        task.key.clone(),
                        task.state,
                        task.attempts.last().map(|a| (a.number, a.outcome.is_none())),
                    )
                })
                .collect();
            for (key, state, attempt) in open {
                match (state, attempt) {
                    (TaskState::Active, Some((number, true))) => {
                        let attempt = AttemptKey { task: key.clone(), number };
                        self.request_stop(ctx, &attempt, Cause::Cancelled, reason);
                        stopping.push(key);
                    }
                    _ => {
                        self.move_task(ctx, &key, TaskState::Cancelled, reason);
                        self.withdraw_revision_of(ctx, &key, reason);
                    }
                }
            }
        }
        stopping
    }
}
