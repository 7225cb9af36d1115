//! How a model version came to be, and what became of it.

use runyard_evaluation::gate::DecisionRecord;
use runyard_proto::v1;
use serde_json::Value;

use crate::commands::describe::{fields, git_line};
use crate::errors::Result;
use crate::output::{Cell, Column, Look, Output, Table, json_of, number, plain, time};

#[derive(Debug)]
pub(super) struct Lineage(pub(super) v1::LineageResponse);

impl Output for Lineage {
    fn json(&self) -> Result<Value> {
        json_of("LineageResponse", &self.0)
    }

    fn names(&self) -> Vec<String> {
        vec![format!("{}@{}", self.0.model, self.0.version)]
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [Column::new("WHEN"), Column::new("WHAT"), Column::new("ABOUT")];
        let mut table = Table::new(columns, "Nothing is recorded about it.");
        for event in &self.0.events {
            table.row([
                Cell::with_raw(time(event.at_ms), event.at_ms),
                Cell::new(if event.message.is_empty() { &event.kind } else { &event.message }),
                Cell::new(&event.subject),
            ]);
        }
        table
    }

    fn text(&self, look: &Look) -> Option<String> {
        let l = &self.0;
        let git = l.git.clone().unwrap_or_default();
        let rows = match l.evaluation_rows {
            0 => String::new(),
            rows => format!("{rows} rows ({})", short(&l.evaluation_root)),
        };
        let mut out = fields(&[
            ("model", format!("{} version {}", l.model, l.version)),
            ("aliases", l.aliases.join(", ")),
            ("status", l.status.clone()),
            ("run", l.run.clone()),
            ("commit", git_line(&git)),
            ("by", l.principal.clone()),
            ("code", short(&l.code_root)),
            ("evaluation", rows),
            ("gate", l.gate_task.clone()),
            ("approver", l.approver.clone()),
            ("record", short(&l.gate_record)),
        ]);
        if !l.data.is_empty() {
            out.push_str("\ndata\n");
            for data in &l.data {
                out.push_str(&format!(
                    "  {}.{}  {}  {}\n",
                    plain(&data.stage),
                    plain(&data.name),
                    plain(&data.source),
                    short(&data.root)
                ));
            }
        }
        let checks = checks(&l.gate_json);
        if !checks.is_empty() {
            out.push_str(&format!("\ngate figures\n{checks}"));
        }
        if !l.events.is_empty() {
            out.push_str(&format!("\nhistory\n{}", self.table(look).render(look)));
        }
        Some(out)
    }
}

/// Twelve digits of a digest.
fn short(digest: &str) -> String {
    plain(&digest.chars().take(12).collect::<String>())
}

/// Names and figures of a decision record's checks, whatever else its version holds.
fn checks(record: &str) -> String {
    if let Ok(record) = DecisionRecord::from_bytes(record.as_bytes()) {
        let lines = record.checks.iter().flat_map(|check| {
            let name = plain(&check.name);
            check
                .conditions
                .iter()
                .map(move |condition| format!("  {name}: {}\n", plain(&condition.reason)))
        });
        return lines.collect();
    }
    let Ok(record) = serde_json::from_str::<Value>(record) else { return String::new() };
    let named: Vec<(String, &Value)> = match record.get("checks") {
        Some(Value::Object(map)) => map.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| (item["name"].as_str().unwrap_or_default().to_owned(), item))
            .collect(),
        _ => return String::new(),
    };
    named
        .into_iter()
        .map(|(name, check)| format!("  {}: {}\n", plain(&name), figures(check)))
        .collect()
}

/// Plain values of a check: words and numbers, without what is nested or absent.
fn figures(check: &Value) -> String {
    let Some(map) = check.as_object() else { return String::new() };
    let shown = map.iter().filter(|(key, _)| *key != "name").filter_map(|(key, value)| {
        let value = match value {
            Value::Number(value) => number(value.as_f64()?),
            Value::String(text) if !text.is_empty() => plain(text),
            Value::Bool(value) => value.to_string(),
            Value::Array(pair) if pair.len() == 2 && pair.iter().all(Value::is_number) => {
                let [low, high] = [pair[0].as_f64()?, pair[1].as_f64()?];
                format!("[{}, {}]", number(low), number(high))
            }
            _ => return None,
        };
        Some(format!("{key} {value}"))
    });
    shown.collect::<Vec<_>>().join(", ")
}
