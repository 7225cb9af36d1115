//! The evaluation: whose model it judges, and what rows it hands over.

use super::super::command::{Role, role};
use super::super::{THREE_LINES, yaml};
use super::results::{self, Handed};
use super::{Plan, Rows, quoted};
use crate::commands::init::repository::Script;

impl Plan<'_> {
    pub(super) fn eval(&mut self, script: &Script) {
        let takes = script.options.iter().find(|option| role(option, false) == Role::Model);
        let model = self.model.clone();
        let mut line = self.command(script, false);
        let (mut at, mut before) = (String::new(), String::new());
        if let (Some(option), Some(folder)) = (takes, &model) {
            line.give(script, option, &self.model_path(option, folder));
        } else if let Some(folder) = &model {
            // The script knows the place: the model is put there.
            match folder == "out" && !script.mentions("out") {
                true => before = "cp -r \"$RUNYARD_INPUT_MODEL\"/. . && ".to_owned(),
                false => at = folder.clone(),
            }
        }
        let Handed { pattern: results, rows, make } = results::handed(script, &mut line);
        if let Some(folder) = make {
            before.push_str(&format!("mkdir -p {folder} && "));
        }
        let command = format!("{before}{}", line.text(script));
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
}
