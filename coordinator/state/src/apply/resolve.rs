//! What becomes of tasks whose needs are at their end.

use runyard_pipeline::StageKind;
use runyard_types::{Cause, TaskKey};

use crate::command::{Resolution, ResolveTasks};
use crate::entity::TaskState;
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn resolve_tasks(&mut self, ctx: &mut Ctx, command: ResolveTasks) -> Reply {
        let items = command
            .items
            .into_iter()
            .map(|(key, resolution)| self.resolve_task(ctx, &key, resolution));
        Reply::Items(items.collect())
    }

    fn resolve_task(
        &mut self,
        ctx: &mut Ctx,
        key: &TaskKey,
        resolution: Resolution,
    ) -> Result<(), Refusal> {
        let task = self.tasks.get(key).ok_or_else(|| Refusal::not_found("task", key))?;
        if task.state != TaskState::Waiting {
            return Err(Refusal::precondition(format!(
                "task {key} is {}, not waiting",
                task.state.as_str()
            )));
        }
        if let (Some(run), Some(stage)) = (key.run(), task.stage.as_ref()) {
            let run = self.run(&key.project, run).ok_or_else(|| Refusal::not_found("run", run))?;
            let needs = run
                .pipeline
                .stage(stage.as_str())
                .map(|stage| stage.needs.as_slice())
                .unwrap_or_default();
            if let Some(open) =
                needs.iter().find(|need| run.stages.get(*need).is_some_and(|p| !p.is_final()))
            {
                return Err(Refusal::precondition(format!("task {key} still waits for {open}")));
            }
        }
        let leaders = matches!(self.kind_of(key), Some(StageKind::Gate(_) | StageKind::Deploy(_)));
        let fits = match &resolution {
            Resolution::Queue { .. } | Resolution::Restore { .. } => !leaders,
            Resolution::Begin { .. } => leaders,
            Resolution::Skip { .. } | Resolution::Fail { .. } => true,
        };
        if !fits {
            return Err(Refusal::precondition(if leaders {
                format!("{key} is carried out by the leader, no worker can run it")
            } else {
                format!("{key} runs on a worker, the leader can't carry it out")
            }));
        }
        match resolution {
            Resolution::Queue { content_key, inputs, env, reason } => {
                let task = self.task_mut(key)?;
                task.content_key = content_key;
                task.inputs = inputs;
                task.env = env;
                task.cache_reason.clone_from(&reason);
                self.move_task(ctx, key, TaskState::Queued, "");
            }
            Resolution::Restore { content_key, inputs, result, reason } => {
                let task = self.task_mut(key)?;
                task.content_key = Some(content_key);
                task.inputs = inputs;
                task.result = result;
                task.cached = true;
                task.cache_reason.clone_from(&reason);
                self.emit(
                    ctx,
                    Some(&key.project),
                    EventKind::TaskRestored { task: key.clone(), reason: reason.clone() },
                );
                self.move_task(ctx, key, TaskState::Succeeded, &reason);
            }
            Resolution::Begin { inputs } => {
                self.task_mut(key)?.inputs = inputs;
                self.emit(ctx, Some(&key.project), EventKind::TaskStarted { task: key.clone() });
                self.move_task(ctx, key, TaskState::Active, "");
            }
            Resolution::Skip { reason } => self.move_task(ctx, key, TaskState::Skipped, &reason),
            Resolution::Fail { cause, reason } => {
                let state = match cause {
                    Cause::Failure => TaskState::Failed,
                    Cause::Error => TaskState::Error,
                    Cause::Cancelled => TaskState::Cancelled,
                };
                self.move_task(ctx, key, state, &reason);
            }
        }
        Ok(())
    }
}
