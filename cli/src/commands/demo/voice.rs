//! The demo's own voice: sentences and lines with the time since it began.

use std::sync::Arc;
use std::time::Instant;

use anstyle::{AnsiColor, Style};

use crate::errors::Result;
use crate::output::{Printer, glyph, plain, tone};

/// Prints on stdout, for it is what was asked for.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    printer: Printer,
    begun: Arc<Instant>,
    color: bool,
}

impl Voice {
    pub(super) fn new(printer: &Printer) -> Self {
        Self {
            printer: printer.clone(),
            begun: Arc::new(Instant::now()),
            color: printer.look().color,
        }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(super) fn heading(&self, text: &str) -> Result<()> {
        self.raw(&format!("\n{}\n", self.styled(text, Style::new().bold())))
    }

    /// A sentence of the story.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        let lines = text.lines().map(|line| format!("  {line}\n"));
        self.raw(&lines.collect::<String>())
    }

    /// Something that happened.
    pub(super) fn event(&self, state: &str, text: &str) -> Result<()> {
        let style = if self.color { tone(state).style() } else { Style::new() };
        let at = self.dim(&format!("{:6.1} s", self.seconds()));
        self.raw(&format!("{at}  {style}{}{style:#} {text}\n", glyph(state)))
    }

    /// What somebody else wrote.
    pub(super) fn quote(&self, who: &str, line: &str) -> Result<()> {
        let at = format!("{:6.1} s", self.seconds());
        self.raw(&format!("{}\n", self.dim(&format!("{at}    {who} │ {}", plain(line)))))
    }

    /// A block of text, indented.
    pub(super) fn block(&self, text: &str) -> Result<()> {
        let lines = text.trim_end().lines().map(|line| format!("      {}\n", plain(line)));
        self.raw(&lines.collect::<String>())
    }

    pub(super) fn raw(&self, text: &str) -> Result<()> {
        self.printer.data(text.as_bytes())
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.styled(text, Style::new().fg_color(Some(AnsiColor::BrightBlack.into())))
    }

    fn styled(&self, text: &str, style: Style) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
