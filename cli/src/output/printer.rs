//! The one place that writes to stdout and stderr.

use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::color::{self, ColorChoice};
use super::progress::ProgressChoice;
use super::table::Table;
use super::{Format, Output, yaml};
use crate::errors::{Error, Kind, Result};

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
    pub(crate) progress: ProgressChoice,
    look: Look,
}

/// What decides how to print, besides the terminal itself.
#[derive(Debug, Clone, Copy, Default)]
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
        let format = match self.format {
            None if self.quiet => Format::Name,
            None => Format::Table,
            Some(format) => format,
        };
        let text = match format {
            Format::Table | Format::Wide => match thing.text(&look) {
                Some(text) => text,
                None => self.table(&thing.table(&look), &look),
            },
            Format::Json => pretty(&thing.json()?),
            Format::Yaml => yaml::document(&thing.json()?),
            Format::Jsonl => lines(&thing.json()?),
            Format::Name => {
                thing.names().iter().map(|n| format!("{}\n", super::plain(n))).collect()
            }
            Format::Csv => thing.table(&look).csv(),
            Format::Markdown => match thing.markdown(&look) {
                Some(text) => text,
                None => thing.table(&look).markdown(&look),
            },
        };
        self.data(text.as_bytes())
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

    /// Whether the format is one for programs.
    pub(crate) fn for_programs(&self) -> bool {
        !matches!(self.format, None | Some(Format::Table | Format::Wide))
    }
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Items of a list, or the thing itself, one a line.
fn lines(value: &serde_json::Value) -> String {
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
