//! The values that a condition is judged by.

use std::collections::BTreeMap;

use super::join::five;
use super::spec::{CheckSpec, Goal};
use crate::results::{ErrorRows, Metric, Missing, Origin, Table};
use crate::stats::PairedCounts;

/// The examples of one question, in the order of their ids.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) candidate: Vec<f64>,
    pub(crate) other: Option<Vec<f64>>,
    /// A group number per example and the number of groups, where any group has two examples.
    pub(crate) clusters: Option<(Vec<usize>, usize)>,
    pub(crate) weights: Option<Vec<f64>>,
    pub(crate) binary: bool,
    pub(crate) left_out: usize,
}

/// A slice of the examples: a text column and its value.
pub(crate) type Slice<'a> = Option<(&'a [String], &'a str)>;

impl Sample {
    /// Takes the examples of `slice` that can be judged, or says why none can.
    pub(crate) fn of(
        check: &CheckSpec,
        candidate: &Table,
        other: Option<&Table>,
        slice: Slice<'_>,
    ) -> Result<Self, String> {
        let ours = metric(candidate, &check.metric, "the candidate's")?;
        let theirs =
            other.map(|table| metric(table, &check.metric, "the champion's")).transpose()?;
        let rows: Vec<usize> = (0..candidate.len())
            .filter(|row| slice.is_none_or(|(column, value)| column[*row] == value))
            .collect();
        refuse_praise(check, candidate, ours, &rows)?;
        if let (Some(table), Some(metric)) = (other, theirs) {
            refuse_praise(check, table, metric, &rows)?;
        }
        let is_dropped =
            |row: usize| candidate.dropped[row] || other.is_some_and(|table| table.dropped[row]);
        let answered: Vec<usize> = rows.iter().copied().filter(|row| !is_dropped(*row)).collect();
        let values = |row: usize| {
            [Some(ours.values[row]), theirs.map(|metric| metric.values[row])].into_iter().flatten()
        };
        let any = |row: usize, test: fn(f64) -> bool| values(row).any(test);

        let infinite: Vec<&String> = named(candidate, &answered, |row| any(row, f64::is_infinite));
        if !infinite.is_empty() {
            return Err(format!(
                "`{}` is infinite for {} examples: {}",
                check.metric,
                infinite.len(),
                five(&infinite)
            ));
        }
        let missing: Vec<&String> = named(candidate, &answered, |row| any(row, f64::is_nan));
        refuse_missing(check, candidate.missing, &missing, answered.len())?;
        let kept: Vec<usize> = answered.into_iter().filter(|row| !any(*row, f64::is_nan)).collect();
        refuse_few(kept.len())?;

        let pick = |column: &[f64]| kept.iter().map(|row| column[*row]).collect::<Vec<f64>>();
        Ok(Self {
            candidate: pick(&ours.values),
            other: theirs.map(|metric| pick(&metric.values)),
            clusters: candidate.clusters.as_ref().and_then(|column| number(column, &kept)),
            weights: candidate.weights.as_ref().map(|column| pick(column)),
            binary: ours.binary && theirs.is_none_or(|metric| metric.binary),
            left_out: rows.len() - kept.len(),
        })
    }

    /// The number of examples.
    pub(crate) fn n(&self) -> usize {
        self.candidate.len()
    }

    /// The values, or for a pair the candidate's minus the other's.
    pub(crate) fn judged(&self) -> Vec<f64> {
        match &self.other {
            None => self.candidate.clone(),
            Some(other) => self.candidate.iter().zip(other).map(|(a, b)| a - b).collect(),
        }
    }

    /// The 2×2 table of a pair of 0/1 values.
    pub(crate) fn counts(&self) -> Option<PairedCounts> {
        let other = self.other.as_ref().filter(|_| self.binary)?;
        let pairs = self.candidate.iter().zip(other);
        Some(PairedCounts::of(pairs.map(|(a, b)| (*a == 1.0, *b == 1.0))))
    }
}

fn metric<'a>(table: &'a Table, name: &str, whose: &str) -> Result<&'a Metric, String> {
    table.metric(name).ok_or_else(|| {
        let known: Vec<&str> = table.metrics().keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!("{whose} results have no metric `{name}`; they have {known}")
    })
}

/// Where less is better, the 0 of a row without an answer would be the best value of all.
fn refuse_praise(
    check: &CheckSpec,
    table: &Table,
    metric: &Metric,
    rows: &[usize],
) -> Result<(), String> {
    if check.goal == Goal::Max
        || table.error_rows != ErrorRows::Zero
        || metric.origin == Origin::Predictions
    {
        return Ok(());
    }
    let ids = named(table, rows, |row| table.errors[row]);
    if ids.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} examples have no answer ({}), and 0 would be their best value, since less is better in \
         `{}`; set `error-rows: drop` or `fail`",
        ids.len(),
        five(&ids),
        check.metric
    ))
}

fn refuse_missing(
    check: &CheckSpec,
    policy: Missing,
    missing: &[&String],
    n: usize,
) -> Result<(), String> {
    let share = missing.len() as f64 / n.max(1) as f64;
    let allowed = match policy {
        Missing::Refuse => 0.0,
        Missing::DropUpTo(share) => share,
    };
    if missing.is_empty() || (policy != Missing::Refuse && share <= allowed) {
        return Ok(());
    }
    let remedy = match policy {
        Missing::Refuse => "; `missing: drop <= 1%` would leave out a few".to_owned(),
        Missing::DropUpTo(_) => format!(", over the {:.2} % allowed", allowed * 100.0),
    };
    Err(format!(
        "`{}` is NaN or missing for {} of {n} examples ({}){remedy}",
        check.metric,
        missing.len(),
        five(missing)
    ))
}

fn refuse_few(n: usize) -> Result<(), String> {
    match n {
        0 => Err("no example is left to judge".to_owned()),
        1 => Err("an evaluation set of one example has no spread to judge by".to_owned()),
        _ => Ok(()),
    }
}

fn named<'a>(table: &'a Table, rows: &[usize], test: impl Fn(usize) -> bool) -> Vec<&'a String> {
    rows.iter().filter(|row| test(**row)).map(|row| &table.ids[*row]).collect()
}

/// Numbers the groups; None when every example is its own.
fn number(column: &[String], rows: &[usize]) -> Option<(Vec<usize>, usize)> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups = Vec::with_capacity(rows.len());
    for row in rows {
        let next = numbers.len();
        groups.push(*numbers.entry(&column[*row]).or_insert(next));
    }
    let count = numbers.len();
    (count < rows.len()).then_some((groups, count))
}
