//! Running again what did not succeed.

use runyard_types::DurationMs;

use crate::command::RetryRun;
use crate::entity::{RunState, TaskResult, TaskState};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn retry_run(
        &mut self,
        ctx: &mut Ctx,
        command: &RetryRun,
    ) -> Result<Reply, Refusal> {
        let RetryRun { project, run: name, stage, principal } = command;
        let run = self.run(project, name).ok_or_else(|| Refusal::not_found("run", name))?.clone();
        if !run.state.is_final() {
            return Err(Refusal::precondition(format!(
                "run {name} is {}; cancel it first, or wait for its end",
                run.state.as_str()
            )));
        }
        if let Some(stage) = stage
            && run.pipeline.stage(stage.as_str()).is_none()
        {
            return Err(Refusal::not_found("stage", format!("{name}/{stage}")));
        }
        let picked = |task: &crate::entity::Task| {
            matches!(
                task.state,
                TaskState::Failed | TaskState::Error | TaskState::Cancelled | TaskState::Skipped
            ) && match (stage, &task.stage) {
                (None, _) => true,
                (Some(only), Some(own)) => own == only || needs(&run.pipeline, own, only),
                (Some(_), None) => false,
            }
        };
        let keys: Vec<_> = run
            .stages
            .keys()
            .flat_map(|stage| self.stage_tasks(project, name, stage))
            .filter(|task| picked(task))
            .map(|task| task.key.clone())
            .collect();
        if keys.is_empty() {
            return Err(Refusal::precondition(format!(
                "run {name} has nothing to retry: all its tasks succeeded"
            )));
        }
        self.check_room(project, keys.len() as u32)?;
        self.count_live_run(project, true);
        let entity = self.run_mut(project, name)?;
        entity.state = RunState::Queued;
        entity.started_at = None;
        entity.ended_at = None;
        entity.cancelled = None;
        let kind = EventKind::RunRetried {
            run: name.clone(),
            principal: principal.clone(),
            tasks: keys.len() as u32,
        };
        self.emit(ctx, Some(project), kind);
        for key in &keys {
            let task = self.task_mut(key)?;
            task.failures = 0;
            task.errors = 0;
            task.not_before = DurationMs::ZERO;
            task.gate = None;
            task.revision = None;
            // What the earlier try left is told by its attempt and its log, not as if it were this one's.
            task.result = TaskResult::default();
            task.cache_reason.clear();
            self.move_task(ctx, key, TaskState::Waiting, "");
        }
        let entity =
            self.run(project, name).ok_or_else(|| Refusal::not_found("run", name))?.clone();
        // Also the stages that a gate asked for, which the file does not name.
        for (stage, progress) in &entity.stages {
            let needs = run.pipeline.stage(stage.as_str()).map_or(&[][..], |stage| &stage.needs);
            let ready =
                needs.iter().all(|need| entity.stages.get(need).is_none_or(|p| p.is_final()));
            if progress.waiting > 0 && ready {
                self.resolvable.insert_mut((project.clone(), name.clone(), stage.clone()));
            }
        }
        Ok(Reply::Tasks(keys))
    }
}

/// Whether `stage` needs `other`, directly or through others.
fn needs(
    pipeline: &runyard_pipeline::Pipeline,
    stage: &runyard_types::StageName,
    other: &runyard_types::StageName,
) -> bool {
    let mut open = vec![stage];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = open.pop() {
        for need in
            pipeline.stage(name.as_str()).map(|stage| stage.needs.as_slice()).unwrap_or_default()
        {
            if need == other {
                return true;
            }
            if seen.insert(need) {
                open.push(need);
            }
        }
    }
    false
}
