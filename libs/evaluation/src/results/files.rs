//! From files to a table.

use serde_json::Value;

use super::aggregate::aggregate;
use super::error::ResultsError;
use super::flat::FlatMetrics;
use super::lm_eval;
use super::options::ResultsOptions;
use super::raw::RawTable;
use super::table::Table;
use super::{csv, json};

/// What an evaluation handed over.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a decision holds three at most")]
pub enum Results {
    /// Rows, one per example.
    Rows(Table),
    /// Numbers only.
    Flat(FlatMetrics),
}

/// Reads results files, given as names (relative paths, for messages and kinds) and contents. Rows of
/// several files are one table. A flat metrics file beside rows is left out, because the rows say
/// more.
pub fn parse(files: &[(&str, &[u8])], options: &ResultsOptions) -> Result<Results, ResultsError> {
    let (mut tables, mut samples, mut flats) = (Vec::new(), Vec::new(), Vec::new());
    for (name, bytes) in files {
        match read(name, bytes)? {
            Read::Flat(flat) => flats.push(flat),
            Read::Rows(raw) => match lm_eval::task(name).filter(|_| options.id.is_none()) {
                Some(task) => samples.push((task.to_owned(), raw)),
                None => tables.push(raw),
            },
        }
    }
    if !samples.is_empty() {
        tables.push(lm_eval::merge(samples)?);
    }
    if !tables.is_empty() {
        return aggregate(tables, options).map(Results::Rows);
    }
    let mut all = FlatMetrics::default();
    for flat in flats {
        all.values.extend(flat.values);
        all.not_finite.extend(flat.not_finite);
    }
    if all == FlatMetrics::default() {
        return Err(ResultsError::NoFile);
    }
    Ok(Results::Flat(all))
}

enum Read {
    Rows(RawTable),
    Flat(FlatMetrics),
}

fn read(name: &str, bytes: &[u8]) -> Result<Read, ResultsError> {
    let kind = |hint| ResultsError::Kind { file: name.to_owned(), hint };
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "csv" => csv::read(name, bytes).map(Read::Rows),
        "jsonl" | "ndjson" => json::read_lines(name, bytes).map(Read::Rows),
        "json" => read_json(name, bytes),
        "parquet" => {
            Err(kind("; parquet is not built yet: write it with to_csv or to_json(lines=True)"))
        }
        "tsv" => Err(kind("; write the columns separated by commas")),
        _ => Err(kind("")),
    }
}

fn read_json(name: &str, bytes: &[u8]) -> Result<Read, ResultsError> {
    let syntax = |line, problem| ResultsError::Syntax { file: name.to_owned(), line, problem };
    let text = std::str::from_utf8(bytes).map_err(|_| syntax(1, "not UTF-8".to_owned()))?;
    let value = json::parse_value(text.trim_start_matches('\u{feff}'))
        .map_err(|error| syntax(error.line() as u64, format!("not JSON: {error}")))?;
    let Value::Object(object) = value else {
        return Err(syntax(
            1,
            "not an object; for rows write one object per line, as .jsonl".into(),
        ));
    };
    if let Some(table) = json::read_split(name, &object) {
        return table.map(Read::Rows);
    }
    FlatMetrics::of(&object).map(Read::Flat).ok_or_else(|| {
        syntax(1, "neither metrics (numbers by name) nor a table (`columns` and `data`)".into())
    })
}
