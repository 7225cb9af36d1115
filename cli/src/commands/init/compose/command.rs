//! What an option of a script is for, by its name.

use std::collections::BTreeMap;

use crate::commands::init::options::Opt;
use crate::commands::init::python::Value;
use crate::commands::init::repository::{Script, is_relative};

/// The use of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Where data is read.
    Data,
    /// Where something is written.
    Out,
    /// Where a model is read.
    Model,
    Port,
    Host,
    /// A path of another kind (a config file, say), left to its default.
    Path,
    /// A value that a person may want to set.
    Value,
}

/// The role of an option; `writes_model` for the script that makes the model.
pub(super) fn role(option: &Opt, writes_model: bool) -> Role {
    let name = option.name.replace('_', "-");
    let parts: Vec<&str> = name.split('-').collect();
    let has = |words: &[&str]| parts.iter().any(|part| words.contains(part));
    let path_like = has(&["dir", "path", "file", "folder", "csv"]);
    match name.as_str() {
        "port" => return Role::Port,
        "host" | "bind" | "address" => return Role::Host,
        _ => {}
    }
    if option.kind != crate::commands::init::options::Kind::Text {
        return Role::Value;
    }
    if has(OUT) || has(ROWS) {
        return Role::Out;
    }
    if has(&["model", "ckpt", "checkpoint", "weights", "artifact"]) {
        // `--model resnet18` of a training script names an architecture, `--model-dir` a place.
        return match (writes_model, path_like) {
            (true, true) => Role::Out,
            (true, false) => Role::Value,
            (false, _) => Role::Model,
        };
    }
    if has(&["data", "dataset", "datasets", "input", "inputs", "csv", "datadir", "dataroot"]) {
        // `--dataset mnist` names one; a default with a `/` or an ending is a place.
        return Role::Data;
    }
    if path_like { Role::Path } else { Role::Value }
}

/// Words in the name of an option that says where something is written.
const OUT: &[&str] = &[
    "out", "output", "outputs", "outdir", "outfile", "save", "export", "dest", "results", "metrics",
];
/// Words in the name of an option or a file for what has a row per example.
const ROWS: &[&str] =
    &["rows", "row", "predictions", "prediction", "preds", "pred", "samples", "examples"];

/// Whether a name, of an option or a file, speaks of a row per example.
pub(super) fn is_of_rows(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    name.split(['-', '_', '.']).any(|part| ROWS.contains(&part))
}

/// A script's command as it grows: options with flags as they come, the others in the script's order.
#[derive(Debug, Clone)]
pub(super) struct Line {
    parts: Vec<String>,
    by_place: BTreeMap<usize, String>,
}

impl Line {
    pub(super) fn new(script: &Script) -> Self {
        Self { parts: vec![format!("python {}", script.path)], by_place: BTreeMap::new() }
    }

    /// Gives an option a value.
    pub(super) fn give(&mut self, script: &Script, option: &Opt, value: &str) {
        if !option.flag.is_empty() {
            self.parts.push(format!("{} {value}", option.flag));
            return;
        }
        let place = script.options.iter().position(|known| known.name == option.name);
        self.by_place.insert(place.unwrap_or(usize::MAX), value.to_owned());
    }

    /// The command. What stands before an argument that is given must be given, too.
    pub(super) fn text(&self, script: &Script) -> String {
        let last = self.by_place.keys().next_back().copied();
        let mut parts = self.parts.clone();
        for (place, option) in script.options.iter().enumerate() {
            if !option.flag.is_empty() {
                continue;
            }
            match (self.by_place.get(&place), &option.default) {
                (Some(value), _) => parts.push(value.clone()),
                (None, Some(default)) if Some(place) < last => parts.push(literal(default)),
                (None, None) if Some(place) < last => parts.push("\"\"".into()),
                (None, _) => {}
            }
        }
        parts.join(" ")
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) if is_relative(text) => text.clone(),
        _ => "\"\"".into(),
    }
}
