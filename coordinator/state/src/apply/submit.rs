//! Accepting a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use runyard_pipeline::{Pipeline, Stage, expand_matrix};
use runyard_types::{DurationMs, Parent, ProjectName, RunName, TaskKey, TimestampMs, Uid};

use crate::command::SubmitRun;
use crate::entity::{Run, RunState, StageProgress, Task, TaskResult, TaskState};
use crate::event::EventKind;
use crate::refusal::Refusal;
use crate::state::{Ctx, Remembered, Reply, State};

impl State {
    pub(super) fn submit_run(
        &mut self,
        ctx: &mut Ctx,
        command: SubmitRun,
    ) -> Result<Reply, Refusal> {
        let key = (command.idempotency.principal.clone(), command.idempotency.key);
        if let Some(known) = self.remembered.get(&key) {
            if known.request != command.idempotency.request {
                return Err(Refusal::conflict(format!(
                    "the idempotency key {} was used for another request, which became {}; use a new key",
                    key.1, known.run
                )));
            }
            return Ok(Reply::Run { name: known.run.clone(), uid: key.1, existed: true });
        }
        self.check_key_age(key.1)?;
        let count = count_tasks(&command.pipeline)?;
        self.check_room(&command.project, count)?;

        self.forget_old_keys();
        let numbered = (command.project.clone(), command.pipeline.name.clone());
        let number = self.numbers.get(&numbered).copied().unwrap_or(0) + 1;
        let name = RunName { pipeline: command.pipeline.name.clone(), number };
        self.numbers.insert_mut(numbered, number);
        let until = DurationMs(self.clock.elapsed.0.saturating_add(self.limits.idempotency.0));
        self.forgotten_at.insert_mut((until, key.0.clone(), key.1));
        self.remembered.insert_mut(
            key.clone(),
            Remembered { request: command.idempotency.request, run: name.clone(), until },
        );

        let pipeline = Arc::new(command.pipeline);
        let mut stages = BTreeMap::new();
        for stage in &pipeline.stages {
            let mut waiting = 0;
            for task in new_tasks(&command.project, &name, stage, command.priority) {
                self.tasks.insert_mut(task.key.clone(), Arc::new(task));
                waiting += 1;
            }
            self.open_tasks += waiting;
            stages
                .insert(stage.name.clone(), StageProgress { waiting, ..StageProgress::default() });
            if stage.needs.is_empty() && waiting > 0 {
                self.resolvable.insert_mut((
                    command.project.clone(),
                    name.clone(),
                    stage.name.clone(),
                ));
            }
        }
        let run = Run {
            project: command.project.clone(),
            name: name.clone(),
            uid: key.1,
            principal: key.0,
            created_at: self.clock.wall,
            started_at: None,
            ended_at: None,
            state: RunState::Queued,
            git: command.git,
            params: command.params,
            code_root: command.code_root,
            files: command.files,
            pipeline,
            no_cache: command.no_cache,
            priority: command.priority,
            stages,
            cancelled: None,
        };
        let kind = EventKind::RunSubmitted { run: name.clone(), principal: run.principal.clone() };
        self.emit(ctx, Some(&command.project), kind);
        self.count_live_run(&command.project, true);
        self.runs.insert_mut((command.project, name.clone()), Arc::new(run));
        Ok(Reply::Run { name, uid: key.1, existed: false })
    }

    /// A key is remembered for longer than it is accepted, so that no age of it runs a request twice.
    ///
    /// Its date is held against the newest stamp as it is, not against the latest time ever seen: a leader's
    /// clock that jumped ahead and was put right must not shut everybody out until time has caught up. That
    /// clock may go back, and so a second rule: what is dated no later than a key that was forgotten is refused.
    /// One dated far ahead would have to be remembered for as long.
    fn check_key_age(&self, key: Uid) -> Result<(), Refusal> {
        let (now, at, limit) = (self.clock.newest.0, key.timestamp_ms(), self.limits.key_age);
        let age = now.saturating_sub(at);
        if age > limit.0 {
            return Err(Refusal::precondition(format!(
                "the idempotency key {key} is {} old, over the {limit} that keys are accepted for; use a new key, and if this one is new, compare this machine's clock with the coordinator's",
                DurationMs(age)
            )));
        }
        let ahead = at.saturating_sub(now);
        if ahead > limit.0 {
            return Err(Refusal::precondition(format!(
                "the idempotency key {key} is dated {} ahead, over {limit}; set this machine's clock, or the coordinator's, and use a new key",
                DurationMs(ahead)
            )));
        }
        if at <= self.keys_floor.0 {
            return Err(Refusal::precondition(format!(
                "the idempotency key {key} is as old as keys that are forgotten already, so it cannot be told whether it was used; use a new key, and check the coordinator's clock, which went back"
            )));
        }
        Ok(())
    }

    /// Whether another run of so many tasks may be taken in, or put back to work.
    pub(super) fn check_room(&self, project: &ProjectName, count: u32) -> Result<(), Refusal> {
        let live = self.live_runs.get(project).copied().unwrap_or(0);
        if live >= self.limits.live_runs {
            return Err(Refusal::Exhausted {
                what: format!(
                    "project {project} has {live} live runs, its limit is {}; wait for runs to end, or cancel some",
                    self.limits.live_runs
                ),
            });
        }
        if self.open_tasks.saturating_add(count) > self.limits.open_tasks {
            return Err(Refusal::Exhausted {
                what: format!(
                    "the group holds {} open tasks and {count} more would pass its limit of {}; wait for runs to end, or cancel some",
                    self.open_tasks, self.limits.open_tasks
                ),
            });
        }
        Ok(())
    }

    /// Keeps the count of a project's live runs.
    pub(super) fn count_live_run(&mut self, project: &ProjectName, begins: bool) {
        let live = self.live_runs.get(project).copied().unwrap_or(0);
        match if begins { live + 1 } else { live.saturating_sub(1) } {
            0 => drop(self.live_runs.remove_mut(project)),
            live => self.live_runs.insert_mut(project.clone(), live),
        }
    }

    /// Keys are forgotten by elapsed time, so that a jump of the wall clock forgets none too early; and none
    /// that would be taken for new.
    fn forget_old_keys(&mut self) {
        while let Some((until, principal, uid)) = self.forgotten_at.first().cloned() {
            if until > self.clock.elapsed {
                return;
            }
            self.forgotten_at.remove_mut(&(until, principal.clone(), uid));
            let (key, date) = ((principal, uid), uid.timestamp_ms());
            if date.saturating_add(self.limits.key_age.0) < self.clock.newest.0 {
                self.remembered.remove_mut(&key);
                self.keys_floor = self.keys_floor.max(TimestampMs(date));
                continue;
            }
            let longer = self.limits.key_age.0.max(1);
            let until = DurationMs(self.clock.elapsed.0.saturating_add(longer));
            if let Some(known) = self.remembered.get_mut(&key) {
                known.until = until;
                self.forgotten_at.insert_mut((until, key.0, key.1));
            }
        }
    }
}

/// How many tasks the pipeline has; refuses one that could never end.
fn count_tasks(pipeline: &Pipeline) -> Result<u32, Refusal> {
    let invalid = |what: String| Refusal::Invalid { what };
    let mut count = 0u32;
    for stage in &pipeline.stages {
        let points = expand_matrix(stage)
            .map_err(|error| invalid(format!("stage {}: {error}", stage.name)))?;
        count = count.saturating_add(points.len() as u32);
        if let Some(need) = stage.needs.iter().find(|need| pipeline.stage(need.as_str()).is_none())
        {
            return Err(invalid(format!("stage {} needs {need}, which is no stage", stage.name)));
        }
    }
    if count == 0 {
        return Err(invalid(format!("pipeline {} has no stage", pipeline.name)));
    }
    Ok(count)
}

/// The tasks of a stage, one for each point of its matrix.
fn new_tasks<'a>(
    project: &'a runyard_types::ProjectName,
    run: &'a RunName,
    stage: &'a Stage,
    priority: i32,
) -> impl Iterator<Item = Task> + 'a {
    let parent = Parent::Stage { run: run.clone(), stage: stage.name.clone() };
    expand_matrix(stage).unwrap_or_default().into_iter().map(move |point| Task {
        key: TaskKey {
            project: project.clone(),
            parent: parent.clone(),
            index: stage.matrix.is_some().then_some(point.index),
        },
        stage: Some(stage.name.clone()),
        label: point.label,
        values_in: point
            .values
            .into_iter()
            .map(|(axis, value)| (axis.to_string(), value))
            .collect(),
        state: TaskState::Waiting,
        resources: stage.resources.clone(),
        nodes: stage.nodes.max(1),
        network: stage.network.clone(),
        priority: priority.saturating_add(stage_priority(stage)),
        attempts: Vec::new(),
        failures: 0,
        errors: 0,
        not_before: DurationMs::ZERO,
        queued_at: None,
        ended_at: None,
        content_key: None,
        inputs: Vec::new(),
        env: BTreeMap::new(),
        variant: None,
        cached: false,
        cache_reason: String::new(),
        result: TaskResult::default(),
        reason: String::new(),
        gate: None,
        revision: None,
    })
}

/// A stage's class outweighs any priority that a submission may give.
fn stage_priority(stage: &Stage) -> i32 {
    match stage.priority {
        runyard_pipeline::Priority::Low => -1_000_000,
        runyard_pipeline::Priority::Normal => 0,
        runyard_pipeline::Priority::High => 1_000_000,
    }
}
