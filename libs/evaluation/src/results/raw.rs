//! Rows and columns as they stood in a file.

use std::collections::BTreeMap;

use super::cell::Cell;
use super::error::{ResultsError, shorten};

/// The longest column name taken.
const NAME_BYTES_MAX: usize = 256;
/// Columns of one file; a probability for each of a few thousand classes fits.
const COLUMNS_MAX: usize = 4_096;
/// Cells of one file, those included that a row lacks: some 1.5 GiB of memory.
const CELLS_MAX: usize = 64 << 20;

/// The cells of one file, by column; every column has a cell for each row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawTable {
    pub(crate) file: String,
    pub(crate) rows: usize,
    pub(crate) columns: BTreeMap<String, Vec<Cell>>,
}

impl RawTable {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), rows: 0, columns: BTreeMap::new() }
    }

    /// Adds a row; columns that it lacks get a null, as do earlier rows in columns that are new.
    pub(crate) fn push_row(
        &mut self,
        cells: impl IntoIterator<Item = (String, Cell)>,
    ) -> Result<(), ResultsError> {
        for (name, cell) in cells {
            match self.columns.get_mut(&name) {
                Some(column) => {
                    column.resize(self.rows, Cell::null());
                    column.push(cell);
                }
                None => {
                    check_name(&self.file, &name)?;
                    if self.columns.len() == COLUMNS_MAX {
                        return Err(self.too_large());
                    }
                    let mut column = vec![Cell::null(); self.rows];
                    column.push(cell);
                    self.columns.insert(name, column);
                }
            }
        }
        self.rows += 1;
        match self.rows.saturating_mul(self.columns.len()) > CELLS_MAX {
            true => Err(self.too_large()),
            false => Ok(()),
        }
    }

    fn too_large(&self) -> ResultsError {
        ResultsError::TooLarge {
            file: self.file.clone(),
            row: self.rows,
            columns: self.columns.len(),
            columns_max: COLUMNS_MAX,
            cells_max: CELLS_MAX,
        }
    }

    /// Fills what the last rows left short.
    pub(crate) fn finish(mut self) -> Result<Self, ResultsError> {
        if self.rows == 0 {
            return Err(ResultsError::Empty { file: self.file });
        }
        for column in self.columns.values_mut() {
            column.resize(self.rows, Cell::null());
        }
        Ok(self)
    }

    /// The names of the columns, for a message.
    pub(crate) fn column_names(&self) -> String {
        const SHOWN_MAX: usize = 20;
        let mut names: Vec<String> =
            self.columns.keys().take(SHOWN_MAX).map(|name| shorten(name)).collect();
        if self.columns.len() > SHOWN_MAX {
            names.push("…".to_owned());
        }
        names.join(", ")
    }
}

/// Refuses a column name beyond its limit.
pub(crate) fn check_name(file: &str, name: &str) -> Result<(), ResultsError> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(ResultsError::TooLong {
        file: file.to_owned(),
        what: "a column name",
        bytes: name.len(),
        start: shorten(name),
        limit: NAME_BYTES_MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_each_bring_a_column_of_their_own_are_refused_before_they_fill_the_memory() {
        let mut table = RawTable::new("rows.jsonl");
        let refused = (0..10_000)
            .find_map(|row| table.push_row([(format!("k{row}"), Cell::null())]).err())
            .expect("it is refused")
            .to_string();
        assert!(refused.starts_with("rows.jsonl, row 4096: 4096 columns"), "{refused}");
        assert!(table.columns.len() <= COLUMNS_MAX);
    }
}
