//! Which column is what.

use std::collections::BTreeMap;

use super::cell::{Cell, Kind};
use super::error::ResultsError;
use super::options::ResultsOptions;
use super::raw::RawTable;

const IDS: [&str; 4] = ["example_id", "id", "doc_id", "sample_id"];
const TRUTHS: [&str; 3] = ["y_true", "target", "label"];
const PREDICTIONS: [&str; 2] = ["y_pred", "prediction"];
const CLASS_PREFIX: &str = "proba_";

/// The columns of a table by what they mean.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    pub(crate) id: String,
    pub(crate) truth: Option<String>,
    pub(crate) prediction: Option<String>,
    pub(crate) score: Option<String>,
    /// Class and column.
    pub(crate) probabilities: Vec<(String, String)>,
    pub(crate) target_hash: Option<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) sample: Option<String>,
    pub(crate) seed: Option<String>,
    pub(crate) weight: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) metrics: Vec<String>,
    pub(crate) texts: Vec<String>,
    /// Column and reason.
    pub(crate) ignored: BTreeMap<String, String>,
}

/// The id column of one file.
pub(crate) fn id_column(raw: &RawTable, options: &ResultsOptions) -> Result<String, ResultsError> {
    if let Some(id) = &options.id {
        if raw.columns.contains_key(id) {
            return Ok(id.clone());
        }
        return Err(ResultsError::IdNotThere {
            file: raw.file.clone(),
            id: id.clone(),
            columns: raw.column_names(),
        });
    }
    IDS.iter()
        .find(|id| raw.columns.contains_key(**id))
        .map(|id| (*id).to_owned())
        .ok_or_else(|| ResultsError::NoId { file: raw.file.clone(), columns: raw.column_names() })
}

impl Roles {
    pub(crate) fn of(id: &str, columns: &BTreeMap<String, Vec<Cell>>) -> Self {
        let first = |names: &[&str]| {
            names.iter().find(|name| columns.contains_key(**name)).map(|name| (*name).to_owned())
        };
        let mut roles = Self {
            id: id.to_owned(),
            truth: first(&TRUTHS),
            prediction: first(&PREDICTIONS),
            score: first(&["y_score"]),
            target_hash: first(&["target_hash"]),
            cluster: first(&["cluster_id"]),
            sample: first(&["sample"]),
            seed: first(&["seed"]),
            weight: first(&["weight"]),
            error: first(&["error"]),
            ..Self::default()
        };
        for (name, cells) in columns {
            if !roles.is_taken(name) {
                roles.place(name, cells);
            }
        }
        roles
    }

    fn is_taken(&self, name: &str) -> bool {
        let named = [
            &self.truth,
            &self.prediction,
            &self.score,
            &self.target_hash,
            &self.cluster,
            &self.sample,
            &self.seed,
            &self.weight,
            &self.error,
        ];
        self.id == name || named.into_iter().flatten().any(|taken| taken == name)
    }

    fn place(&mut self, name: &str, cells: &[Cell]) {
        let numeric = cells.iter().all(|cell| cell.number().is_some());
        if cells.iter().any(|cell| cell.kind == Kind::Nested) {
            self.ignored.insert(name.to_owned(), "holds lists or objects".to_owned());
        } else if let Some(class) = name.strip_prefix(CLASS_PREFIX).filter(|_| numeric) {
            self.probabilities.push((class.to_owned(), name.to_owned()));
        } else if cells.iter().all(Cell::is_blank) {
            self.ignored.insert(name.to_owned(), "empty".to_owned());
        } else if numeric {
            self.metrics.push(name.to_owned());
        } else {
            self.texts.push(name.to_owned());
        }
    }
}
