//! What a results file was understood as, before any GPU-hour is spent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::error::first_five;
use super::grouping::looks_grouped;
use super::table::{Origin, Table};
use crate::stats::{MeanSummary, mcnemar_examples, mcnemar_mde, mean_mde};

/// The discordance assumed while no second model is there to measure it.
const ASSUMED_DISCORDANCE: f64 = 0.10;
/// The two-sided level and the power of all planning figures.
pub(crate) const LEVEL: f64 = 0.05;
pub(crate) const POWER: f64 = 0.80;

/// What a results file was understood as; behind `results check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Examples.
    pub examples: usize,
    /// Rows.
    pub rows: usize,
    /// Rows without an answer.
    pub error_rows: usize,
    /// The column that names the example.
    pub id_column: String,
    /// The digest of ids and targets.
    pub set_digest: String,
    /// Metrics by name.
    pub metrics: BTreeMap<String, ColumnDescription>,
    /// Text columns and how many values each has.
    pub slices: BTreeMap<String, usize>,
    /// Columns that are not used, with the reason.
    pub ignored: BTreeMap<String, String>,
    /// How it compares with a second file, when one was given.
    pub pair: Option<PairDescription>,
    /// What one should know or do, in words.
    pub notes: Vec<String>,
}

/// A metric of a results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnDescription {
    /// Whether its values are 0 or 1.
    pub binary: bool,
    /// Whether it was computed from predictions.
    pub derived: bool,
    /// Examples without a finite value.
    pub missing: usize,
    /// The mean of the others.
    pub mean: Option<f64>,
    /// The smallest difference to another model that these examples can show, at the two-sided 5 %
    /// level with power 80 %: for 0/1 values by McNemar's test, with the measured discordance or an
    /// assumed one of 10 %; for numbers only when a second file was given.
    pub detectable: Option<f64>,
}

/// How two results files compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairDescription {
    /// Whether they are of the same examples with the same targets.
    pub same_set: bool,
    /// Up to five ids of the first file alone.
    pub only_here: Vec<String>,
    /// Up to five ids of the second file alone.
    pub only_there: Vec<String>,
    /// The share of examples on which exactly one of the two is right, by 0/1 metric.
    pub discordance: BTreeMap<String, f64>,
}

impl Table {
    /// Describes the table, alone or beside the results of a second model.
    pub fn describe(&self, other: Option<&Table>) -> Description {
        let pair = other.map(|other| self.pair(other));
        let metrics = self
            .metrics()
            .keys()
            .map(|name| (name.clone(), self.describe_metric(name, other, pair.as_ref())))
            .collect();
        Description {
            examples: self.len(),
            rows: self.notes.rows,
            error_rows: self.notes.error_rows,
            id_column: self.notes.id_column.clone(),
            set_digest: self.set_digest().to_string(),
            metrics,
            slices: self
                .slices
                .iter()
                .map(|(name, values)| (name.clone(), values.iter().collect::<BTreeSet<_>>().len()))
                .collect(),
            ignored: self.notes.ignored.clone(),
            notes: self.advice(pair.as_ref()),
            pair,
        }
    }

    fn describe_metric(
        &self,
        name: &str,
        other: Option<&Table>,
        pair: Option<&PairDescription>,
    ) -> ColumnDescription {
        let metric = &self.metrics[name];
        let finite: Vec<f64> = metric.values.iter().copied().filter(|v| v.is_finite()).collect();
        let detectable = if metric.binary {
            let measured = pair.and_then(|pair| pair.discordance.get(name).copied());
            let discordance = measured.unwrap_or(ASSUMED_DISCORDANCE);
            mcnemar_mde(finite.len() as u64, discordance, LEVEL, POWER)
        } else {
            other
                .filter(|other| other.ids == self.ids)
                .and_then(|other| other.metrics.get(name))
                .and_then(|other| {
                    let differences: Vec<f64> =
                        metric.values.iter().zip(&other.values).map(|(a, b)| a - b).collect();
                    let summary = MeanSummary::of(&differences)?;
                    let usable = summary.n >= 2 && summary.sd.is_finite();
                    usable.then(|| mean_mde(summary.se(), summary.n as f64 - 1.0, LEVEL, POWER))
                })
        };
        ColumnDescription {
            binary: metric.binary,
            derived: metric.origin == Origin::Predictions,
            missing: metric.values.len() - finite.len(),
            mean: MeanSummary::of(&finite).map(|summary| summary.mean),
            detectable,
        }
    }

    fn pair(&self, other: &Table) -> PairDescription {
        let alone = |a: &Table, b: &Table| -> Vec<String> {
            a.ids.iter().filter(|id| b.ids.binary_search(id).is_err()).take(5).cloned().collect()
        };
        let mut discordance = BTreeMap::new();
        if self.ids == other.ids {
            for (name, metric) in self.metrics.iter().filter(|(_, metric)| metric.binary) {
                if let Some(theirs) = other.metrics.get(name).filter(|theirs| theirs.binary) {
                    let pairs = metric.values.iter().zip(&theirs.values);
                    let differing = pairs.filter(|(a, b)| a != b).count();
                    discordance.insert(name.clone(), differing as f64 / self.len() as f64);
                }
            }
        }
        PairDescription {
            same_set: self.set_digest() == other.set_digest(),
            only_here: alone(self, other),
            only_there: alone(other, self),
            discordance,
        }
    }

    fn advice(&self, pair: Option<&PairDescription>) -> Vec<String> {
        let mut notes = Vec::new();
        if self.metrics.is_empty() {
            notes.push(
                "no metric: add a numeric or boolean column, or y_true and y_pred".to_owned(),
            );
        }
        if self.len() < 2 {
            notes.push("an evaluation set of one example cannot be tested".to_owned());
        }
        if let Some(groups) = looks_grouped(&self.ids).filter(|_| self.clusters.is_none()) {
            notes.push(format!(
                "the ids look like parts of {groups} groups; if examples of a group belong \
                 together, say so in a cluster_id column, or intervals come out too narrow"
            ));
        }
        if self.targets.is_none() {
            notes.push(
                "no y_true, target, label or target_hash: that two models were judged on the same \
                 answers is checked by ids alone"
                    .to_owned(),
            );
        }
        if self.notes.seeds.len() > 1 {
            notes.push(format!(
                "{} seeds: their mean is judged, and the interval covers the choice of examples, \
                 not of seeds",
                self.notes.seeds.len()
            ));
        }
        if let Some(pair) = pair.filter(|pair| !pair.same_set) {
            notes.push(if pair.only_here.is_empty() && pair.only_there.is_empty() {
                "the two files have the same ids but different targets".to_owned()
            } else {
                format!(
                    "the two files are not of the same examples; only here: {}; only there: {}",
                    list(&pair.only_here),
                    list(&pair.only_there)
                )
            });
        }
        notes
    }
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { first_five(ids) }
}

impl Description {
    /// Several lines for a terminal.
    pub fn render_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{} examples by `{}`, {} rows, {} without an answer",
            self.examples, self.id_column, self.rows, self.error_rows
        );
        for (name, metric) in &self.metrics {
            let kind = if metric.binary { "0/1" } else { "number" };
            let derived = if metric.derived { ", from predictions" } else { "" };
            let mean = metric.mean.map_or_else(|| "none".to_owned(), |mean| format!("{mean:.4}"));
            let _ = write!(out, "  {name}  {kind}{derived}, mean {mean}");
            if metric.missing > 0 {
                let _ = write!(out, ", {} missing", metric.missing);
            }
            let _ = writeln!(out);
            self.detectable_lines(&mut out, name, metric);
        }
        for (name, values) in &self.slices {
            let _ = writeln!(out, "  {name}  slice with {values} values");
        }
        for (name, reason) in &self.ignored {
            let _ = writeln!(out, "  {name}  not used: {reason}");
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        crate::gate::printable(&out)
    }

    fn detectable_lines(&self, out: &mut String, name: &str, metric: &ColumnDescription) {
        let Some(detectable) = metric.detectable else {
            return;
        };
        if !metric.binary {
            let _ = writeln!(out, "    smallest detectable difference: {detectable:.4}");
            return;
        }
        let measured = self.pair.as_ref().and_then(|pair| pair.discordance.get(name).copied());
        let discordance = measured.unwrap_or(ASSUMED_DISCORDANCE);
        let how = if measured.is_some() { "measured" } else { "assumed" };
        let _ = writeln!(
            out,
            "    {} examples cannot show a drop under {:.1} points ({how} discordance {:.1} %, \
             level 5 %, power 80 %)",
            self.examples,
            detectable * 100.0,
            discordance * 100.0
        );
        if let Some(needed) = mcnemar_examples(0.01, discordance, LEVEL, POWER) {
            let _ = writeln!(out, "    a margin of 1 point needs about {needed} examples");
        }
    }
}
