//! What of a run a stage sees: its parameters, command and Python environment.

use std::collections::BTreeMap;

use runyard_pipeline::{PythonSource, Stage, StageKind, command_with_args, param_variable};
use runyard_proto::agent as wire;
use runyard_state::entity::{PythonEnvironment, Run};
use runyard_types::Name;

/// The parameters that a stage is given, and that count for its content key.
///
/// A parameter that stages mention (in their command, variables, arguments or condition) belongs to these
/// stages alone, so that changing it leaves the others' results valid. One that no stage mentions may be
/// read by any script, and belongs to all.
pub(crate) fn visible_params(run: &Run, stage: &Stage) -> BTreeMap<Name, String> {
    run.params
        .iter()
        .filter_map(|(name, value)| Some((Name::new(name).ok()?, value.clone())))
        .filter(|(name, _)| {
            mentions(stage, name) || !run.pipeline.stages.iter().any(|other| mentions(other, name))
        })
        .collect()
}

fn mentions(stage: &Stage, name: &Name) -> bool {
    if stage.args.is_some() {
        return true;
    }
    let variable = param_variable(name);
    let field = format!("params.{name}");
    let texts = [stage.command(), stage.condition.as_deref()];
    texts
        .into_iter()
        .flatten()
        .chain(stage.env.values().map(String::as_str))
        .any(|text| names(text, &variable) || text.contains(&field))
}

/// Whether `text` has `word` as a whole word.
fn names(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next())
    })
}

/// The command with the parameters appended, if the stage asks for it.
pub(crate) fn command(run: &Run, stage: &Stage) -> String {
    let params: Vec<Name> = visible_params(run, stage).into_keys().collect();
    command_with_args(stage.command().unwrap_or_default(), stage.args, &params)
}

/// The Python environment as the agent builds it; the files are those of the code snapshot.
pub(crate) fn python_environment(stage: &Stage) -> Option<PythonEnvironment> {
    let python = stage.python.as_ref()?;
    let mut environment = PythonEnvironment {
        version: python.version.clone().unwrap_or_default(),
        index: python.index.clone().unwrap_or_default(),
        ..PythonEnvironment::default()
    };
    match &python.source {
        PythonSource::Requirements(path) | PythonSource::Lock(path) => {
            environment.requirements_path.clone_from(path)
        }
        PythonSource::Project(path) if path.ends_with(".toml") => {
            environment.requirements_path.clone_from(path)
        }
        PythonSource::Project(path) => {
            environment.requirements_path =
                format!("{}/pyproject.toml", path.trim_end_matches('/'));
        }
        PythonSource::Venv(path) => environment.venv.clone_from(path),
    }
    Some(environment)
}

/// The same as a message.
pub(crate) fn python(stage: &Stage) -> Option<wire::Python> {
    let python = python_environment(stage)?;
    Some(wire::Python {
        requirements: python.requirements,
        version: python.version,
        index: python.index,
        requirements_path: python.requirements_path,
        venv: python.venv,
    })
}

/// Whether the leader itself carries out a stage.
pub(crate) fn is_leaders(stage: &Stage) -> bool {
    matches!(stage.kind, StageKind::Gate(_) | StageKind::Deploy(_))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_variable_is_named_as_a_whole_word() {
        assert!(names("train --lr $RUNYARD_PARAM_LR", "RUNYARD_PARAM_LR"));
        assert!(names("${RUNYARD_PARAM_LR}", "RUNYARD_PARAM_LR"));
        assert!(!names("$RUNYARD_PARAM_LR_MAX", "RUNYARD_PARAM_LR"));
    }
}
