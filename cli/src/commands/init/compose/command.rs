//! What an option of a script is for, by its name.

use crate::commands::init::options::Opt;

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
    if has(&["out", "output", "outdir", "outfile", "save", "export", "dest", "results", "metrics"])
    {
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

/// An option with its value, as a part of a command.
pub(super) fn part(option: &Opt, value: &str) -> String {
    match option.flag.as_str() {
        "" => value.to_owned(),
        flag => format!("{flag} {value}"),
    }
}
