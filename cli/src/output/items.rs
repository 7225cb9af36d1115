//! A list whose items come one after another: written as they come, and one document all the same.

use serde_json::{Value, json};

use super::printer::API_VERSION;
use super::{Format, yaml};
use crate::errors::Result;

/// The text of a list that grows. Its length is not known, so nothing is kept back.
#[derive(Debug)]
pub(crate) struct Items {
    format: Option<Format>,
    count: u64,
}

impl Items {
    pub(super) fn new(format: Option<Format>) -> Self {
        Self { format, count: 0 }
    }

    /// Whether items are to be written as values at all.
    pub(crate) fn wanted(&self) -> bool {
        matches!(
            self.format,
            Some(Format::Json | Format::Yaml | Format::Jsonl | Format::Template(_))
        )
    }

    /// The text of one more item.
    pub(crate) fn item(&mut self, value: &Value) -> Result<String> {
        let first = self.count == 0;
        self.count += 1;
        Ok(match &self.format {
            Some(Format::Template(template)) => template.line(value)?,
            Some(Format::Json) => {
                let before = if first { head() } else { ",\n".to_owned() };
                format!("{before}    {value}")
            }
            Some(Format::Yaml) => {
                let before = if first { yaml_head("") } else { String::new() };
                let item = yaml::document(&json!([value]));
                let indented: String = item.lines().map(|line| format!("  {line}\n")).collect();
                format!("{before}{indented}")
            }
            _ => format!("{value}\n"),
        })
    }

    /// What makes the document whole.
    pub(crate) fn end(self) -> String {
        match (&self.format, self.count) {
            (Some(Format::Json), 0) => format!("{}]\n}}\n", head().trim_end()),
            (Some(Format::Json), _) => "\n  ]\n}\n".into(),
            (Some(Format::Yaml), 0) => yaml_head(" []"),
            _ => String::new(),
        }
    }
}

/// A list that is read while it is written has no index of its own.
fn head() -> String {
    format!("{{\n  \"api_version\": \"{API_VERSION}\",\n  \"index\": 0,\n  \"items\": [\n")
}

fn yaml_head(items: &str) -> String {
    format!("api_version: {API_VERSION}\nindex: 0\nitems:{items}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(format: Format, values: &[Value]) -> String {
        let mut items = Items::new(Some(format));
        let mut text: String =
            values.iter().map(|value| items.item(value).expect("a text")).collect();
        text.push_str(&items.end());
        text
    }

    #[test]
    fn however_many_come_it_is_one_document() {
        for count in 0..3 {
            let values: Vec<Value> = (0..count).map(|n| json!({ "n": n, "t": "a\n\"b" })).collect();
            let text = all(Format::Json, &values);
            let document: Value = serde_json::from_str(&text).expect("one document");
            assert_eq!(document["api_version"], API_VERSION);
            assert_eq!(document["items"], Value::from(values.clone()), "{text}");
            assert_eq!(all(Format::Jsonl, &values).lines().count(), count);
        }
    }

    #[test]
    fn yaml_is_one_document_too() {
        assert_eq!(all(Format::Yaml, &[]), "api_version: runyard.v1\nindex: 0\nitems: []\n");
        let two = all(Format::Yaml, &[json!({ "a": 1, "b": 2 }), json!({ "a": 3 })]);
        assert_eq!(
            two,
            "api_version: runyard.v1\nindex: 0\nitems:\n  - a: 1\n    b: 2\n  - a: 3\n"
        );
    }
}
