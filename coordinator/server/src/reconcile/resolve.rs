//! Waiting tasks whose needs are at their end: conditions, inputs, and what equal work left.

use std::collections::BTreeMap;
use std::sync::Arc;

use runyard_pipeline::expr::Expr;
use runyard_pipeline::{ModelAt, ModelRef, Source, Stage};
use runyard_proto::v1::CodeFile;
use runyard_state::entity::{ResolvedInput, ResolvedSource, Run, StageProgress, Task, TaskState};
use runyard_state::{Command, Resolution, ResolveTasks, State};
use runyard_types::{Cause, Digest, ProjectName, TaskKey, encode};
use tonic::Status;

use super::Pass;
use super::expressions::TaskEnv;
use crate::contentkey::{self, Components};
use crate::core::Core;
use crate::errors::status;
use crate::latest::Latest;
use crate::{stagecache, stagespec};

/// Tasks resolved by one entry.
const BATCH: usize = 256;
/// What one task's resolution, and a batch of them, may take: half of what an entry may.
const ITEM_BYTES_MAX: usize = 512 << 10;

pub(super) async fn pass(core: Core) -> Result<Pass, Status> {
    let view = core.truth.view();
    if view.state.resolvable.is_empty() {
        return Ok(Pass::Asleep);
    }
    let worker = core.clone();
    let state = Arc::clone(&view.state);
    let items = tokio::task::spawn_blocking(move || resolve_all(&worker, &state))
        .await
        .map_err(|_| Status::internal("resolving was cut off"))?;
    for items in batches(items) {
        core.truth.propose(Command::ResolveTasks(ResolveTasks { items })).await.map_err(status)?;
    }
    Ok(Pass::Asleep)
}

/// Cuts the resolutions into entries that the log takes; one that is too large by itself fails its task.
fn batches(items: Vec<(TaskKey, Resolution)>) -> Vec<Vec<(TaskKey, Resolution)>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for (key, resolution) in items {
        let size = encode(&resolution).len();
        let resolution = if size > ITEM_BYTES_MAX {
            let reason = format!(
                "its inputs and variables take {size} bytes, over the limit of {ITEM_BYTES_MAX}"
            );
            Resolution::Fail { cause: Cause::Failure, reason }
        } else {
            resolution
        };
        bytes += size.min(ITEM_BYTES_MAX);
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && bytes <= ITEM_BYTES_MAX => {
                batch.push((key, resolution))
            }
            _ => {
                bytes = size.min(ITEM_BYTES_MAX);
                batches.push(vec![(key, resolution)]);
            }
        }
    }
    batches
}

/// What becomes of the waiting tasks of a run that is only thought of: nothing is kept of it.
pub(crate) fn foresee(
    core: &Core,
    state: &State,
    run: &Run,
    files: &[CodeFile],
) -> Vec<(TaskKey, Resolution)> {
    let mut items = Vec::new();
    let stages = state
        .resolvable
        .iter()
        .filter(|(project, name, _)| *project == run.project && *name == run.name);
    let mut latest = Latest::default();
    for (project, name, stage_name) in stages {
        let Some(stage) = run.pipeline.stage(stage_name.as_str()) else { continue };
        let mut code = Some(contentkey::code_files_of(files, stage));
        let waiting = state.stage_tasks(project, name, stage_name);
        for task in waiting.filter(|task| task.state == TaskState::Waiting) {
            let (resolution, _) = decide(core, state, run, stage, task, (&mut code, &mut latest))
                .unwrap_or_else(|(cause, reason)| (Resolution::Fail { cause, reason }, None));
            items.push((task.key.clone(), resolution));
        }
    }
    items
}

fn resolve_all(core: &Core, state: &State) -> Vec<(TaskKey, Resolution)> {
    let mut latest = Latest::default();
    let items = resolutions(core, state, &mut latest);
    latest.store(core);
    items
}

fn resolutions(core: &Core, state: &State, latest: &mut Latest) -> Vec<(TaskKey, Resolution)> {
    let mut items = Vec::new();
    for (project, name, stage_name) in state.resolvable.iter() {
        let Some(run) = state.run(project, name) else { continue };
        let mut code = None;
        for task in state
            .stage_tasks(project, name, stage_name)
            .filter(|task| task.state == TaskState::Waiting)
        {
            let Some(stage) =
                task.stage.as_ref().and_then(|stage| run.pipeline.stage(stage.as_str()))
            else {
                continue;
            };
            let resolution = resolve(core, state, run, stage, task, (&mut code, &mut *latest))
                .unwrap_or_else(|(cause, reason)| Resolution::Fail { cause, reason });
            items.push((task.key.clone(), resolution));
            if items.len() >= 16 * BATCH {
                return items;
            }
        }
    }
    items
}

type Failed = (Cause, String);
type Code = Option<BTreeMap<String, String>>;

fn resolve(
    core: &Core,
    state: &State,
    run: &Run,
    stage: &Stage,
    task: &Task,
    (code, latest): (&mut Code, &mut Latest),
) -> Result<Resolution, Failed> {
    let (resolution, runs_with) = decide(core, state, run, stage, task, (code, &mut *latest))?;
    if let Some(components) = runs_with {
        latest.set(core, &task.key, &components);
    }
    Ok(resolution)
}

/// What becomes of a task, and the components that it is about to run with, if it is.
fn decide(
    core: &Core,
    state: &State,
    run: &Run,
    stage: &Stage,
    task: &Task,
    (code, latest): (&mut Code, &mut Latest),
) -> Result<(Resolution, Option<Components>), Failed> {
    let done = |resolution| Ok((resolution, None));
    if let Some(reason) = &run.cancelled {
        return done(Resolution::Fail { cause: Cause::Cancelled, reason: reason.clone() });
    }
    let env = TaskEnv { state, run, stage, task };
    // A reference task belongs to its gate, which has looked already.
    if task.variant.is_none()
        && let Some(reason) = skipped(run, stage, &env)?
    {
        return done(Resolution::Skip { reason });
    }
    let inputs = inputs(state, run, stage, task)?;
    if stagespec::is_leaders(stage) {
        return done(Resolution::Begin { inputs });
    }
    let variables = env.variables().map_err(|reason| (Cause::Error, reason))?;
    if code.is_none() {
        *code = Some(match run.code_root {
            Some(root) => {
                contentkey::code_files(&core.store, &run.project, root, stage).map_err(|error| {
                    (Cause::Error, format!("the code snapshot cannot be read: {error}"))
                })?
            }
            None => BTreeMap::new(),
        });
    }
    let empty = BTreeMap::new();
    let files = code.as_ref().unwrap_or(&empty);
    let components = contentkey::components(run, stage, task, &inputs, &variables, files);
    let key = components.key();
    // A mount's content is the host's: only the agent could tell whether it changed.
    let mounted = inputs.iter().any(|input| matches!(input.source, ResolvedSource::Mount { .. }));
    let usable = stage.cache && !run.no_cache && !mounted;
    if usable && let Some(cached) = stagecache::find(core, &run.project, &key) {
        return done(Resolution::Restore {
            content_key: key,
            inputs,
            result: cached.result,
            reason: format!("nothing that it depends on has changed since {}", cached.attempt),
        });
    }
    let reason = miss_reason((core, latest), run, stage, task, &components, mounted);
    let content_key = (!mounted).then_some(key);
    Ok((Resolution::Queue { content_key, inputs, env: variables, reason }, Some(components)))
}

fn miss_reason(
    (core, latest): (&Core, &mut Latest),
    run: &Run,
    stage: &Stage,
    task: &Task,
    now: &Components,
    mounted: bool,
) -> String {
    if run.no_cache {
        return "the run asked for no cache".to_owned();
    }
    if !stage.cache {
        return "the stage has `cache: false`".to_owned();
    }
    if mounted {
        return "it reads a mount, whose content may change".to_owned();
    }
    match latest.get(core, &task.key) {
        None => "it has not run before".to_owned(),
        Some(before) => {
            let changed = now.changed_since(&before);
            match changed.len() {
                0 => "its earlier result is no longer kept, or did not succeed".to_owned(),
                1..=3 => format!("changed: {}", changed.join(", ")),
                n => format!("changed: {} and {} more", changed[..3].join(", "), n - 3),
            }
        }
    }
}

/// Why the task is skipped, if it is.
fn skipped(run: &Run, stage: &Stage, env: &TaskEnv<'_>) -> Result<Option<String>, Failed> {
    let blocked = || {
        stage
            .needs
            .iter()
            .filter_map(|need| Some((need, run.stages.get(need)?)))
            .find(|(_, progress)| !progress.is_success())
            .map(|(need, progress): (_, &StageProgress)| format!("{need} {}", past(progress)))
    };
    let Some(source) = &stage.condition else { return Ok(blocked()) };
    let expr = Expr::parse(source).map_err(|error| {
        (Cause::Error, format!("the condition `{source}` cannot be read: {}", error.message))
    })?;
    let holds = expr.holds(env).map_err(|error| {
        (Cause::Error, format!("the condition `{source}` has no value: {}", error.message))
    })?;
    if holds {
        return Ok(None);
    }
    let by_need = (!expr.asks_status()).then(blocked).flatten();
    Ok(Some(by_need.unwrap_or_else(|| format!("its condition `{source}` does not hold"))))
}

fn past(progress: &StageProgress) -> &'static str {
    if progress.failed > 0 {
        "failed"
    } else if progress.error > 0 {
        "ended in an error"
    } else if progress.cancelled > 0 {
        "was cancelled"
    } else {
        "was skipped"
    }
}

fn inputs(
    state: &State,
    run: &Run,
    stage: &Stage,
    task: &Task,
) -> Result<Vec<ResolvedInput>, Failed> {
    let mut resolved = Vec::new();
    for (name, input) in &stage.inputs {
        let swapped = task.variant.as_ref().filter(|(swapped, _)| swapped == name.as_str());
        if let Some((_, root)) = swapped {
            resolved.push(ResolvedInput {
                name: name.to_string(),
                from: format!("the model {}", root.short()),
                source: ResolvedSource::Tree(*root),
                at: input.at.clone(),
                folder: None,
            });
            continue;
        }
        let source = match &input.source {
            Source::Output { stage: from, output } => {
                resolved.extend(from_stage(state, run, (name.as_str(), &input.at), from, output)?);
                continue;
            }
            Source::File(path) => {
                let root = run.files.get(path).ok_or_else(|| {
                    (
                        Cause::Failure,
                        format!("file:{path} was not uploaded with the run; submit it again"),
                    )
                })?;
                ResolvedSource::Tree(*root)
            }
            Source::Mount { path, digest } => {
                ResolvedSource::Mount { path: path.clone(), digest: *digest }
            }
            Source::Model(model) => ResolvedSource::Tree(model_root(state, &run.project, model)?),
        };
        resolved.push(ResolvedInput {
            name: name.to_string(),
            from: input.source.to_string(),
            source,
            at: input.at.clone(),
            folder: None,
        });
    }
    Ok(resolved)
}

/// An output of another stage: of its only task, or of each task of its matrix in a folder of its label.
fn from_stage(
    state: &State,
    run: &Run,
    (name, at): (&str, &Option<String>),
    from: &runyard_types::StageName,
    output: &runyard_types::Name,
) -> Result<Vec<ResolvedInput>, Failed> {
    let mut resolved = Vec::new();
    for task in state.stage_tasks(&run.project, &run.name, from) {
        let found = task.result.outputs.get(output.as_str()).ok_or_else(|| {
            (Cause::Failure, format!("{} has left no output `{output}`", task.key))
        })?;
        let folder = task.key.index.map(|_| {
            at.as_ref()
                .map_or_else(|| format!("inputs/{name}"), |at| at.trim_end_matches('/').to_owned())
        });
        let at = match &folder {
            None => at.clone(),
            Some(folder) => Some(format!("{folder}/{}", task.label)),
        };
        resolved.push(ResolvedInput {
            name: name.to_owned(),
            from: format!("{from}.{output}"),
            source: ResolvedSource::Tree(found.root),
            at,
            folder,
        });
    }
    Ok(resolved)
}

/// The root of a model at a version or alias.
pub(super) fn model_root(
    state: &State,
    project: &ProjectName,
    model: &ModelRef,
) -> Result<Digest, Failed> {
    let missing = |what: String| (Cause::Failure, what);
    let entity = state
        .model(project, &model.name)
        .ok_or_else(|| missing(format!("there is no model `{}`", model.name)))?;
    let number = match &model.at {
        ModelAt::Version(number) => *number,
        ModelAt::Alias(alias) => {
            entity
                .aliases
                .get(alias)
                .ok_or_else(|| missing(format!("there is no alias `{model}`")))?
                .version
        }
    };
    let version = entity.version(number).ok_or_else(|| {
        missing(format!("there is no version {number} of model `{}`", model.name))
    })?;
    Ok(version.root)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Env, task};
    use super::*;

    #[test]
    fn the_outputs_of_a_matrix_share_one_folder() {
        let mut env = Env::new();
        env.node("n1", &[]);
        env.submit(
            "version: 1\nname: grid\nstages:\n  many: { run: 'true', matrix: { axes: { seed: [0, 1] } }, outputs: { rows: out } }\n  one: { run: 'true', outputs: { rows: out } }\n  pick: { run: 'true', inputs: { rows: many.rows } }\n",
        );
        for key in ["grid-1/many[0]", "grid-1/many[1]", "grid-1/one"] {
            env.work(key, "n1", "rows");
        }
        let project = ProjectName::default_project();
        let run = env.state.run(&project, &"grid-1".parse().expect("a run")).expect("it is there");
        let places = |at: Option<&str>, from: &str| {
            let (at, from) = (at.map(str::to_owned), from.parse().expect("a stage"));
            let output = "rows".parse().expect("a name");
            let all = from_stage(&env.state, run, ("rows", &at), &from, &output).expect("resolved");
            all.into_iter()
                .map(|input| (input.folder.unwrap_or_default(), input.at.unwrap_or_default()))
                .collect::<Vec<_>>()
        };
        let pair = |folder: &str, at: &str| (folder.to_owned(), at.to_owned());
        assert_eq!(
            places(None, "many"),
            [pair("inputs/rows", "inputs/rows/seed=0"), pair("inputs/rows", "inputs/rows/seed=1")]
        );
        assert_eq!(
            places(Some("data/"), "many"),
            [pair("data", "data/seed=0"), pair("data", "data/seed=1")]
        );
        assert_eq!(places(None, "one"), [pair("", "")], "a single one is where it always is");
    }

    #[test]
    fn resolutions_are_cut_into_entries_that_the_log_takes() {
        let queue = |bytes: usize| Resolution::Queue {
            content_key: None,
            inputs: Vec::new(),
            env: BTreeMap::from([("BIG".to_owned(), "x".repeat(bytes))]),
            reason: String::new(),
        };
        let items = |sizes: &[usize]| {
            let item =
                |(at, bytes): (usize, &usize)| (task(&format!("big-1/a[{at}]")), queue(*bytes));
            sizes.iter().enumerate().map(item).collect::<Vec<_>>()
        };
        let cut = batches(items(&[10; 600]));
        assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, 88]);

        let sizes = [300_000, 300_000, 100, 600_000, 500_000];
        let cut = batches(items(&sizes));
        let keys: Vec<_> = cut.iter().flatten().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys, items(&sizes).into_iter().map(|(key, _)| key).collect::<Vec<_>>());
        for batch in &cut {
            let bytes = encode(&ResolveTasks { items: batch.clone() }).len();
            assert!(bytes < 1 << 20, "{bytes}");
        }
        let (_, fourth) = &cut.iter().flatten().collect::<Vec<_>>()[3];
        let Resolution::Fail { cause: Cause::Failure, reason } = fourth else {
            panic!("{fourth:?}")
        };
        assert!(reason.contains("over the limit of 524288"), "{reason}");
    }
}
