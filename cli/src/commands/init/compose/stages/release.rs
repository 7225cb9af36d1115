//! What a model must pass, and how it is served.

use super::super::command::{Role, role};
use super::{Plan, Rows, quoted};
use crate::commands::init::repository::Script;

/// Columns and metrics by their usual names.
const MORE_IS_BETTER: &[&str] = &["accuracy", "f1", "auc", "score", "exact_match", "r2"];
const LESS_IS_BETTER: &[&str] =
    &["absolute_error", "squared_error", "error", "loss", "mae", "mse", "rmse", "latency_ms"];

impl Plan<'_> {
    pub(super) fn gate(&mut self) {
        let Some(_) = &self.model else { return };
        let name = self.name;
        let metric = self.metric();
        let checks = match (self.rows, LESS_IS_BETTER.contains(&metric.as_str())) {
            (Rows::Flat, false) => format!("{metric}: {{ metric: {metric}, min: 0.5 }}"),
            (Rows::Flat, true) => format!("{metric}: {{ metric: {metric}, goal: min, max: 1.0 }}"),
            (_, false) => format!("{metric}: {{ metric: {metric}, min: 0.5, margin: 2pt }}"),
            (_, true) => {
                format!("{metric}: {{ metric: {metric}, goal: min, max: 1.0, margin: 0.02 }}")
            }
        };
        let against = match self.rows {
            Rows::Flat => String::new(),
            _ => format!("      against: {{ model: {name}@champion, if-none: absolute }}\n"),
        };
        let gate = format!(
            "  gate:\n    gate:\n      results: eval\n{against}      checks:\n        {checks}\n      \
             promote: {{ model: train.model, to: {name}@champion }}\n"
        );
        self.line("\n  # Lets a model pass that is good enough and no worse than the champion, by its examples.");
        match self.rows {
            Rows::Nothing => {
                let commented = commented(&gate);
                self.text.push_str(&commented);
            }
            Rows::Examples | Rows::Flat => {
                self.text.push_str(&gate);
                self.notes.push(format!(
                    "the gate's bounds on `{metric}` are guesses: set what a model must reach, and how much worse than the champion it may be"
                ));
            }
        }
    }

    /// The column that is judged: what predictions give, else a name that eval.py has among its texts.
    fn metric(&self) -> String {
        let Some(eval) = &self.repository.eval else { return "correct".into() };
        let has = |word: &&&str| eval.literals.contains(**word);
        let predictions =
            ["y_true", "target", "label"].iter().any(|word| eval.literals.contains(*word));
        if self.rows != Rows::Flat && (predictions || eval.literals.contains("correct")) {
            return "correct".into();
        }
        let named = MORE_IS_BETTER.iter().chain(LESS_IS_BETTER).find(has);
        match (named, self.rows) {
            (Some(name), _) => (*name).to_owned(),
            (None, Rows::Flat) => "accuracy".into(),
            (None, _) => "correct".into(),
        }
    }

    pub(super) fn serve(&mut self, script: &Script) {
        let name = self.name;
        let mut line = self.command(script, false);
        for option in &script.options {
            match (role(option, false), &self.model) {
                (Role::Port, _) => line.give(script, option, "\"$PORT\""),
                (Role::Host, _) => line.give(script, option, "\"$HOST\""),
                (Role::Model, Some(folder)) => {
                    let path = self
                        .model_path(option, folder)
                        .replace("RUNYARD_INPUT_MODEL", "RUNYARD_MODEL");
                    line.give(script, option, &path);
                }
                _ => {}
            }
        }
        let listens =
            script.has("PORT") || script.options.iter().any(|o| role(o, false) == Role::Port);
        let block = format!(
            "  serve:\n    needs: gate\n    deploy:\n      name: {name}\n      model: {name}@champion\n      \
             run: {}\n      ready: {{ path: /, within: 60s }}\n      \
             rollout: {{ strategy: canary, steps: [20%, 100%], hold: 1m }}\n",
            quoted(&line.text(script))
        );
        self.line("\n  # Serves the champion behind the gateway; goes back by itself when the new one errs.");
        if listens && self.rows != Rows::Nothing {
            self.text.push_str(&block);
        } else {
            let why = if listens {
                "needs the gate"
            } else {
                "must listen on $PORT and load $RUNYARD_MODEL"
            };
            self.line(&format!("  # Uncomment it then: {} {why}.", script.path));
            let commented = commented(&block);
            self.text.push_str(&commented);
            self.notes.push(format!("the stage `serve` is commented out: {} {why}", script.path));
        }
    }
}

/// Lines commented out so that taking `# ` away puts them back.
fn commented(block: &str) -> String {
    block.lines().map(|line| format!("  # {}\n", line.strip_prefix("  ").unwrap_or(line))).collect()
}
