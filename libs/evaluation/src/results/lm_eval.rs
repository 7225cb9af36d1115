//! The sample files of lm-evaluation-harness, as it writes them.

use std::collections::BTreeMap;

use super::cell::{Cell, Kind};
use super::error::ResultsError;
use super::raw::RawTable;

/// The column that holds the example's id after [`merge`].
pub(crate) const ID: &str = "example_id";

/// The task of `samples_<task>_<time>.jsonl`, whatever folder it lies in.
pub(crate) fn task(file: &str) -> Option<&str> {
    let name = file.rsplit('/').next()?;
    let stem = name.strip_prefix("samples_")?.strip_suffix(".jsonl")?;
    let (task, time) = stem.rsplit_once('_')?;
    let date: Vec<u8> = time.bytes().take(5).collect();
    let is_time = date.len() == 5 && date[..4].iter().all(u8::is_ascii_digit) && date[4] == b'-';
    (is_time && !task.is_empty()).then_some(task)
}

/// Brings the files of several tasks into one table: the id is `task/doc_id`, and a metric is called
/// `name,filter`, because the harness writes a row per filter.
pub(crate) fn merge(files: Vec<(String, RawTable)>) -> Result<RawTable, ResultsError> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut merged = RawTable::new("the samples files");
    for (task, raw) in files {
        if let Some(first) = seen.insert(task.clone(), raw.file.clone()) {
            return Err(ResultsError::TwoTimes { task, first, second: raw.file });
        }
        for row in task_rows(&task, &raw)? {
            merged.push_row(row)?;
        }
    }
    merged.finish()
}

/// One row per document, with the metrics of all its filters.
fn task_rows(task: &str, raw: &RawTable) -> Result<Vec<BTreeMap<String, Cell>>, ResultsError> {
    let ids = raw.columns.get("doc_id").ok_or_else(|| ResultsError::NoId {
        file: raw.file.clone(),
        columns: raw.column_names(),
    })?;
    let mut rows: BTreeMap<usize, BTreeMap<String, Cell>> = BTreeMap::new();
    let mut first_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut twice = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let at = *first_of.entry(&id.text).or_insert(index);
        let row = rows.entry(at).or_default();
        row.insert(ID.to_owned(), Cell::new(Kind::Text, &format!("{task}/{}", id.text.trim())));
        row.insert("task".to_owned(), Cell::new(Kind::Text, task));
        let filter = raw.columns.get("filter").map(|cells| &cells[index]);
        for (name, cells) in &raw.columns {
            let cell = &cells[index];
            let name = match (name.as_str(), filter) {
                ("doc_id" | "filter", _) => continue,
                ("target_hash" | "target" | "error", _) => name.clone(),
                (_, Some(filter)) if !filter.is_blank() && is_metric(cell) => {
                    format!("{name},{}", filter.text)
                }
                _ => name.clone(),
            };
            if cell.kind == Kind::Null {
                continue;
            }
            if name.contains(',') && row.contains_key(&name) {
                twice.push(id.text.to_string());
            }
            row.insert(name, cell.clone());
        }
    }
    if !twice.is_empty() {
        twice.dedup();
        let ids = super::error::first_five(&twice);
        return Err(ResultsError::Duplicates { count: twice.len(), ids });
    }
    Ok(rows.into_values().collect())
}

fn is_metric(cell: &Cell) -> bool {
    matches!(cell.kind, Kind::Number | Kind::Bool)
        || (cell.kind == Kind::Text && cell.number().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_as_the_harness_writes_them() {
        assert_eq!(task("out/m/samples_gsm8k_2024-05-01T12-00-00.123456.jsonl"), Some("gsm8k"));
        assert_eq!(task("samples_arc_easy_2024-05-01T12-00-00.1.jsonl"), Some("arc_easy"));
        assert_eq!(task("samples_mine.jsonl"), None);
        assert_eq!(task("rows.jsonl"), None);
    }
}
