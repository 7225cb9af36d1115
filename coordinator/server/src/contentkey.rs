//! The content key of a task: equal keys mean equal work.

use std::collections::BTreeMap;

use globset::{Glob, GlobSetBuilder};
use runyard_blobs::{LocalStore, StoreError};
use runyard_pipeline::Stage;
use runyard_proto::v1::CodeFile;
use runyard_state::entity::{ResolvedInput, ResolvedSource, Run, Task};
use runyard_types::{Digest, ProjectName};
use serde::{Deserialize, Serialize};

use crate::stagespec;

/// Raised when the way in which stages are run changes what they leave.
const KEY_VERSION: u32 = 1;

/// Everything that counts, by a name that people understand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Components(pub(crate) BTreeMap<String, String>);

impl Components {
    pub(crate) fn key(&self) -> Digest {
        Digest::of(&runyard_types::encode(&(KEY_VERSION, &self.0)))
    }

    /// What differs from `before`, in words.
    pub(crate) fn changed_since(&self, before: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> =
            self.0.keys().chain(before.0.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != before.0.get(*name))
            .map(|name| match (before.0.get(name), self.0.get(name)) {
                (Some(old), Some(new)) if name.starts_with("parameter ") => {
                    format!("{name} ({old} → {new})")
                }
                (Some(_), Some(_)) => name.clone(),
                (None, _) => format!("{name} (new)"),
                (_, None) => format!("{name} (gone)"),
            })
            .collect()
    }
}

/// The files of a code snapshot that count for a stage, by path: those of its `code:`, and whatever its
/// Python environment is built from.
pub(crate) fn code_files(
    store: &LocalStore,
    project: &ProjectName,
    root: Digest,
    stage: &Stage,
) -> Result<BTreeMap<String, String>, StoreError> {
    let tree = store.tree(project, root)?;
    let files: Vec<CodeFile> = tree
        .files
        .iter()
        .map(|file| CodeFile {
            path: file.path.to_string(),
            executable: file.executable,
            chunks: file.chunks.iter().map(|chunk| chunk.id.to_string()).collect(),
        })
        .collect();
    Ok(code_files_of(&files, stage))
}

/// The same of a listing, for a snapshot that is not in the store.
pub(crate) fn code_files_of(files: &[CodeFile], stage: &Stage) -> BTreeMap<String, String> {
    let patterns = &stage.code;
    let requirements = stagespec::python_environment(stage).map(|python| python.requirements_path);
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        // The pipeline file was checked: a pattern that does not parse matches nothing.
        if let Ok(glob) = Glob::new(pattern) {
            builder.add(glob);
        }
        if let Ok(glob) = Glob::new(&format!("{}/**", pattern.trim_end_matches('/'))) {
            builder.add(glob);
        }
    }
    let set = builder.build().unwrap_or_else(|_| globset::GlobSet::empty());
    files
        .iter()
        .filter(|file| {
            let path = file.path.as_str();
            // What of the pipeline file concerns a stage counts by itself: its command, variables, outputs.
            let of_pipeline = path == "runyard.yaml" || path.ends_with(".runyard.yaml");
            patterns.is_empty() && !of_pipeline
                || set.is_match(path)
                || requirements.as_deref() == Some(path)
        })
        .map(|file| {
            let mut hash = Digest::of(&[u8::from(file.executable)]).to_string();
            for chunk in &file.chunks {
                hash = Digest::of(format!("{hash}{chunk}").as_bytes()).to_string();
            }
            (file.path.clone(), hash)
        })
        .collect()
}

/// What counts for a task: command, variables, parameters, matrix values, inputs, code, environment, outputs.
pub(crate) fn components(
    run: &Run,
    stage: &Stage,
    task: &Task,
    inputs: &[ResolvedInput],
    env: &BTreeMap<String, String>,
    code: &BTreeMap<String, String>,
) -> Components {
    let mut all = BTreeMap::new();
    all.insert("the command".to_owned(), stagespec::command(run, stage));
    for (name, value) in stagespec::visible_params(run, stage) {
        all.insert(format!("parameter {name}"), value);
    }
    for (axis, value) in &task.values_in {
        all.insert(format!("matrix axis {axis}"), value.clone());
    }
    for (name, value) in env {
        all.insert(format!("variable {name}"), value.clone());
    }
    for input in inputs {
        let content = match &input.source {
            ResolvedSource::Tree(root) => root.to_string(),
            ResolvedSource::Mount { path, .. } => format!("mount:{path}"),
        };
        all.insert(format!("input {}", input.name), format!("{content} at {:?}", input.at));
    }
    for (path, digest) in code {
        all.insert(format!("file {path}"), digest.clone());
    }
    if let Some(python) = stagespec::python_environment(stage) {
        let text = format!(
            "{} {} {} {}",
            python.requirements_path, python.version, python.index, python.venv
        );
        all.insert("the Python environment".to_owned(), text);
    }
    for (name, output) in &stage.outputs {
        all.insert(
            format!("output {name}"),
            format!("{} {} {:?}", output.path, output.kind, output.from),
        );
    }
    if let Some(results) = &stage.results {
        all.insert("the results' files".to_owned(), format!("{:?}", results.files));
    }
    all.insert("the number of nodes".to_owned(), format!("{} {:?}", stage.nodes, stage.launch));
    Components(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_names_what_changed() {
        let form = |pairs: &[(&str, &str)]| {
            Components(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let before = form(&[("parameter lr", "0.1"), ("file train.py", "a"), ("input data", "x")]);
        let after = form(&[
            ("parameter lr", "0.2"),
            ("file train.py", "b"),
            ("input data", "x"),
            ("file new.py", "n"),
        ]);
        assert_ne!(before.key(), after.key());
        assert_eq!(
            after.changed_since(&before),
            ["file new.py (new)", "file train.py", "parameter lr (0.1 → 0.2)"]
        );
    }
}
