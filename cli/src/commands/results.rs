//! `runyard results check`: what results files are understood as, before any GPU-hour.

use std::path::PathBuf;

use runyard_evaluation::results::{self, Description, Results, ResultsOptions, Table as Rows};
use serde_json::{Value, json};

use super::describe::fields;
use crate::context::Env;
use crate::errors::{Context as _, Error, Exit, Kind, Result};
use crate::output::{Cell, Column, Look, Output, Table, number, plain};

/// Flags of `results`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Columns, examples, and the smallest difference that they can show (exit code 1: --against
    /// has other examples)
    Check {
        /// csv or jsonl files of one evaluation, or a flat metrics.json
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The column of the examples' ids, where it is none of the usual ones
        #[arg(long, value_name = "COLUMN")]
        id: Option<String>,
        /// Results of another model on the same examples
        #[arg(long, value_name = "FILE")]
        against: Vec<PathBuf>,
    },
}

/// All files together, in bytes: they are held in memory.
const BYTES_MAX: u64 = 4 << 30;

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let Verb::Check { files, id, against } = args.verb;
    let rows = match read(&files, id.as_deref())? {
        Results::Rows(rows) => rows,
        Results::Flat(flat) => {
            env.printer.show(&Flat(flat.values.into_iter().collect()))?;
            env.printer.note("no rows per example: absolute checks only, without intervals");
            return Ok(Exit::OK);
        }
    };
    let other = match against.is_empty() {
        true => None,
        false => match read(&against, id.as_deref())? {
            Results::Rows(rows) => Some(rows),
            Results::Flat(_) => {
                return Err(Error::usage("--against needs rows per example, not a metrics.json"));
            }
        },
    };
    let description = Rows::describe(&rows, other.as_ref());
    let same = description.pair.as_ref().is_none_or(|pair| pair.same_set);
    env.printer.show(&Checked(description))?;
    if same {
        return Ok(Exit::OK);
    }
    env.printer.warn(
        "the two are not about the same examples: a gate could not compare them (cannot_test)\n\
         → give both the same ids and targets; evaluate the other model on these examples, too",
    );
    Ok(Exit::of(Kind::Failed))
}

fn read(paths: &[PathBuf], id: Option<&str>) -> Result<Results> {
    let mut files = Vec::new();
    let mut total = 0;
    for path in paths {
        let shown = path.display().to_string();
        let kind = match path.exists() {
            true => Kind::Failed,
            false => Kind::NotFound,
        };
        total += fs_err::metadata(path).context(kind, || format!("cannot read `{shown}`"))?.len();
        if total > BYTES_MAX {
            return Err(Error::usage(format!("`{shown}` is too large: {BYTES_MAX} bytes in all")));
        }
        let bytes =
            fs_err::read(path).context(Kind::Failed, || format!("cannot read `{shown}`"))?;
        files.push((shown, bytes));
    }
    let named: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let options = ResultsOptions { id: id.map(str::to_owned), ..ResultsOptions::default() };
    results::parse(&named, &options)
        .context(Kind::Usage, || format!("{} is not understood as results", files[0].0))
}

/// A flat metrics.json.
struct Flat(Vec<(String, f64)>);

impl Output for Flat {
    fn json(&self) -> Result<Value> {
        let values: serde_json::Map<String, Value> =
            self.0.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        Ok(json!({ "api_version": "runyard.v1", "flat": values }))
    }
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }
    fn table(&self, _look: &Look) -> Table {
        let mut table = Table::new([Column::new("METRIC"), Column::new("VALUE")], "No metrics.");
        for (name, value) in &self.0 {
            table.row([Cell::new(name), Cell::with_raw(number(*value), value)]);
        }
        table
    }
}

struct Checked(Description);

impl Output for Checked {
    fn json(&self) -> Result<Value> {
        let mut value = json!(self.0);
        if let Some(map) = value.as_object_mut() {
            map.insert("api_version".into(), json!("runyard.v1"));
        }
        Ok(value)
    }

    fn names(&self) -> Vec<String> {
        self.0.metrics.keys().cloned().collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("METRIC"),
            Column::new("VALUES"),
            Column::new("MEAN"),
            Column::new("MISSING"),
            Column::new("DETECTABLE"),
            Column::new("DISCORDANCE"),
        ];
        let mut table = Table::new(columns, "No column is a metric.");
        for (name, column) in &self.0.metrics {
            let discordance = self.0.pair.as_ref().and_then(|pair| pair.discordance.get(name));
            let kind = if column.binary { "0/1" } else { "numbers" };
            let derived = if column.derived { ", from predictions" } else { "" };
            table.row([
                Cell::new(name),
                Cell::new(format!("{kind}{derived}")),
                Cell::new(column.mean.map(number).unwrap_or_default()),
                Cell::new(column.missing),
                Cell::new(column.detectable.map(|d| format!("±{}", number(d))).unwrap_or_default()),
                Cell::new(discordance.map(|d| number(*d)).unwrap_or_default()),
            ]);
        }
        table
    }

    fn text(&self, look: &Look) -> Option<String> {
        let d = &self.0;
        let slices: Vec<String> =
            d.slices.iter().map(|(name, count)| format!("{name} ({count} values)")).collect();
        let ignored: Vec<String> =
            d.ignored.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        let pair = d.pair.as_ref().map(|pair| match pair.same_set {
            true => "the same examples".to_owned(),
            false => format!(
                "other examples: only here {}; only there {}",
                pair.only_here.join(", "),
                pair.only_there.join(", ")
            ),
        });
        let head = fields(&[
            (
                "examples",
                format!("{} ({} rows, {} without an answer)", d.examples, d.rows, d.error_rows),
            ),
            ("id", d.id_column.clone()),
            ("slices", slices.join(", ")),
            ("ignored", ignored.join(", ")),
            ("against", pair.unwrap_or_default()),
            ("set", d.set_digest.chars().take(12).collect()),
        ]);
        let notes: String = d.notes.iter().map(|note| format!("\n{}", plain(note))).collect();
        Some(format!("{head}\n{}{notes}\n", self.table(look).render(look)))
    }
}
