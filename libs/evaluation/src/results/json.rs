//! JSON lines, and the table that MLflow writes.

use serde_json::{Map, Value};

use super::cell::{Cell, Kind};
use super::error::ResultsError;
use super::raw::RawTable;

/// Reads a file of one JSON object per line; blank lines are skipped.
pub(crate) fn read_lines(file: &str, bytes: &[u8]) -> Result<RawTable, ResultsError> {
    let mut table = RawTable::new(file);
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let syntax =
            |problem: String| ResultsError::Syntax { file: file.to_owned(), line: number, problem };
        let line = std::str::from_utf8(line).map_err(|_| syntax("not UTF-8".to_owned()))?;
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() {
            continue;
        }
        let value = parse_value(line).map_err(|error| syntax(format!("not JSON: {error}")))?;
        let Value::Object(object) = value else {
            return Err(syntax("not an object; write one {\"id\": …} per line".to_owned()));
        };
        table.push_row(cells(object))?;
    }
    table.finish()
}

/// Reads `{"columns": […], "data": [[…], …]}`; None when it is not one.
pub(crate) fn read_split(
    file: &str,
    object: &Map<String, Value>,
) -> Option<Result<RawTable, ResultsError>> {
    let columns = object.get("columns")?.as_array()?;
    let data = object.get("data")?.as_array()?;
    let names: Vec<String> = columns.iter().map(|name| cell(name).text.into_string()).collect();
    Some(split_rows(file, &names, data))
}

fn split_rows(file: &str, names: &[String], data: &[Value]) -> Result<RawTable, ResultsError> {
    let mut table = RawTable::new(file);
    for (index, row) in data.iter().enumerate() {
        let row = row.as_array().filter(|row| row.len() == names.len());
        let Some(row) = row else {
            let problem = format!("row {} of `data` has not {} cells", index + 1, names.len());
            return Err(ResultsError::Syntax { file: file.to_owned(), line: 1, problem });
        };
        table.push_row(names.iter().cloned().zip(row.iter().map(cell)))?;
    }
    table.finish()
}

fn cells(object: Map<String, Value>) -> impl Iterator<Item = (String, Cell)> {
    object.into_iter().map(|(name, value)| {
        let cell = cell(&value);
        (name, cell)
    })
}

pub(crate) fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::null(),
        Value::Bool(value) => Cell::new(Kind::Bool, if *value { "true" } else { "false" }),
        Value::Number(number) => Cell::new(Kind::Number, &number.to_string()),
        Value::String(text) => Cell::new(Kind::Text, text),
        Value::Array(_) | Value::Object(_) => Cell::new(Kind::Nested, "…"),
    }
}

/// Parses JSON as Python writes it: NaN and infinities are words there, and a number may lie beyond
/// the range of a double.
pub(crate) fn parse_value(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
        .or_else(|error| serde_json::from_str(&without_extremes(text)).map_err(|_| error))
}

/// Puts what JSON cannot hold into quotes; strings are left as they are.
fn without_extremes(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => end_of_string(rest),
            '-' | '0'..='9' | 'N' | 'I' => rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')))
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(end);
        match token {
            "NaN" | "Infinity" | "-Infinity" => out.push_str(&format!("\"{token}\"")),
            _ if first != '"' && token.parse().is_ok_and(f64::is_infinite) => {
                out.push_str(if first == '-' { "\"-Infinity\"" } else { "\"Infinity\"" });
            }
            _ => out.push_str(token),
        }
        rest = after;
    }
    out
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_python_extremes_are_read() {
        let line = r#"{"id":"NaN \"x","a":NaN,"b":-Infinity,"c":1e309,"d":-1e999,"e":[NaN]}"#;
        let table = read_lines("r.jsonl", line.as_bytes()).expect("jsonl");
        let number = |name: &str| table.columns[name][0].number().expect("a number");
        assert_eq!(&*table.columns["id"][0].text, "NaN \"x");
        assert!(number("a").is_nan());
        assert_eq!(number("b"), f64::NEG_INFINITY);
        assert_eq!(number("c"), f64::INFINITY);
        assert_eq!(number("d"), f64::NEG_INFINITY);
    }

    #[test]
    fn columns_may_come_and_go() {
        let text = "{\"id\":1}\n\n{\"id\":2,\"x\":3}\r\n{\"id\":3}";
        let table = read_lines("r.jsonl", text.as_bytes()).expect("jsonl");
        let kinds: Vec<Kind> = table.columns["x"].iter().map(|cell| cell.kind).collect();
        assert_eq!(kinds, [Kind::Null, Kind::Number, Kind::Null]);
    }

    #[test]
    fn refusals_name_the_line() {
        let message =
            |text: &str| read_lines("r.jsonl", text.as_bytes()).expect_err("refused").to_string();
        assert!(message("{\"id\":1}\n{\"id\":").starts_with("r.jsonl, line 2: not JSON"));
        assert!(message("[1]").contains("line 1: not an object"));
        let deep = "[".repeat(100_000);
        assert!(message(&deep).contains("not JSON"));
        let name = format!("{{\"{}\":1}}", "k".repeat(10_000_000));
        assert!(message(&name).contains("a column name of 10000000 bytes"));
    }
}
