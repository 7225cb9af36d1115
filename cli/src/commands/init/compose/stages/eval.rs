//! The evaluation: whose model it judges, and what rows it hands over.

use super::super::command::{Role, part, role};
use super::super::{THREE_LINES, yaml};
use super::{Plan, Rows, quoted};
use crate::commands::init::python::Value;
use crate::commands::init::repository::Script;

impl Plan<'_> {
    pub(super) fn eval(&mut self, script: &Script) {
        let takes = script.options.iter().find(|option| role(option, false) == Role::Model);
        let model = self.model.clone();
        let mut command = self.command(script, false);
        let mut at = String::new();
        if let (Some(option), Some(folder)) = (takes, &model) {
            command = format!("{command} {}", part(option, &self.model_path(option, folder)));
        } else if let Some(folder) = &model {
            // The script knows the place: the model is put there.
            match folder == "out" && !script.mentions("out") {
                true => command = format!("cp -r \"$RUNYARD_INPUT_MODEL\"/. . && {command}"),
                false => at = folder.clone(),
            }
        }
        let (results, rows) = self.results(script, &mut command);
        self.rows = rows;
        self.line("\n  eval:");
        if model.is_some() {
            let input = match at.as_str() {
                "" => "train.model".to_owned(),
                at => format!("{{ from: train.model, at: {} }}", yaml::text(at)),
            };
            self.line("    # The same stage judges any other version of the model, too.");
            self.line(&format!("    evaluates: {{ model: {input} }}"));
        } else {
            self.line("    needs: train");
        }
        self.line(&format!("    run: {}", quoted(&command)));
        self.inputs(script);
        match results {
            Some(results) => self.line(&format!("    results: {}", yaml::text(&results))),
            // It writes to $RUNYARD_RESULTS; what judges a model is an evaluation without more words.
            None if rows == Rows::Examples && model.is_some() => {}
            None if rows == Rows::Examples => self.line("    results: {}"),
            None => {
                self.line("    # One row per example lets a gate compare models with an interval. Three lines give them:");
                for line in THREE_LINES {
                    self.line(&format!("    #   {line}"));
                }
                self.line("    # Then uncomment the gate.");
                let lines: String =
                    THREE_LINES.iter().map(|line| format!("      {line}\n")).collect();
                self.notes.push(format!(
                    "{} writes no row per example; these three lines do:\n{lines}",
                    script.path
                ));
            }
        }
    }

    /// How the results are handed over: the pattern, and what it will hold.
    fn results(&self, script: &Script, command: &mut String) -> (Option<String>, Rows) {
        let rows = |path: &str| path.ends_with(".csv") || path.ends_with(".jsonl");
        if let Some(option) = script.options.iter().find(|option| role(option, false) == Role::Out)
        {
            let default = match &option.default {
                Some(Value::Text(path)) => path.trim_start_matches("./").to_owned(),
                _ if option.name.contains("metrics") => "metrics.json".into(),
                _ => "rows.csv".into(),
            };
            command.push_str(&format!(" {}", part(option, &default)));
            let kind = if rows(&default) { Rows::Examples } else { Rows::Flat };
            let pattern = match default.rsplit('/').next().is_some_and(|name| name.contains('.')) {
                true => default,
                false => format!("{}/*.csv", default.trim_end_matches('/')),
            };
            let kind = if rows(&pattern) { Rows::Examples } else { kind };
            return (Some(pattern), kind);
        }
        if let Some(path) = script.writes.iter().find(|path| rows(path)) {
            return (Some(path.clone()), Rows::Examples);
        }
        if script.has("RUNYARD_RESULTS") {
            return (None, Rows::Examples);
        }
        match script.writes.iter().find(|path| path.ends_with(".json")) {
            Some(path) => (Some(path.clone()), Rows::Flat),
            None => (None, Rows::Nothing),
        }
    }
}
