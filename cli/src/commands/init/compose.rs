//! From a repository to the text of a pipeline file.

mod command;
mod stages;
mod yaml;

use std::path::Path;

use super::repository::Repository;

/// Above this, data is suggested as a mount, in bytes.
pub(super) const MOUNT_BYTES: u64 = 20 << 30;

/// A file that was written, and what its author should know.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) text: String,
    /// What to do next, or what was guessed.
    pub(super) notes: Vec<String>,
}

/// The file's text; `root` is the repository's absolute path, for mounts.
pub(super) fn compose(repository: &Repository, name: &str, root: &Path) -> Composed {
    let mut plan = stages::Plan::new(repository, name, root);
    plan.all();
    let mut text = format!(
        "# What happens to {name}, stage by stage. `runyard validate` checks it, `runyard plan` shows what\n\
         # would run, `runyard run` runs it. Written by `runyard init`; it is yours to change.\n\
         version: 1\n\
         name: {name}\n"
    );
    text.push_str(&yaml::params(plan.params()));
    if let Some(python) = &repository.python {
        let key = match python.as_str() {
            "pyproject.toml" => "{ project: pyproject.toml }",
            requirements => requirements,
        };
        text.push_str(&format!(
            "\n# The environment of every stage: built once on each node, kept as long as the file stays the same.\n\
             defaults:\n  python: {key}\n"
        ));
    }
    text.push_str("\nstages:\n");
    text.push_str(&plan.text());
    Composed { text, notes: plan.notes() }
}

/// The three lines that give a row per example.
pub(super) const THREE_LINES: [&str; 3] = [
    "import csv, os",
    r#"rows = csv.writer(open(os.path.join(os.environ["RUNYARD_RESULTS"], "rows.csv"), "w", newline=""))"#,
    r#"rows.writerows([("example_id", "y_true", "y_pred"), *zip(ids, y_true, y_pred)])"#,
];
