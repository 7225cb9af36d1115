//! From rows to examples: the rows of one id become one, by the mean over samples and seeds.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::Cell;
use super::columns::{Roles, id_column};
use super::derive::derive;
use super::error::{ResultsError, first_five, shorten};
use super::options::{ErrorRows, ResultsOptions};
use super::raw::RawTable;
use super::table::{Metric, Origin, Table, TableNotes};

const ID_BYTES_MAX: usize = 1024;
/// A text column with more values than this, or longer ones, is prose and not a slice.
const SLICE_VALUES_MAX: usize = 1000;
const SLICE_BYTES_MAX: usize = 256;

/// Derived metrics of which less is better: 0 for a row without an answer would praise it.
const LOSSES: [&str; 4] = ["absolute_error", "squared_error", "brier", "log_loss"];

struct Rows {
    ids: Vec<String>,
    id_column: String,
    columns: BTreeMap<String, Vec<Cell>>,
}

impl Rows {
    fn column<'a>(&'a self, name: &'a Option<String>) -> Option<(&'a str, &'a [Cell])> {
        name.as_ref().map(|name| (name.as_str(), self.columns[name].as_slice()))
    }
}

/// The rows of each example.
type Groups<'a> = BTreeMap<&'a str, Vec<usize>>;

pub(crate) fn aggregate(
    tables: Vec<RawTable>,
    options: &ResultsOptions,
) -> Result<Table, ResultsError> {
    let rows = concatenate(tables, options)?;
    let roles = Roles::of(&rows.id_column, &rows.columns);
    let groups = group(&rows, &roles)?;
    let is_error: Vec<bool> = match rows.column(&roles.error) {
        None => vec![false; rows.ids.len()],
        Some((_, cells)) => cells.iter().map(Cell::marks_error).collect(),
    };
    let in_error = |all: bool| -> Vec<bool> {
        let flag = |members: &Vec<usize>| {
            if all {
                members.iter().all(|row| is_error[*row])
            } else {
                members.iter().any(|row| is_error[*row])
            }
        };
        groups.values().map(flag).collect()
    };
    let errors = in_error(false);
    let error_rows = is_error.iter().filter(|flag| **flag).count();
    if options.error_rows == ErrorRows::Fail && error_rows > 0 {
        let ids = groups.keys().zip(&errors).filter(|(_, error)| **error).map(|(id, _)| *id);
        return Err(ResultsError::ErrorRows { count: error_rows, ids: first_five(ids) });
    }
    let dropped = match options.error_rows {
        ErrorRows::Drop => in_error(true),
        ErrorRows::Zero | ErrorRows::Fail => vec![false; groups.len()],
    };

    let mut notes = TableNotes {
        id_column: rows.id_column.clone(),
        rows: rows.ids.len(),
        error_rows,
        rows_per_example_max: groups.values().map(Vec::len).max().unwrap_or(0),
        seeds: rows
            .column(&roles.seed)
            .map(|(_, cells)| cells.iter().filter_map(Cell::label).collect())
            .unwrap_or_default(),
        ignored: roles.ignored.clone(),
    };
    let mean = Mean { groups: &groups, is_error: &is_error, policy: options.error_rows };
    let mut metrics = BTreeMap::new();
    for (name, values) in derive(&roles, &rows.columns) {
        let loss = LOSSES.contains(&name);
        metrics.insert(name.to_owned(), mean.metric(&values, Origin::Predictions, loss));
    }
    for name in &roles.metrics {
        let cells = &rows.columns[name];
        let values: Vec<f64> = cells.iter().map(|c| c.number().unwrap_or(f64::NAN)).collect();
        metrics.insert(name.clone(), mean.metric(&values, Origin::Column, false));
    }
    // The hash, where there is one, stands for a target too large to compare.
    let target = rows.column(&roles.target_hash).or_else(|| rows.column(&roles.truth));
    let label = |cell: &Cell| cell.label().unwrap_or_default();
    Ok(Table {
        targets: target.map(|(name, cells)| constant(&groups, name, cells, label)).transpose()?,
        clusters: rows
            .column(&roles.cluster)
            .map(|(name, cells)| constant(&groups, name, cells, label))
            .transpose()?,
        weights: rows
            .column(&roles.weight)
            .map(|(name, cells)| weights(&groups, name, cells))
            .transpose()?
            .flatten(),
        slices: slices(&groups, &roles, &rows.columns, &mut notes),
        ids: groups.keys().map(|id| (*id).to_owned()).collect(),
        metrics,
        errors,
        dropped,
        error_rows: options.error_rows,
        missing: options.missing,
        notes,
    })
}

/// Puts the files below each other; each may name its id column in its own way.
fn concatenate(tables: Vec<RawTable>, options: &ResultsOptions) -> Result<Rows, ResultsError> {
    let mut all = Rows { ids: Vec::new(), id_column: String::new(), columns: BTreeMap::new() };
    for mut raw in tables {
        let id = id_column(&raw, options)?;
        let before = all.ids.len();
        for (row, cell) in raw.columns.remove(&id).unwrap_or_default().into_iter().enumerate() {
            let text = cell.text.trim();
            if text.is_empty() {
                return Err(ResultsError::BlankId { file: raw.file, row: row + 1, column: id });
            }
            if text.len() > ID_BYTES_MAX {
                return Err(ResultsError::TooLong {
                    file: raw.file,
                    what: "an id",
                    bytes: text.len(),
                    start: shorten(text),
                    limit: ID_BYTES_MAX,
                });
            }
            all.ids.push(text.to_owned());
        }
        for (name, cells) in raw.columns {
            let column = all.columns.entry(name).or_default();
            column.resize(before, Cell::null());
            column.extend(cells);
        }
        if all.id_column.is_empty() {
            all.id_column = id;
        }
    }
    for column in all.columns.values_mut() {
        column.resize(all.ids.len(), Cell::null());
    }
    Ok(all)
}

fn group<'a>(rows: &'a Rows, roles: &Roles) -> Result<Groups<'a>, ResultsError> {
    let part = |name: &Option<String>, row: usize| {
        name.as_ref().map_or("", |name| rows.columns[name][row].text.trim())
    };
    let mut groups: Groups<'_> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for (row, id) in rows.ids.iter().enumerate() {
        if !seen.insert((id.as_str(), part(&roles.sample, row), part(&roles.seed, row))) {
            twice.insert(id.as_str());
        }
        groups.entry(id).or_default().push(row);
    }
    if twice.is_empty() {
        return Ok(groups);
    }
    Err(ResultsError::Duplicates { count: twice.len(), ids: first_five(twice) })
}

struct Mean<'a> {
    groups: &'a Groups<'a>,
    is_error: &'a [bool],
    policy: ErrorRows,
}

impl Mean<'_> {
    fn metric(&self, values: &[f64], origin: Origin, loss: bool) -> Metric {
        let value = |row: usize| match (self.is_error[row], self.policy) {
            (false, _) => Some(values[row]),
            (true, ErrorRows::Drop) => None,
            (true, _) if loss => Some(f64::NAN),
            (true, _) => Some(0.0),
        };
        let of_example = |members: &Vec<usize>| {
            let (mut sum, mut count) = (0.0, 0_u32);
            for value in members.iter().filter_map(|row| value(*row)) {
                sum += value;
                count += 1;
            }
            if count == 0 { f64::NAN } else { sum / f64::from(count) }
        };
        let values: Vec<f64> = self.groups.values().map(of_example).collect();
        let binary = values.iter().all(|v| v.is_nan() || *v == 0.0 || *v == 1.0);
        Metric { values, binary, origin }
    }
}

/// A column that must be the same in all rows of an example.
fn constant(
    groups: &Groups<'_>,
    name: &str,
    cells: &[Cell],
    text: impl Fn(&Cell) -> String,
) -> Result<Vec<String>, ResultsError> {
    let mut out = Vec::with_capacity(groups.len());
    for (id, members) in groups {
        let first = text(&cells[members[0]]);
        for row in &members[1..] {
            let other = text(&cells[*row]);
            if other != first {
                return Err(ResultsError::Disagreement {
                    id: shorten(id),
                    column: name.to_owned(),
                    first: shorten(&first),
                    second: shorten(&other),
                });
            }
        }
        out.push(first);
    }
    Ok(out)
}

/// None when all weigh the same.
fn weights(
    groups: &Groups<'_>,
    name: &str,
    cells: &[Cell],
) -> Result<Option<Vec<f64>>, ResultsError> {
    constant(groups, name, cells, |cell| cell.text.trim().to_owned())?;
    let mut weights = Vec::with_capacity(groups.len());
    for (id, members) in groups {
        let weight = cells[members[0]].number().unwrap_or(f64::NAN);
        if !(weight.is_finite() && weight > 0.0) {
            return Err(ResultsError::Weight { id: shorten(id), weight });
        }
        weights.push(weight);
    }
    let equal = weights.iter().all(|weight| *weight == weights[0]);
    Ok((!equal).then_some(weights))
}

fn slices(
    groups: &Groups<'_>,
    roles: &Roles,
    columns: &BTreeMap<String, Vec<Cell>>,
    notes: &mut TableNotes,
) -> BTreeMap<String, Vec<String>> {
    let mut slices = BTreeMap::new();
    for name in &roles.texts {
        let text = |cell: &Cell| cell.text.trim().to_owned();
        let reason = match constant(groups, name, &columns[name], text) {
            Err(_) => "differs between the rows of an example",
            Ok(values) if values.iter().any(|value| value.len() > SLICE_BYTES_MAX) => "long text",
            Ok(values) => {
                let distinct: BTreeSet<&str> = values.iter().map(String::as_str).collect();
                if distinct.len() <= SLICE_VALUES_MAX {
                    slices.insert(name.clone(), values);
                    continue;
                }
                "over 1,000 different values"
            }
        };
        notes.ignored.insert(name.clone(), reason.to_owned());
    }
    slices
}
