//! What a verb prints, in each format.

use prost_reflect::prost::Message;
use serde_json::{Value, json};

use super::printer::Look;
use super::table::Table;
use crate::errors::Result;

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    /// A table with all columns
    Wide,
    Json,
    Yaml,
    /// Names only
    Name,
    Csv,
    /// One JSON value a line
    Jsonl,
    Markdown,
}

/// A thing to print.
pub(crate) trait Output {
    /// The documented, stable form.
    fn json(&self) -> Result<Value>;
    /// The form for people.
    fn table(&self, look: &Look) -> Table;
    /// Names that other verbs take.
    fn names(&self) -> Vec<String>;
    /// Text for people, where a table would not do.
    fn text(&self, _look: &Look) -> Option<String> {
        None
    }
    /// Markdown, where a table would not do.
    fn markdown(&self, _look: &Look) -> Option<String> {
        None
    }
}

/// The JSON form of a message of package `runyard.v1`.
pub(crate) fn json_of(name: &str, message: &impl Message) -> Result<Value> {
    Ok(runyard_proto::to_json(&format!("runyard.v1.{name}"), message)?)
}

/// A list with the index it was read at.
#[derive(Debug)]
pub(crate) struct List<T> {
    pub(crate) index: u64,
    pub(crate) items: Vec<T>,
}

impl<T: Message> List<T> {
    /// `{"api_version", "index", "items"}`; `name` is the items' message.
    pub(crate) fn to_json(&self, name: &str) -> Result<Value> {
        let items: Vec<Value> =
            self.items.iter().map(|item| json_of(name, item)).collect::<Result<_>>()?;
        Ok(json!({ "api_version": "runyard.v1", "index": self.index, "items": items }))
    }
}
