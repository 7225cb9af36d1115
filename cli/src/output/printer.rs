//! The one place that writes to stdout and stderr.

use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::color::{self, ColorChoice};
use super::items::Items;
use super::progress::ProgressChoice;
use super::table::Table;
use super::{Format, Output, yaml};
use crate::errors::{Error, Kind, Result};

/// The package whose messages the JSON forms are; each document names it.
pub(crate) const API_VERSION: &str = "runyard.v1";

/// How things look.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// For ages.
    pub(crate) now_ms: u64,
    /// All columns.
    pub(crate) wide: bool,
    /// Columns of the terminal; `None` where stdout is none.
    pub(crate) width: Option<u16>,
    pub(crate) color: bool,
}

/// Prints data and notes.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    pub(crate) format: Option<Format>,
    pub(crate) quiet: bool,
    /// Escape sequences of others are left alone.
    pub(crate) raw: bool,
    pub(crate) stdout_tty: bool,
    pub(crate) stderr_tty: bool,
    pub(crate) stderr_color: bool,
    /// Columns of the terminal; `None` where stderr is none.
    pub(crate) stderr_width: Option<u16>,
    pub(crate) progress: ProgressChoice,
    look: Look,
}

/// What decides how to print, besides the terminal itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choices {
    pub(crate) format: Option<Format>,
    pub(crate) quiet: bool,
    pub(crate) raw: bool,
    pub(crate) color: ColorChoice,
    pub(crate) progress: ProgressChoice,
}

impl Printer {
    /// A printer for this process's stdout and stderr.
    pub(crate) fn new(choices: Choices) -> Self {
        let var = |name: &str| std::env::var(name).ok();
        let stdout_tty = std::io::stdout().is_terminal();
        let stderr_tty = std::io::stderr().is_terminal();
        let wide = choices.format == Some(Format::Wide);
        let columns = var("COLUMNS").and_then(|text| text.parse().ok()).or_else(terminal_columns);
        Self {
            format: choices.format,
            quiet: choices.quiet,
            raw: choices.raw,
            stdout_tty,
            stderr_tty,
            stderr_width: columns.filter(|_| stderr_tty),
            stderr_color: color::enabled(choices.color, stderr_tty, var),
            progress: choices.progress,
            look: Look {
                now_ms: now_ms(),
                wide,
                width: columns.filter(|_| stdout_tty && !wide),
                color: color::enabled(choices.color, stdout_tty, var),
            },
        }
    }

    /// How things look now.
    pub(crate) fn look(&self) -> Look {
        Look { now_ms: now_ms(), ..self.look.clone() }
    }

    /// Prints a thing in the format asked for.
    pub(crate) fn show(&self, thing: &dyn Output) -> Result<()> {
        let look = self.look();
        let format = match &self.format {
            None if self.quiet => &Format::Name,
            None => &Format::Table,
            Some(format) => format,
        };
        let text = match format {
            Format::Table | Format::Wide => match thing.text(&look) {
                Some(text) => text,
                None => self.table(&thing.table(&look), &look),
            },
            Format::Json => pretty(&versioned(thing.json()?)),
            Format::Yaml => yaml::document(&versioned(thing.json()?)),
            Format::Jsonl => lines(&versioned(thing.json()?)),
            Format::Name => {
                thing.names().iter().map(|n| format!("{}\n", super::plain(n))).collect()
            }
            Format::Csv => thing.table(&look).csv(),
            Format::Template(template) => template.render(&versioned(thing.json()?))?,
            Format::Markdown => match thing.markdown(&look) {
                Some(text) => text,
                None => thing.table(&look).markdown(&look),
            },
        };
        self.data(text.as_bytes())
    }

    /// The answer of a verb that has nothing to show people beyond a note: one document for programs.
    pub(crate) fn answer(&self, value: &Value) -> Result<()> {
        let value = || versioned(value.clone());
        match &self.format {
            Some(Format::Json) => self.data(pretty(&value()).as_bytes()),
            Some(Format::Yaml) => self.data(yaml::document(&value()).as_bytes()),
            Some(Format::Jsonl) => self.data(lines(&value()).as_bytes()),
            Some(Format::Template(template)) => self.data(template.render(&value())?.as_bytes()),
            _ => Ok(()),
        }
    }

    fn table(&self, table: &Table, look: &Look) -> String {
        if let Some(note) = table.empty_note() {
            self.note(note);
        }
        table.render(look)
    }

    /// Writes data.
    pub(crate) fn data(&self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => Error::new(Kind::OutputClosed, "output closed"),
            _ => Error::failed("cannot write to stdout").because(error),
        })
    }

    /// Says something that is not data; silent with `-q`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.warn(text);
        }
    }

    /// Says something that must not be missed.
    pub(crate) fn warn(&self, text: &str) {
        // Nobody is left to be told if stderr is closed.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// The next useful command.
    pub(crate) fn next(&self, command: &str) {
        self.note(&format!("→ {command}"));
    }

    /// Shows parts that belong together: for programs one document, the first part's fields (or those
    /// under its key) and each further part under its own; for people one after another.
    pub(crate) fn show_parts(&self, parts: &[(&str, &dyn Output)]) -> Result<()> {
        if !self.structured() {
            return parts.iter().try_for_each(|(_, part)| self.show(*part));
        }
        let mut document = serde_json::Map::new();
        for (key, part) in parts {
            match (key.is_empty(), part.json()?) {
                (true, Value::Object(fields)) => document.extend(fields),
                (_, value) => drop(document.insert((*key).to_owned(), value)),
            }
        }
        self.answer(&Value::Object(document))
    }

    /// Items that come one after another.
    pub(crate) fn items(&self) -> Items {
        Items::new(self.format.clone())
    }

    /// For `-w`: what is printed again and again is no single document.
    pub(crate) fn may_repeat(&self) -> Result<()> {
        match self.format {
            Some(Format::Json | Format::Yaml) => {
                Err(Error::usage("--watch prints again and again, which is no single document")
                    .help("-o jsonl prints a line each time"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the format is one that is read as a value, not as a table or names.
    pub(crate) fn structured(&self) -> bool {
        matches!(
            self.format,
            Some(Format::Json | Format::Yaml | Format::Jsonl | Format::Template(_))
        )
    }

    /// Whether the format is one for programs.
    pub(crate) fn for_programs(&self) -> bool {
        !matches!(self.format, None | Some(Format::Table | Format::Wide))
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Each document says what it is a document of.
fn versioned(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.entry("api_version").or_insert_with(|| API_VERSION.into());
    }
    value
}

/// Items of a list, or the thing itself, one a line.
fn lines(value: &Value) -> String {
    match value.get("items").and_then(|items| items.as_array()) {
        Some(items) => items.iter().map(|item| format!("{item}\n")).collect(),
        None => format!("{value}\n"),
    }
}

/// The wall clock; tests set RUNYARD_NOW_MS.
pub(crate) fn now_ms() -> u64 {
    if let Some(fixed) = std::env::var("RUNYARD_NOW_MS").ok().and_then(|text| text.parse().ok()) {
        return fixed;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The width of the terminal on stderr or stdout.
fn terminal_columns() -> Option<u16> {
    use comfy_table::Table;
    Table::new().width()
}
