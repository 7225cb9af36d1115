//! The stages of the file, one after another.

mod eval;
mod inputs;
mod release;
mod results;

use std::path::Path;

use super::command::{Role, role};
use super::yaml;
use crate::commands::init::options::Opt;
use crate::commands::init::python::Value;
use crate::commands::init::repository::{Repository, Script};

/// What is known of the file so far.
pub(super) struct Plan<'a> {
    repository: &'a Repository,
    name: &'a str,
    root: &'a Path,
    params: Vec<Opt>,
    text: String,
    notes: Vec<String>,
    /// The folder that the training fills, if it is known.
    model: Option<String>,
    /// Whether the evaluation hands over rows.
    rows: Rows,
}

/// What the evaluation hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// A row per example.
    Examples,
    /// Flat metrics only.
    Flat,
    Nothing,
}

impl<'a> Plan<'a> {
    pub(super) fn new(repository: &'a Repository, name: &'a str, root: &'a Path) -> Self {
        let (params, text, notes) = (Vec::new(), String::new(), Vec::new());
        Self { repository, name, root, params, text, notes, model: None, rows: Rows::Nothing }
    }
    pub(super) fn params(&self) -> &[Opt] {
        &self.params
    }
    pub(super) fn text(&self) -> String {
        self.text.trim_start_matches('\n').to_owned()
    }
    pub(super) fn notes(self) -> Vec<String> {
        self.notes
    }

    /// Writes all stages.
    pub(super) fn all(&mut self) {
        let repository = self.repository;
        match &repository.train {
            Some(script) => self.train(script),
            None => self.hello(),
        }
        if let (Some(script), true) = (&repository.eval, repository.train.is_some()) {
            self.eval(script);
            self.gate();
        }
        if let (Some(script), Some(_)) = (&repository.serve, &self.model) {
            self.serve(script);
        }
        if let Some(prepare) = &repository.prepare {
            self.notes.push(format!(
                "{} is not in the file: make it a stage with outputs if runs should repeat it",
                prepare.path
            ));
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn hello(&mut self) {
        self.line("  hello:");
        self.line("    run: echo \"put your command here\"");
        self.notes.push("no train.py was found; edit the stage `hello`".into());
    }

    fn train(&mut self, script: &Script) {
        let out = script.options.iter().find(|option| role(option, true) == Role::Out);
        let written = out.and_then(|option| match &option.default {
            Some(Value::Text(path)) => {
                Some(path.trim_start_matches("./").trim_end_matches('/').to_owned())
            }
            _ => None,
        });
        // A file is kept with its folder, so that the output is one.
        let folder_of = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let is_file = |path: &str| path.rsplit('/').next().is_some_and(|name| name.contains('.'));
        let literal =
            script.writes.iter().find(|path| !path.ends_with(".json") && !path.ends_with(".csv"));
        let mut line = self.command(script, true);
        let mut give = |option: &Opt, value: &str| {
            line.give(script, option, value);
            line.text(script)
        };
        let command;
        let folder = match (out, written, literal) {
            (Some(option), Some(path), _) if is_file(&path) => {
                let folder = folder_of(&path).unwrap_or_else(|| "out".into());
                let name = path.rsplit('/').next().unwrap_or_default();
                command =
                    format!("mkdir -p {folder} && {}", give(option, &format!("{folder}/{name}")));
                Some(folder)
            }
            (Some(option), Some(path), _)
                if super::super::repository::is_relative(&path) && path != "." =>
            {
                command = give(option, &path);
                Some(path)
            }
            (Some(option), _, _) => {
                let file = option.name.contains("file")
                    || option.help.to_ascii_lowercase().contains(" file");
                let value = if file { "out/model" } else { "out" };
                command = format!("mkdir -p out && {}", give(option, value));
                Some("out".into())
            }
            (None, _, Some(path)) => Some(match folder_of(path) {
                Some(folder) => {
                    // Git keeps no empty folders, and a script may not make its own.
                    command = format!("mkdir -p {folder} && {}", line.text(script));
                    folder
                }
                None => {
                    command = format!("{} && mkdir -p out && mv {path} out/", line.text(script));
                    "out".into()
                }
            }),
            (None, _, None) => {
                command = line.text(script);
                None
            }
        };
        self.line("  train:");
        self.line(&format!("    run: {}", quoted(&command)));
        self.inputs(script);
        let gpu = if self.repository.gpu { "gpu: 1, " } else { "" };
        // One: what each agent of `dev` offers on a host of two.
        self.line(&format!("    resources: {{ {gpu}cpu: 1, memory: 4GB }}"));
        match &folder {
            Some(folder) => {
                self.line(&format!(
                    "    outputs: {{ model: {{ path: {}, type: model }} }}",
                    yaml::text(folder)
                ));
            }
            None => {
                self.line("    # Name what it writes, so that other stages can take it:");
                self.line("    # outputs: { model: { path: out/, type: model } }");
                self.notes.push(format!(
                    "where does {} write its model? say it under `outputs:`",
                    script.path
                ));
            }
        }
        self.model = folder;
    }
}

/// A command as a YAML string: plain if it can be, in double quotes else.
fn quoted(command: &str) -> String {
    let plain =
        !command.contains(": ") && !command.contains(" #") && !command.contains(['\'', '{', '}']);
    match plain && !command.starts_with(['"', '&', '*', '!', '|', '>', '%', '@', '`']) {
        true => command.to_owned(),
        false => serde_json::Value::from(command).to_string(),
    }
}
