//! The names in requests, parsed once at the edge.

use runyard_state::State;
use runyard_state::entity::{Run, Task};
use runyard_types::{
    AttemptKey, DeploymentName, ModelName, ProjectName, RunName, StageName, TaskKey, WorkerKey,
};
use tonic::Status;

fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The project of a request; `default` where none is named.
pub(super) fn project(text: &str) -> Result<ProjectName, Status> {
    if text.is_empty() {
        Ok(ProjectName::default_project())
    } else {
        ProjectName::new(text).map_err(invalid)
    }
}

pub(super) fn model(text: &str) -> Result<ModelName, Status> {
    ModelName::new(text).map_err(invalid)
}

pub(super) fn deployment(text: &str) -> Result<DeploymentName, Status> {
    DeploymentName::new(text).map_err(invalid)
}

/// A run by its name, `@last`, or a prefix of its uid that no other run has.
pub(super) fn run<'a>(
    state: &'a State,
    project: &ProjectName,
    text: &str,
) -> Result<&'a Run, Status> {
    let mut own = state.runs.iter().filter(|((p, _), _)| p == project).map(|(_, run)| &**run);
    if text == "@last" {
        return own
            .max_by_key(|run| (run.created_at, run.uid))
            .ok_or_else(|| Status::not_found("there is no run yet; `runyard run` submits one"));
    }
    if let Ok(name) = text.parse::<RunName>()
        && let Some(run) = state.run(project, &name)
    {
        return Ok(run);
    }
    let wanted = text.to_ascii_uppercase();
    if wanted.len() >= 4 {
        let mut found = own.by_ref().filter(|run| run.uid.to_string().starts_with(&wanted));
        if let Some(first) = found.next() {
            return match found.next() {
                None => Ok(first),
                Some(second) => Err(Status::invalid_argument(format!(
                    "`{text}` is the beginning of several uids ({}, {}, …); write more of it",
                    first.name, second.name
                ))),
            };
        }
    }
    Err(Status::not_found(format!("there is no run `{text}`; `runyard ps -a` lists them")))
}

/// What a target names, from the whole run down to one worker.
#[derive(Debug)]
pub(super) enum Target<'a> {
    Run(&'a Run),
    Stage(&'a Run, StageName),
    Task(&'a Task),
    Attempt(&'a Task, u32),
    Worker(&'a Task, u32, u32),
}

/// Resolves `digits-42`, `digits-42/train`, `…[3]`, `…[seed=0]`, `….2`, `….2:0`, `digits@2/replica[0]`.
pub(super) fn target<'a>(
    state: &'a State,
    project: &ProjectName,
    text: &str,
) -> Result<Target<'a>, Status> {
    let Some((head, tail)) = text.split_once('/') else {
        return run(state, project, text).map(Target::Run);
    };
    let missing = || {
        Status::not_found(format!(
            "there is no `{text}`; `runyard describe {head}` shows what there is"
        ))
    };
    if !head.contains('@') || head == "@last" {
        let run = run(state, project, head)?;
        // `@last` and prefixes stand for the run's name.
        let full = format!("{}/{tail}", run.name);
        if let Some((stage, label)) = tail.strip_suffix(']').and_then(|open| open.split_once('['))
            && label.parse::<u32>().is_err()
        {
            let stage = StageName::new(stage).map_err(invalid)?;
            let found =
                state.stage_tasks(project, &run.name, &stage).find(|task| task.label == label);
            return found.map(|task| Target::Task(task)).ok_or_else(missing);
        }
        if let Ok(stage) = StageName::new(tail)
            && run.stages.contains_key(&stage)
        {
            return Ok(Target::Stage(run, stage));
        }
        return exact(state, project, &full).ok_or_else(missing);
    }
    exact(state, project, text).ok_or_else(missing)
}

fn exact<'a>(state: &'a State, project: &ProjectName, text: &str) -> Option<Target<'a>> {
    if let Ok(key) = WorkerKey::parse(project, text) {
        let task = state.tasks.get(&key.attempt.task)?;
        state.worker(&key)?;
        return Some(Target::Worker(task, key.attempt.number, key.rank));
    }
    if let Ok(key) = TaskKey::parse(project, text)
        && let Some(task) = state.tasks.get(&key)
    {
        return Some(Target::Task(task));
    }
    let key = AttemptKey::parse(project, text).ok()?;
    let task = state.tasks.get(&key.task)?;
    state.attempt(&key)?;
    Some(Target::Attempt(task, key.number))
}

impl<'a> Target<'a> {
    /// The tasks that are meant, in the order of the pipeline.
    pub(super) fn tasks(&self, state: &'a State) -> Vec<&'a Task> {
        match self {
            Self::Run(run) => {
                let defined = run.pipeline.stages.iter().map(|stage| &stage.name);
                let added =
                    run.stages.keys().filter(|name| run.pipeline.stage(name.as_str()).is_none());
                defined
                    .chain(added)
                    .flat_map(|stage| state.stage_tasks(&run.project, &run.name, stage))
                    .map(|task| &**task)
                    .collect()
            }
            Self::Stage(run, stage) => {
                state.stage_tasks(&run.project, &run.name, stage).map(|task| &**task).collect()
            }
            Self::Task(task) | Self::Attempt(task, _) | Self::Worker(task, _, _) => vec![task],
        }
    }
}
