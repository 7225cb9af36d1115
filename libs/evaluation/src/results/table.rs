//! One row per example, sorted by id.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::Digest;

use super::options::{ErrorRows, Missing};

/// Results as a gate reads them. All columns are as long as [`Table::ids`], and in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub(crate) ids: Vec<String>,
    pub(crate) metrics: BTreeMap<String, Metric>,
    pub(crate) slices: BTreeMap<String, Vec<String>>,
    pub(crate) targets: Option<Vec<String>>,
    pub(crate) clusters: Option<Vec<String>>,
    pub(crate) weights: Option<Vec<f64>>,
    /// Examples with at least one row without an answer.
    pub(crate) errors: Vec<bool>,
    /// Examples of which `error-rows: drop` left nothing.
    pub(crate) dropped: Vec<bool>,
    pub(crate) error_rows: ErrorRows,
    pub(crate) missing: Missing,
    pub(crate) notes: TableNotes,
}

/// A number per example.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The values; NaN where one is missing.
    pub values: Vec<f64>,
    /// Whether all that are there are 0 or 1.
    pub binary: bool,
    /// Where they come from.
    pub origin: Origin,
}

/// Where a metric comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A column of the file.
    Column,
    /// Computed from predictions.
    Predictions,
}

/// What was seen while reading, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableNotes {
    /// The name of the id column.
    pub id_column: String,
    /// Rows read.
    pub rows: usize,
    /// Rows without an answer.
    pub error_rows: usize,
    /// The most rows of one example (samples × seeds); their mean is its value.
    pub rows_per_example_max: usize,
    /// The different values of `seed`.
    pub seeds: BTreeSet<String>,
    /// Columns that are not used, with the reason.
    pub ignored: BTreeMap<String, String>,
}

impl Table {
    /// The examples, sorted.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none; parsing never gives such a table.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// A metric by its name; `accuracy`, `mae` and `mse` are other names of what predictions give,
    /// unless a column bears them.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.get(name).or_else(|| {
            let of_examples = match name {
                "accuracy" => "correct",
                "mae" => "absolute_error",
                "mse" => "squared_error",
                _ => return None,
            };
            self.metrics.get(of_examples)
        })
    }

    /// All metrics by name.
    pub fn metrics(&self) -> &BTreeMap<String, Metric> {
        &self.metrics
    }

    /// The text columns by name.
    pub fn slices(&self) -> &BTreeMap<String, Vec<String>> {
        &self.slices
    }

    /// What the reader noticed.
    pub fn notes(&self) -> &TableNotes {
        &self.notes
    }

    /// The digest of the test that was taken: sorted ids and the hashes of their targets. Two
    /// results are of the same examples when it is equal.
    pub fn set_digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"runyard evaluation set 1\n");
        for (index, id) in self.ids.iter().enumerate() {
            feed(&mut hasher, id.as_bytes());
            match &self.targets {
                None => feed(&mut hasher, b""),
                Some(targets) => {
                    feed(&mut hasher, blake3::hash(targets[index].as_bytes()).as_bytes());
                }
            }
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The digest of everything a decision can depend on, values by their bits.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"runyard results 1\n");
        hasher.update(self.set_digest().as_bytes());
        let texts = self.clusters.iter().map(|column| ("cluster_id", column));
        let slices = self.slices.iter().map(|(name, column)| (name.as_str(), column));
        for (name, column) in texts.chain(slices) {
            feed(&mut hasher, name.as_bytes());
            column.iter().for_each(|text| feed(&mut hasher, text.as_bytes()));
        }
        let weights = self.weights.iter().map(|column| ("weight", column));
        let metrics = self.metrics.iter().map(|(name, metric)| (name.as_str(), &metric.values));
        for (name, column) in weights.chain(metrics) {
            feed(&mut hasher, name.as_bytes());
            for value in column {
                // NaNs differ in bits that mean nothing.
                let value = if value.is_nan() { f64::NAN } else { *value };
                hasher.update(&value.to_bits().to_le_bytes());
            }
        }
        for flags in [&self.errors, &self.dropped] {
            flags.iter().for_each(|flag| {
                hasher.update(&[u8::from(*flag)]);
            });
        }
        feed(&mut hasher, format!("{:?} {:?}", self.error_rows, self.missing).as_bytes());
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }
}

/// Length first, so that no two sequences of texts feed the same bytes.
fn feed(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
