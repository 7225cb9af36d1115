//! The names that a stage's expressions may use, from the state.

use runyard_pipeline::Stage;
use runyard_pipeline::expr::{Env, Reference, Status, Template, Value};
use std::collections::BTreeMap;

use runyard_pipeline::ParamType;
use runyard_state::State;
use runyard_state::entity::{Run, StageProgress, Task};
use runyard_types::{Name, StageName};

/// The environment of one task's expressions.
#[derive(Debug)]
pub(super) struct TaskEnv<'a> {
    pub(super) state: &'a State,
    pub(super) run: &'a Run,
    pub(super) stage: &'a Stage,
    pub(super) task: &'a Task,
}

impl TaskEnv<'_> {
    /// The stage's variables with their `${{ }}` filled in.
    pub(super) fn variables(&self) -> Result<BTreeMap<String, String>, String> {
        let render = |(name, text): (&String, &String)| {
            let value = Template::parse(text)
                .and_then(|template| template.render(self))
                .map_err(|error| format!("variable {name} has no value: {}", error.message))?;
            Ok((name.clone(), value))
        };
        self.stage.env.iter().map(render).collect()
    }

    /// The task of a stage whose metrics and values are meant: its only one, or its first.
    fn first_task(&self, stage: &str) -> Option<&Task> {
        let stage = StageName::new(stage).ok()?;
        self.state.stage_tasks(&self.run.project, &self.run.name, &stage).next().map(|task| &**task)
    }
}

impl Env for TaskEnv<'_> {
    fn get(&self, reference: &Reference) -> Option<Value> {
        match reference {
            Reference::Param(name) => {
                let text = self.run.params.get(name)?;
                let kind = self.run.pipeline.params.get(&Name::new(name).ok()?)?.kind;
                Some(match kind {
                    ParamType::Bool => Value::Bool(text == "true"),
                    ParamType::Int => Value::Int(text.parse().ok()?),
                    ParamType::Float => Value::Float(text.parse().ok()?),
                    ParamType::String => Value::String(text.clone()),
                })
            }
            Reference::Git(name) => {
                let git = &self.run.git;
                let text = match name.as_str() {
                    "commit" => &git.commit,
                    "branch" => &git.branch,
                    "author" => &git.author,
                    "message" | "subject" => &git.subject,
                    "tag" => &git.tag,
                    "remote" => &git.remote,
                    "dirty" => return Some(Value::Bool(git.dirty)),
                    _ => return None,
                };
                Some(Value::String(text.clone()))
            }
            Reference::Matrix(axis) => self.task.values_in.get(axis).cloned().map(Value::String),
            Reference::Metric { stage, name } => {
                self.first_task(stage)?.result.metrics.get(name).copied().map(Value::Float)
            }
            Reference::StageValue { stage, key } => {
                self.first_task(stage)?.result.values.get(key).cloned().map(Value::String)
            }
        }
    }

    fn status(&self, status: Status) -> bool {
        let mut needs = self.stage.needs.iter().filter_map(|need| self.run.stages.get(need));
        match status {
            Status::Success => needs.all(StageProgress::is_success),
            Status::Failure => needs.any(|progress| progress.failed + progress.error > 0),
        }
    }
}
