//! The moves of a task and what follows for its stage and run.

use std::sync::Arc;

use runyard_types::{Parent, ProjectName, RunName, StageName, TaskKey};

use crate::entity::{RunState, TaskState};
use crate::event::EventKind;
use crate::state::{Ctx, State};

impl State {
    /// Moves a task to `to`, keeps the indexes, and carries on to its stage and run.
    ///
    /// The task must exist: callers have looked it up.
    pub(super) fn move_task(&mut self, ctx: &mut Ctx, key: &TaskKey, to: TaskState, reason: &str) {
        let wall = self.clock.wall;
        let Some(task) = self.tasks.get_mut(key).map(Arc::make_mut) else { return };
        let from = std::mem::replace(&mut task.state, to);
        if to == TaskState::Queued {
            task.queued_at = Some(wall);
        }
        task.ended_at = to.is_final().then_some(wall);
        task.reason = reason.to_owned();
        match from {
            TaskState::Queued => drop(self.queued.remove_mut(key)),
            TaskState::Active => drop(self.active.remove_mut(key)),
            _ => {}
        }
        match to {
            TaskState::Queued => self.queued.insert_mut(key.clone()),
            TaskState::Active => self.active.insert_mut(key.clone()),
            _ => {}
        }
        match (from.is_final(), to.is_final()) {
            (false, true) => self.open_tasks -= 1,
            (true, false) => self.open_tasks += 1,
            _ => {}
        }
        let kind = match to {
            TaskState::Waiting | TaskState::Active => None,
            TaskState::Queued => {
                Some(EventKind::TaskQueued { task: key.clone(), reason: reason.to_owned() })
            }
            TaskState::Skipped => {
                Some(EventKind::TaskSkipped { task: key.clone(), reason: reason.to_owned() })
            }
            TaskState::Succeeded | TaskState::Failed | TaskState::Error | TaskState::Cancelled => {
                let cached = self.tasks.get(key).is_some_and(|task| task.cached);
                (!cached).then(|| EventKind::TaskFinished {
                    task: key.clone(),
                    state: to.as_str().to_owned(),
                    reason: reason.to_owned(),
                })
            }
        };
        if let Some(kind) = kind {
            self.emit(ctx, Some(&key.project), kind);
        }
        if let Parent::Stage { run, stage } = &key.parent {
            self.count_task(ctx, (&key.project, run, stage), from, to);
        }
    }

    fn count_task(
        &mut self,
        ctx: &mut Ctx,
        (project, run, stage): (&ProjectName, &RunName, &StageName),
        from: TaskState,
        to: TaskState,
    ) {
        let wall = self.clock.wall;
        let Ok(entity) = self.run_mut(project, run) else { return };
        let Some(progress) = entity.stages.get_mut(stage) else { return };
        *progress.slot(from) -= 1;
        *progress.slot(to) += 1;
        let waiting = progress.waiting;
        let stage_final = progress.is_final();
        let started = to == TaskState::Active && entity.started_at.is_none();
        if started {
            entity.started_at = Some(wall);
            entity.state = RunState::Running;
        }
        if started {
            self.emit(ctx, Some(project), EventKind::RunStarted { run: run.clone() });
        }
        if from == TaskState::Waiting && waiting == 0 {
            self.resolvable.remove_mut(&(project.clone(), run.clone(), stage.clone()));
        }
        if stage_final {
            self.unlock_dependants(project, run, stage);
            self.finish_run_if_done(ctx, project, run);
        }
    }

    /// Marks the stages that waited for `stage` alone as resolvable.
    fn unlock_dependants(&mut self, project: &ProjectName, run: &RunName, stage: &StageName) {
        let Some(entity) = self.run(project, run).cloned() else { return };
        for dependant in entity.pipeline.stages.iter().filter(|other| other.needs.contains(stage)) {
            let ready = dependant
                .needs
                .iter()
                .all(|need| entity.stages.get(need).is_none_or(|p| p.is_final()));
            let waiting = entity.stages.get(&dependant.name).is_some_and(|p| p.waiting > 0);
            if ready && waiting {
                self.resolvable.insert_mut((project.clone(), run.clone(), dependant.name.clone()));
            }
        }
    }

    fn finish_run_if_done(&mut self, ctx: &mut Ctx, project: &ProjectName, run: &RunName) {
        let wall = self.clock.wall;
        let Ok(entity) = self.run_mut(project, run) else { return };
        if entity.state.is_final()
            || !entity.stages.values().all(super::super::entity::StageProgress::is_final)
        {
            return;
        }
        let count = |pick: fn(&crate::entity::StageProgress) -> u32| -> u32 {
            entity.stages.values().filter(|progress| !progress.auxiliary).map(pick).sum()
        };
        let (failed, errors, cancelled) =
            (count(|p| p.failed), count(|p| p.error), count(|p| p.cancelled));
        let state = match (failed, errors, cancelled) {
            _ if entity.cancelled.is_some() => RunState::Cancelled,
            (1.., _, _) => RunState::Failed,
            (0, 1.., _) => RunState::Error,
            (0, 0, 1..) => RunState::Cancelled,
            (0, 0, 0) => RunState::Succeeded,
        };
        let bad: Vec<&str> = entity
            .stages
            .iter()
            .filter(|(_, p)| !p.auxiliary && p.failed + p.error > 0)
            .map(|(name, _)| name.as_str())
            .collect();
        let reason = match (&entity.cancelled, bad.is_empty()) {
            (Some(reason), _) => reason.clone(),
            (None, false) => format!("{} did not succeed", bad.join(", ")),
            (None, true) => String::new(),
        };
        entity.state = state;
        entity.ended_at = Some(wall);
        self.count_live_run(project, false);
        let kind =
            EventKind::RunFinished { run: run.clone(), state: state.as_str().to_owned(), reason };
        self.emit(ctx, Some(project), kind);
    }
}
