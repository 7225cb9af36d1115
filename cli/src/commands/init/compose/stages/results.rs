//! What an evaluation hands over, found in its options and in the files that it names.

use super::super::command::{Line, Role, is_of_rows, role};
use super::Rows;
use crate::commands::init::options::Opt;
use crate::commands::init::python::Value;
use crate::commands::init::repository::{Script, is_relative};

/// How results are handed over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handed {
    /// For `results:`; none where the script writes to the folder of results itself, or writes nothing.
    pub(super) pattern: Option<String>,
    pub(super) rows: Rows,
    /// A folder that must be there before the script begins.
    pub(super) make: Option<String>,
}

/// Finds out, and gives the options that say where to write their values.
pub(super) fn handed(script: &Script, line: &mut Line) -> Handed {
    let outs: Vec<&Opt> =
        script.options.iter().filter(|option| role(option, false) == Role::Out).collect();
    // Rows go before flat metrics: of several options, the one that speaks of them.
    let chosen = outs
        .iter()
        .find(|option| is_of_rows(&option.name))
        .or_else(|| outs.iter().find(|option| default(option).is_some_and(has_rows)))
        .or(outs.first())
        .copied();
    for other in outs.iter().filter(|option| Some(**option) != chosen) {
        // The others are written where the script likes, if it does.
        if other.required {
            line.give(script, other, &guess(other, script));
        }
    }
    if let Some(option) = chosen {
        return by_option(script, option, line);
    }
    if let Some(path) = best(script.writes.iter().filter(|path| has_rows(path))) {
        return Handed { pattern: Some(path.clone()), rows: Rows::Examples, make: None };
    }
    if script.has("RUNYARD_RESULTS") {
        return Handed { pattern: None, rows: Rows::Examples, make: None };
    }
    if let Some(path) = named(script) {
        return Handed { pattern: Some(path), rows: Rows::Examples, make: None };
    }
    match script.writes.iter().find(|path| path.ends_with(".json")) {
        Some(path) => Handed { pattern: Some(path.clone()), rows: Rows::Flat, make: None },
        None => Handed { pattern: None, rows: Rows::Nothing, make: None },
    }
}

fn by_option(script: &Script, option: &Opt, line: &mut Line) -> Handed {
    let is_file = |path: &str| path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    let given = default(option).filter(|path| is_relative(path)).map(str::to_owned);
    // A name of its own without a folder is joined to the folder that the option says.
    let inner = named(script).filter(|name| !name.contains('/'));
    let folder_word = ["dir", "folder", "outdir"].iter().any(|word| option.name.contains(word));
    let file = given.as_deref().is_some_and(is_file);
    if let (false, Some(name)) = (file || is_of_rows(&option.name), &inner) {
        let folder = given.unwrap_or_else(|| "results".into());
        let folder = folder.trim_end_matches('/').to_owned();
        line.give(script, option, &folder);
        let pattern = Some(format!("{folder}/{name}"));
        return Handed { pattern, rows: Rows::Examples, make: Some(folder) };
    }
    let value = given.unwrap_or_else(|| match folder_word {
        true => "results".into(),
        false => guess(option, script),
    });
    line.give(script, option, &value);
    let folder = value.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let (pattern, make) = match is_file(&value) {
        true => (value, folder),
        false => {
            let folder = value.trim_end_matches('/').to_owned();
            (format!("{folder}/*.{}", ending(script)), Some(folder))
        }
    };
    let rows = if has_rows(&pattern) { Rows::Examples } else { Rows::Flat };
    Handed { pattern: Some(pattern), rows, make }
}

/// A file for an option that has none.
fn guess(option: &Opt, script: &Script) -> String {
    if option.name.contains("metrics") {
        return "metrics.json".into();
    }
    let stem = if option.name.contains("pred") { "predictions" } else { "rows" };
    format!("{stem}.{}", ending(script))
}

/// The kind of rows that the script seems to write.
fn ending(script: &Script) -> &'static str {
    let lines = script.has("jsonl")
        || script.has("jsonlines")
        || script.has("lines=True")
        || script.has("json.dumps") && !script.has("csv");
    if lines { "jsonl" } else { "csv" }
}

fn default(option: &Opt) -> Option<&str> {
    match &option.default {
        Some(Value::Text(path)) => Some(path.trim_start_matches("./")),
        _ => None,
    }
}

fn has_rows(path: &str) -> bool {
    path.ends_with(".csv") || path.ends_with(".jsonl")
}

/// Of files with rows, the one whose name says that they are of examples.
fn best<'a>(paths: impl Iterator<Item = &'a String> + Clone) -> Option<&'a String> {
    paths.clone().find(|path| is_of_rows(path)).or_else(|| paths.clone().next())
}

/// A file of rows by its name, which the script does not read: it was not seen in a call that writes, as
/// where its path is put together.
fn named(script: &Script) -> Option<String> {
    let paths = script.literals.iter().map(|text| text.trim_start_matches("./"));
    let mut found = paths.filter(|path| {
        has_rows(path)
            && is_of_rows(path)
            && is_relative(path)
            && !script.reads.iter().any(|read| read.trim_start_matches("./") == *path)
    });
    found.next().map(str::to_owned)
}
