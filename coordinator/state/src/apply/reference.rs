//! A task that judges another model by a run's own evaluation.

use std::sync::Arc;

use runyard_types::{DurationMs, Parent, TaskKey};

use crate::command::AddReferenceTask;
use crate::entity::{StageProgress, Task, TaskResult, TaskState};
use crate::refusal::Refusal;
use crate::state::{Ctx, Reply, State};

impl State {
    pub(super) fn add_reference_task(
        &mut self,
        _ctx: &mut Ctx,
        command: AddReferenceTask,
    ) -> Result<Reply, Refusal> {
        let AddReferenceTask { project, run: name, stage, name: added, input, root } = command;
        let run = self.run(&project, &name).ok_or_else(|| Refusal::not_found("run", &name))?;
        if run.state.is_final() {
            return Err(Refusal::precondition(format!("run {name} is {}", run.state.as_str())));
        }
        if let Some(reason) = &run.cancelled {
            return Err(Refusal::precondition(format!("run {name} is about to end: {reason}")));
        }
        if run.stages.contains_key(&added) {
            return Err(Refusal::conflict(format!("run {name} has a stage `{added}` already")));
        }
        let definition = run
            .pipeline
            .stage(stage.as_str())
            .ok_or_else(|| Refusal::not_found("stage", &stage))?
            .clone();
        let priority = run.priority;
        let key = TaskKey {
            project: project.clone(),
            parent: Parent::Stage { run: name.clone(), stage: added.clone() },
            index: None,
        };
        let task = Task {
            key: key.clone(),
            stage: Some(stage),
            label: String::new(),
            values_in: Default::default(),
            state: TaskState::Waiting,
            resources: definition.resources,
            nodes: definition.nodes.max(1),
            network: definition.network,
            priority,
            attempts: Vec::new(),
            failures: 0,
            errors: 0,
            not_before: DurationMs::ZERO,
            queued_at: None,
            ended_at: None,
            content_key: None,
            inputs: Vec::new(),
            env: Default::default(),
            variant: Some((input, root)),
            cached: false,
            cache_reason: String::new(),
            result: TaskResult::default(),
            reason: String::new(),
            gate: None,
            revision: None,
        };
        self.tasks.insert_mut(key.clone(), Arc::new(task));
        self.open_tasks += 1;
        self.run_mut(&project, &name)?.stages.insert(
            added.clone(),
            StageProgress { waiting: 1, auxiliary: true, ..StageProgress::default() },
        );
        self.resolvable.insert_mut((project, name, added));
        Ok(Reply::Tasks(vec![key]))
    }
}
