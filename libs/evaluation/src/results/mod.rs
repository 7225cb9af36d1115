//! What a results file means: one row per example, found by its id.

mod aggregate;
mod cell;
mod columns;
mod csv;
mod derive;
mod describe;
mod error;
mod files;
mod flat;
mod grouping;
mod json;
mod lm_eval;
mod options;
mod raw;
mod table;

pub use describe::{ColumnDescription, Description, PairDescription};
pub use error::ResultsError;
pub(crate) use error::first_five;
pub use files::{Results, parse};
pub use flat::FlatMetrics;
pub use options::{ErrorRows, Missing, OptionError, ResultsOptions};
pub use table::{Metric, Origin, Table, TableNotes};
