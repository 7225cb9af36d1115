//! Why results are refused.

/// Results that cannot be understood. Each message names the file, the place and the remedy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ResultsError {
    /// No file was given.
    #[error(
        "no results: the stage wrote no file that matches `results:`, nor any to $RUNYARD_RESULTS"
    )]
    NoFile,
    /// A file of another kind.
    #[error("{file}: results are csv or jsonl, one row per example{hint}")]
    Kind {
        /// The file.
        file: String,
        /// What to do about it, or nothing.
        hint: &'static str,
    },
    /// A file that is not what its name says.
    #[error("{file}, line {line}: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A file without any row.
    #[error("{file}: no rows")]
    Empty {
        /// The file, or all of them.
        file: String,
    },
    /// No column names the example.
    #[error(
        "{file}: no column names the example. Write one called example_id (or id, doc_id, \
         sample_id), or say which it is: `results: {{ files: …, id: COLUMN }}`. The order of rows \
         is never used. Columns: {columns}"
    )]
    NoId {
        /// The file.
        file: String,
        /// The columns that there are.
        columns: String,
    },
    /// The named id column is not there.
    #[error("{file}: the id column `{id}` is not there. Columns: {columns}")]
    IdNotThere {
        /// The file.
        file: String,
        /// The column that `id:` names.
        id: String,
        /// The columns that there are.
        columns: String,
    },
    /// A row whose id is empty.
    #[error("{file}, row {row}: `{column}` is empty; every row needs the id of its example")]
    BlankId {
        /// The file.
        file: String,
        /// The row, from 1, the header not counted.
        row: usize,
        /// The id column.
        column: String,
    },
    /// Rows that say the same thing twice.
    #[error(
        "{count} examples have more than one row ({ids}). One row per example, or a `sample` or \
         `seed` column that tells the rows of one example apart"
    )]
    Duplicates {
        /// How many ids are affected.
        count: usize,
        /// The first of them.
        ids: String,
    },
    /// Rows without an answer, under `error-rows: fail`.
    #[error("{count} rows have no answer ({ids}), and `error-rows: fail` refuses them")]
    ErrorRows {
        /// How many ids are affected.
        count: usize,
        /// The first of them.
        ids: String,
    },
    /// Rows of one example that disagree about what is a property of the example.
    #[error("example {id} has two values of `{column}`: `{first}` and `{second}`")]
    Disagreement {
        /// The example.
        id: String,
        /// The column.
        column: String,
        /// One value.
        first: String,
        /// The other.
        second: String,
    },
    /// Two outputs of the same lm-evaluation-harness task.
    #[error(
        "{first} and {second} are two results of task {task}; remove the older one, or write each \
         run to a folder of its own"
    )]
    TwoTimes {
        /// The task.
        task: String,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A weight that is not one.
    #[error("example {id}: weight {weight} is not a positive number")]
    Weight {
        /// The example.
        id: String,
        /// Its weight.
        weight: f64,
    },
    /// A name or id beyond its limit.
    #[error("{file}: {what} of {bytes} bytes (`{start}…`); at most {limit} are taken")]
    TooLong {
        /// The file.
        file: String,
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// How it begins.
        start: String,
        /// The limit.
        limit: usize,
    },
    /// More columns, or rows times columns, than are taken.
    #[error(
        "{file}, row {row}: {columns} columns, too many for so many rows; at most {columns_max} columns \
         and {cells_max} cells are taken. Write one row per example with the same few columns"
    )]
    TooLarge {
        /// The file.
        file: String,
        /// The row, from 0.
        row: usize,
        /// Columns so far.
        columns: usize,
        /// The most columns.
        columns_max: usize,
        /// The most cells, empty ones included.
        cells_max: usize,
    },
    /// A column that stands twice in a header.
    #[error("{file}: the column `{column}` stands twice in the header")]
    ColumnTwice {
        /// The file.
        file: String,
        /// The column.
        column: String,
    },
}

/// Up to five of `ids`, for a message.
pub(crate) fn first_five<S: AsRef<str>>(ids: impl IntoIterator<Item = S>) -> String {
    let mut ids = ids.into_iter();
    let shown: Vec<String> = ids.by_ref().take(5).map(|id| shorten(id.as_ref())).collect();
    let more = if ids.next().is_some() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// `text`, cut to what a message can bear.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
