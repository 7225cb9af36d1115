//! What a verb prints, in each format.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use prost_reflect::prost::Message;
use serde_json::{Value, json};

use super::printer::Look;
use super::table::Table;
use super::template::Template;
use crate::errors::Result;

/// `-o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    Csv,
    Jsonl,
    Markdown,
    Template(Template),
}

/// The formats by name, each with its help.
const FORMATS: [(&str, Option<&str>, Format); 8] = [
    ("table", None, Format::Table),
    ("wide", Some("A table with all columns"), Format::Wide),
    ("json", None, Format::Json),
    ("yaml", None, Format::Yaml),
    ("name", Some("Names only"), Format::Name),
    ("csv", None, Format::Csv),
    ("jsonl", Some("One JSON value a line"), Format::Jsonl),
    ("markdown", None, Format::Markdown),
];
const TEMPLATE: &str = "template=";

/// Reads `-o`.
#[derive(Debug, Clone)]
pub(crate) struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> std::result::Result<Format, clap::Error> {
        let text = value.to_str().unwrap_or_default();
        if let Some(template) = text.strip_prefix(TEMPLATE) {
            return Template::parse(template).map(Format::Template).map_err(|why| {
                let text = format!("-o {TEMPLATE}…: {why}\n");
                clap::Error::raw(clap::error::ErrorKind::ValueValidation, text).with_cmd(command)
            });
        }
        let known: PossibleValuesParser = self.possible_values().into_iter().flatten().into();
        let name = known.parse_ref(command, argument, value)?;
        let found = FORMATS.into_iter().find(|(known, ..)| *known == name);
        found.map(|(.., format)| format).ok_or_else(|| {
            clap::Error::raw(
                clap::error::ErrorKind::InvalidValue,
                "write the fields that you want: -o template='{name} {state}'\n",
            )
            .with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let named = FORMATS.iter().map(|(name, help, _)| {
            let value = PossibleValue::new(*name);
            match help {
                Some(help) => value.help(*help),
                None => value,
            }
        });
        let template = PossibleValue::new("template=TEXT")
            .help("Fields of the JSON form, a line each item: template='{name} {state}'");
        Some(Box::new(named.chain([template])))
    }
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
