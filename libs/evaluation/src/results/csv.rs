//! Comma-separated files with a header.

use super::cell::{Cell, Kind};
use super::error::ResultsError;
use super::raw::{RawTable, check_name};

/// Reads a csv file. The nameless first column that pandas writes for its index is left out.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<RawTable, ResultsError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let syntax =
        |line: u64, problem: String| ResultsError::Syntax { file: file.to_owned(), line, problem };
    let mut reader = csv::ReaderBuilder::new().from_reader(bytes);
    let header = reader.headers().map_err(|error| explain(file, &error))?.clone();
    let names: Vec<&str> = header.iter().map(str::trim).collect();
    if names.len() == 1 && names[0].contains([';', '\t']) {
        return Err(syntax(1, "one column only; separate columns by commas".to_owned()));
    }
    let mut table = RawTable::new(file);
    for name in names.iter().filter(|name| !is_pandas_index(name)) {
        check_name(file, name)?;
        if table.columns.insert((*name).to_owned(), Vec::new()).is_some() {
            return Err(ResultsError::ColumnTwice {
                file: file.to_owned(),
                column: (*name).to_owned(),
            });
        }
    }
    for record in reader.records() {
        let record = record.map_err(|error| explain(file, &error))?;
        for (name, text) in names.iter().zip(&record) {
            if let Some(column) = table.columns.get_mut(*name) {
                column.push(Cell::new(Kind::Untyped, text));
            }
        }
        table.rows += 1;
    }
    table.finish()
}

fn is_pandas_index(name: &str) -> bool {
    name.is_empty() || name.starts_with("Unnamed: ")
}

fn explain(file: &str, error: &csv::Error) -> ResultsError {
    let line = error.position().map_or(1, csv::Position::line);
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells where the header names {expected_len} columns")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8; write the file with encoding='utf-8'".to_owned(),
        _ => error.to_string(),
    };
    ResultsError::Syntax { file: file.to_owned(), line, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pandas_writes_an_index_and_sometimes_a_mark() {
        let table = read("r.csv", b"\xef\xbb\xbf,id,correct\n0,a,True\n1,b,False\n").expect("csv");
        assert_eq!(table.columns.keys().collect::<Vec<_>>(), ["correct", "id"]);
        assert_eq!(table.rows, 2);
    }

    #[test]
    fn refusals_name_the_line() {
        let message = |bytes: &[u8]| read("r.csv", bytes).expect_err("refused").to_string();
        assert_eq!(
            message(b"id,x\na,1\nb\n"),
            "r.csv, line 3: 1 cells where the header names 2 columns"
        );
        assert!(message(b"id,x\na,\xff\n").contains("line 2: not UTF-8"));
        assert!(message(b"id;x\na;1\n").contains("separate columns by commas"));
        assert!(message(b"id,x,x\na,1,2\n").contains("`x` stands twice"));
        assert_eq!(message(b"id,x\n"), "r.csv: no rows");
        assert_eq!(message(b""), "r.csv: no rows");
    }
}
