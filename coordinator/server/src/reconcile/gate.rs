//! Gates: the rows are read from the store, judged in a child process, and the verdict is proposed.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use runyard_pipeline::{ErrorRows, Gate, IfNone, Missing, ModelAt, Stage, StageKind};
use runyard_state::entity::{GateVerdict, ResolvedSource, Run, Task, TaskState};
use runyard_state::{AddReferenceTask, Command, DecideGate, FailTask, Promotion, State};
use runyard_types::{Cause, Digest, StageName, TaskKey, decode, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Status;

use super::Pass;
use super::expressions::TaskEnv;
use super::gate_child::{Answer, Job, Rule, RuleCheck, SideJob};
use super::resolve::model_root;
use crate::contentkey;
use crate::core::Core;
use crate::shorten::shortened;

/// What the rows of one side may hold, in bytes.
const ROWS_BYTES_MAX: u64 = 256 << 20;
/// How long the statistics may take.
const CHILD_TIMEOUT: Duration = Duration::from_secs(300);
/// What of the statistics' sentence goes into the state; the record has all of it.
const SUMMARY_BYTES_MAX: usize = 4 << 10;
/// The output under which results are published.
const RESULTS: &str = "results";

pub(super) async fn pass(core: Core) -> Result<Pass, Status> {
    let view = core.truth.view();
    for key in view.state.active.iter() {
        let Some(task) = view.state.tasks.get(key).filter(|task| view.state.is_undecided(task))
        else {
            continue;
        };
        let Some((run, stage)) = gate_stage(&view.state, task) else { continue };
        let StageKind::Gate(gate) = &stage.kind else { continue };
        // Rows are read and decoded: not on a thread that serves others.
        let prepared = {
            let (core, view, run, gate, task) = (
                core.clone(),
                std::sync::Arc::clone(&view),
                run.clone(),
                gate.clone(),
                Task::clone(task),
            );
            tokio::task::spawn_blocking(move || prepare(&core, &view.state, &run, &gate, &task))
                .await
                .map_err(|_| Status::internal("preparing a gate was cut off"))?
        };
        let command = match prepared {
            Ok(Step::Wait) => continue,
            Ok(Step::Reference(command)) => *command,
            Ok(Step::Judge(job)) => match judge(&core, &job).await {
                // The alias moved while it was judged: against the new one, in the next pass.
                Ok(_)
                    if against_root(&core.truth.view().state, run, gate)
                        != against_root(&view.state, run, gate) =>
                {
                    continue;
                }
                Ok(answer) => decide(&core, &view.state, run, gate, key, answer).await?,
                Err(reason) => fail(key, Cause::Error, reason),
            },
            Err(reason) => fail(key, Cause::Failure, reason),
        };
        if let Err(crate::truth::Denied::Refused(refusal)) = core.truth.propose(command).await {
            tracing::debug!(%refusal, "a gate's step was refused");
        }
    }
    Ok(Pass::Asleep)
}

fn fail(task: &TaskKey, cause: Cause, reason: String) -> Command {
    Command::FailTask(FailTask { task: task.clone(), cause, reason })
}

fn gate_stage<'a>(state: &'a State, task: &Task) -> Option<(&'a Run, &'a Stage)> {
    let run = state.run(&task.key.project, task.key.run()?)?;
    let stage = run.pipeline.stage(task.stage.as_ref()?.as_str())?;
    matches!(stage.kind, StageKind::Gate(_)).then_some((run, stage))
}

/// The model that the gate compares with, as things stand.
fn against_root(state: &State, run: &Run, gate: &Gate) -> Option<Digest> {
    model_root(state, &run.project, &gate.against.as_ref()?.model).ok()
}

enum Step {
    Wait,
    /// The champion must be judged by this run's evaluation first.
    Reference(Box<Command>),
    Judge(Box<Job>),
}

fn prepare(
    core: &Core,
    state: &State,
    run: &Run,
    gate: &Gate,
    task: &Task,
) -> Result<Step, String> {
    let evaluation = run
        .pipeline
        .stage(gate.results.as_str())
        .ok_or_else(|| format!("there is no stage {}", gate.results))?;
    let candidates: Vec<&Task> =
        state.stage_tasks(&run.project, &run.name, &gate.results).map(|task| &**task).collect();
    let options = evaluation.results.clone().unwrap_or_default();
    let swapped = evaluation.evaluates.iter().next();
    let first = candidates.first().ok_or_else(|| format!("stage {} has no tasks", gate.results))?;
    let candidate = SideJob {
        label: format!("{}", run.name),
        model: swapped.and_then(|input| input_root(first, input.as_str())).unwrap_or_default(),
        evaluation_key: evaluation_key(
            core,
            state,
            run,
            evaluation,
            first,
            swapped.map(runyard_types::Name::as_str),
        )?,
        files: rows(core, &candidates)?,
    };
    let champion = match &gate.against {
        None => SideOrNot::Nothing,
        Some(against) => match model_root(state, &run.project, &against.model) {
            Err((_, reason)) if against.if_none == IfNone::Block => return Err(reason),
            Err(_) => SideOrNot::Nothing,
            Ok(root) => {
                let Some(input) = swapped else {
                    return Err(format!(
                        "stage {} names no model that could be swapped: write `evaluates:` so that {} can be judged by it",
                        gate.results, against.model
                    ));
                };
                let label = label_of(state, run, against);
                match reference(core, state, run, evaluation, input.as_str(), root)? {
                    Reference::Wait => return Ok(Step::Wait),
                    Reference::Add(command) => return Ok(Step::Reference(Box::new(command))),
                    Reference::Broken(reason) => SideOrNot::Broken(reason),
                    Reference::Rows(key, files) => SideOrNot::Side(SideJob {
                        label,
                        model: root.to_string(),
                        evaluation_key: key,
                        files,
                    }),
                }
            }
        },
    };
    Ok(Step::Judge(Box::new(Job {
        rule: rule(gate),
        id: options.id.clone(),
        error_rows: match options.error_rows {
            ErrorRows::Zero => "zero",
            ErrorRows::Drop => "drop",
            ErrorRows::Fail => "fail",
        }
        .to_owned(),
        missing_at_most: match options.missing {
            Missing::CannotTest => None,
            Missing::Drop { at_most } => Some(at_most),
        },
        candidate,
        champion: match champion {
            SideOrNot::Side(side) => Some(Ok(side)),
            SideOrNot::Broken(reason) => Some(Err(reason)),
            SideOrNot::Nothing => None,
        },
        // The same gate of the same run draws the same resamples.
        seed: u64::from_le_bytes(first_eight(&Digest::of(task.key.to_string().as_bytes()))),
        set_uses: uses(state, run, task),
    })))
}

enum SideOrNot {
    Nothing,
    Side(SideJob),
    Broken(String),
}

fn first_eight(digest: &Digest) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    bytes
}

fn label_of(state: &State, run: &Run, against: &runyard_pipeline::Against) -> String {
    match &against.model.at {
        ModelAt::Version(number) => format!("{}@{number}", against.model.name),
        ModelAt::Alias(alias) => state
            .model(&run.project, &against.model.name)
            .and_then(|model| model.aliases.get(alias))
            .map_or_else(
                || against.model.to_string(),
                |found| format!("{}@{}", against.model.name, found.version),
            ),
    }
}

/// How often this gate of this pipeline has judged before.
fn uses(state: &State, run: &Run, task: &Task) -> u32 {
    let count = state
        .tasks
        .values()
        // One that is judged again counts once.
        .filter(|other| other.gate.is_some() && other.stage == task.stage && other.key != task.key)
        .filter(|other| other.key.run().is_some_and(|name| name.pipeline == run.name.pipeline))
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn input_root(task: &Task, input: &str) -> Option<String> {
    task.inputs.iter().find(|own| own.name == input).and_then(|own| match &own.source {
        ResolvedSource::Tree(root) => Some(root.to_string()),
        ResolvedSource::Mount { .. } => None,
    })
}

/// What defines the test: the content key of the evaluation without the model that is swapped.
fn evaluation_key(
    core: &Core,
    state: &State,
    run: &Run,
    stage: &Stage,
    task: &Task,
    swapped: Option<&str>,
) -> Result<String, String> {
    let code = match run.code_root {
        Some(root) => contentkey::code_files(&core.store, &run.project, root, stage)
            .map_err(|error| format!("the code snapshot cannot be read: {error}"))?,
        None => BTreeMap::new(),
    };
    let env = TaskEnv { state, run, stage, task }.variables()?;
    let inputs: Vec<_> =
        task.inputs.iter().filter(|input| Some(input.name.as_str()) != swapped).cloned().collect();
    Ok(contentkey::components(run, stage, task, &inputs, &env, &code).key().to_string())
}

enum Reference {
    Wait,
    Add(Command),
    Broken(String),
    Rows(String, Vec<(String, Vec<u8>)>),
}

/// The champion's rows by this run's evaluation: restored where equal work was done, else run.
fn reference(
    core: &Core,
    state: &State,
    run: &Run,
    evaluation: &Stage,
    input: &str,
    root: Digest,
) -> Result<Reference, String> {
    if evaluation.matrix.is_some() {
        return Ok(Reference::Broken(format!(
            "stage {} has a matrix, and a champion can only be judged by a stage without one; compare inside one task",
            evaluation.name
        )));
    }
    let Some(task) = reference_task(state, run, evaluation, input, root) else {
        let number = added(run).count() + 1;
        let suffix = if number == 1 { "champion".to_owned() } else { format!("champion-{number}") };
        let name = StageName::new(&format!("{}.{suffix}", evaluation.name))
            .map_err(|error| error.to_string())?;
        return Ok(Reference::Add(Command::AddReferenceTask(AddReferenceTask {
            project: run.project.clone(),
            run: run.name.clone(),
            stage: evaluation.name.clone(),
            name,
            input: input.to_owned(),
            root,
        })));
    };
    match task.state {
        TaskState::Waiting | TaskState::Queued | TaskState::Active => Ok(Reference::Wait),
        TaskState::Succeeded => {
            let key = evaluation_key(core, state, run, evaluation, task, Some(input))?;
            Ok(Reference::Rows(key, rows(core, &[task])?))
        }
        TaskState::Failed | TaskState::Error | TaskState::Cancelled | TaskState::Skipped => {
            Ok(Reference::Broken(format!(
                "the champion could not be evaluated ({}): {}; see `runyard logs {}`",
                task.state.as_str(),
                task.reason,
                task.key
            )))
        }
    }
}

/// The stages of a run that its gates asked for.
fn added(run: &Run) -> impl Iterator<Item = &StageName> {
    run.stages.keys().filter(|stage| run.pipeline.stage(stage.as_str()).is_none())
}

/// The task that judges a model, by what it judges, not by its name: the alias may have moved since another was
/// asked for.
fn reference_task<'a>(
    state: &'a State,
    run: &Run,
    evaluation: &Stage,
    input: &str,
    root: Digest,
) -> Option<&'a Task> {
    let tasks = added(run).flat_map(|stage| state.stage_tasks(&run.project, &run.name, stage));
    tasks.map(|task| &**task).find(|task| {
        let variant = task.variant.as_ref();
        task.stage.as_ref() == Some(&evaluation.name)
            && variant.is_some_and(|(swapped, model)| swapped == input && *model == root)
    })
}

/// The results files of some tasks.
fn rows(core: &Core, tasks: &[&Task]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut files = Vec::new();
    let mut left = ROWS_BYTES_MAX;
    for task in tasks {
        let output = task.result.outputs.get(RESULTS).ok_or_else(|| {
            format!("{} has left no results; write rows to $RUNYARD_RESULTS/ or name the files in `results:`", task.key)
        })?;
        let source = core.store.source(&task.key.project);
        let tree =
            core.store.tree(&task.key.project, output.root).map_err(|error| error.to_string())?;
        for file in &tree.files {
            let bytes = runyard_blobs::tree::read_file(&source, file, left)
                .map_err(|error| format!("results of {}: {}: {error}", task.key, file.path))?;
            left -= bytes.len() as u64;
            files.push((file.path.to_string(), bytes));
        }
    }
    Ok(files)
}

fn rule(gate: &Gate) -> Rule {
    Rule {
        checks: gate
            .checks
            .iter()
            .map(|(name, check)| RuleCheck {
                name: name.to_string(),
                metric: check.metric.clone(),
                stat: check.stat.clone(),
                lower_is_better: check.goal == runyard_pipeline::Goal::Min,
                min: check.min,
                max: check.max,
                margin: check.margin,
                by: check.by.clone(),
                alpha: check.alpha,
                method: check.method.clone(),
                warn: check.on_fail == runyard_pipeline::OnFail::Warn,
            })
            .collect(),
        correct: match gate.correct {
            runyard_pipeline::Correction::Holm => "holm",
            runyard_pipeline::Correction::Bh => "bh",
            runyard_pipeline::Correction::None => "none",
        }
        .to_owned(),
        absolute_if_none: gate
            .against
            .as_ref()
            .is_none_or(|against| against.if_none == IfNone::Absolute),
        stored: gate.against.as_ref().is_some_and(|against| against.stored_allow),
    }
}

/// Runs the statistics in a child process with limits of its own: rows are a user's data.
async fn judge(core: &Core, job: &Job) -> Result<Answer, String> {
    let mut child = tokio::process::Command::new(&core.group.program)
        .arg("__gate")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the gate's process could not be started: {error}"))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(mut stdout)) = (stdin, stdout) else {
        return Err("the gate's process has no pipes".to_owned());
    };
    let input = encode(job);
    let talk = async {
        let write = async {
            let written = stdin.write_all(&input).await;
            drop(stdin);
            written
        };
        let mut output = Vec::new();
        let (written, read) = tokio::join!(write, stdout.read_to_end(&mut output));
        written.and(read.map(drop)).map(|()| output)
    };
    let output = tokio::time::timeout(CHILD_TIMEOUT, talk)
        .await
        .map_err(|_| format!("the gate's statistics took over {} s", CHILD_TIMEOUT.as_secs()))?
        .map_err(|error| format!("the gate's process broke off: {error}"));
    let ended = child
        .wait_with_output()
        .await
        .map_err(|error| format!("the gate's process is lost: {error}"))?;
    let output = output?;
    if !ended.status.success() {
        let stderr = String::from_utf8_lossy(&ended.stderr);
        return Err(format!("the gate's process ended with {}: {}", ended.status, stderr.trim()));
    }
    decode::<Result<Answer, String>>("a gate's answer", &output)
        .map_err(|error| error.to_string())?
}

async fn decide(
    core: &Core,
    state: &State,
    run: &Run,
    gate: &Gate,
    key: &TaskKey,
    answer: Answer,
) -> Result<Command, Status> {
    let store = core.store.clone();
    let project = key.project.clone();
    let record = tokio::task::spawn_blocking(move || store.put_blob(&project, answer.record))
        .await
        .map_err(|_| Status::internal("storing the decision record was cut off"))?
        .map_err(crate::errors::shared_store)?;
    let verdict = match answer.verdict.as_str() {
        "pass" => GateVerdict::Pass,
        "fail" => GateVerdict::Fail,
        "inconclusive" => GateVerdict::Inconclusive,
        _ => GateVerdict::CannotTest,
    };
    let promote = match promotion(state, run, gate) {
        Ok(promote) => promote,
        Err(reason) => return Ok(fail(key, Cause::Failure, reason)),
    };
    Ok(Command::DecideGate(Box::new(DecideGate {
        task: key.clone(),
        verdict,
        record,
        summary: shortened(&answer.summary, SUMMARY_BYTES_MAX),
        inconclusive: gate.inconclusive,
        promote,
        champion: state.champion_of(key),
    })))
}

/// What a pass of the gate moves.
pub(crate) fn promotion(
    state: &State,
    run: &Run,
    gate: &Gate,
) -> Result<Option<Promotion>, String> {
    let Some(promote) = &gate.promote else { return Ok(None) };
    let from = state
        .stage_tasks(&run.project, &run.name, &promote.stage)
        .next()
        .ok_or_else(|| format!("promote: stage {} has no task", promote.stage))?;
    let output =
        from.result.outputs.get(promote.output.as_str()).ok_or_else(|| {
            format!("promote: {} has left no output `{}`", from.key, promote.output)
        })?;
    Ok(Some(Promotion {
        model: promote.model.clone(),
        alias: promote.alias.clone(),
        from: from.key.clone(),
        root: output.root,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::*;

    #[test]
    fn a_champion_is_found_by_what_it_is() {
        let mut env = Env::new();
        env.submit(
            "version: 1\nname: digits\nstages:\n  train: { run: 'true', outputs: { model: { path: out, type: model } } }\n  eval: { evaluates: { model: train.model }, run: 'true', results: rows.csv }\n",
        );
        let roots = [b"first", b"other"].map(|bytes| Digest::of(bytes));
        let reference = |name: &str, root| {
            Command::AddReferenceTask(AddReferenceTask {
                project: runyard_types::ProjectName::default_project(),
                run: "digits-1".parse().expect("a run"),
                stage: "eval".parse().expect("a stage"),
                name: name.parse().expect("a stage"),
                input: "model".into(),
                root,
            })
        };
        let found = |env: &Env, input: &str, root| {
            let run = "digits-1".parse().expect("a run");
            let project = runyard_types::ProjectName::default_project();
            let run = env.state.run(&project, &run).expect("it is there");
            let evaluation = run.pipeline.stage("eval").expect("it is there");
            reference_task(&env.state, run, evaluation, input, root)
                .map(|task| task.key.to_string())
        };
        assert_eq!(found(&env, "model", roots[0]), None);
        env.ok(reference("eval.champion", roots[0]));
        assert_eq!(found(&env, "model", roots[0]).as_deref(), Some("digits-1/eval.champion"));
        // The alias has moved: the rows of the one before are not its.
        assert_eq!(found(&env, "model", roots[1]), None);
        assert_eq!(found(&env, "tokenizer", roots[0]), None);
        env.ok(reference("eval.champion-2", roots[1]));
        assert_eq!(found(&env, "model", roots[1]).as_deref(), Some("digits-1/eval.champion-2"));
        assert_eq!(found(&env, "model", roots[0]).as_deref(), Some("digits-1/eval.champion"));
    }
}
