//! Progress on stderr: live on a terminal, a line per change elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use runyard_proto::v1;

use super::stage_words::words;
use super::{Printer, glyph, plain, tone};
use crate::errors::Result;

/// `--progress`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressChoice {
    /// tty on a terminal outside CI, else plain
    #[default]
    Auto,
    /// Live
    Tty,
    /// One line per change
    Plain,
    None,
}

/// Stages shown live at a time; the rest are counted.
const STAGES_SHOWN: usize = 16;

impl ProgressChoice {
    /// What `auto` means here.
    fn settle(self, tty: bool, quiet: bool, var: impl Fn(&str) -> Option<String>) -> Self {
        match self {
            Self::Auto if quiet => Self::None,
            Self::Auto => {
                let ci = var("CI").is_some_and(|v| !v.is_empty() && v != "false");
                match tty && !ci && var("TERM").as_deref() != Some("dumb") {
                    true => Self::Tty,
                    false => Self::Plain,
                }
            }
            chosen => chosen,
        }
    }
}

/// What is shown while a verb works.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    printer: Printer,
    choice: ProgressChoice,
    bars: MultiProgress,
}

impl Progress {
    /// Nothing is shown yet.
    pub(crate) fn new(printer: &Printer) -> Self {
        let choice = printer
            .progress
            .settle(printer.stderr_tty, printer.quiet, |name| std::env::var(name).ok());
        let target = match choice {
            ProgressChoice::Tty => ProgressDrawTarget::stderr_with_hz(10),
            _ => ProgressDrawTarget::hidden(),
        };
        Self { printer: printer.clone(), choice, bars: MultiProgress::with_draw_target(target) }
    }

    /// A line above what is live.
    pub(crate) fn line(&self, text: &str) {
        match self.choice {
            ProgressChoice::None => {}
            _ => self.bars.suspend(|| self.printer.warn(text)),
        }
    }

    /// Data on stdout, above what is live.
    pub(crate) fn data(&self, bytes: &[u8]) -> Result<()> {
        self.bars.suspend(|| self.printer.data(bytes))
    }

    /// A bar for bytes that move.
    pub(crate) fn bytes(&self, label: &'static str) -> Bytes {
        let bar = self.bars.add(ProgressBar::new(0));
        bar.set_style(style(
            "{prefix} {bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}",
        ));
        bar.set_prefix(label);
        Bytes { bar }
    }

    /// The stages of a run.
    pub(crate) fn stages(&self) -> Stages {
        Stages { progress: self.clone(), bars: Vec::new(), seen: BTreeMap::new() }
    }

    /// Removes what is live.
    pub(crate) fn clear(&self) {
        // A terminal that cannot be written to has nothing to clear.
        let _ = self.bars.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates here are constants that parse")
}

/// A bar of bytes.
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    bar: ProgressBar,
}

impl Bytes {
    /// So many of so many.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The stages of a run as they go.
#[derive(Debug)]
pub(crate) struct Stages {
    progress: Progress,
    bars: Vec<ProgressBar>,
    /// The words last shown for each stage.
    seen: BTreeMap<String, String>,
}

impl Stages {
    /// Shows a run's present state.
    pub(crate) fn update(&mut self, run: &v1::Run) {
        match self.progress.choice {
            ProgressChoice::Tty => self.draw(run),
            ProgressChoice::Plain => self.changes(run),
            ProgressChoice::Auto | ProgressChoice::None => {}
        }
    }

    fn draw(&mut self, run: &v1::Run) {
        let now = super::printer::now_ms();
        let width = run.stages.iter().map(|s| s.name.len()).max().unwrap_or(0);
        while self.bars.len() < run.stages.len().min(STAGES_SHOWN + 1) {
            let bar = self.progress.bars.add(ProgressBar::new_spinner());
            bar.set_style(style("{msg}"));
            bar.enable_steady_tick(Duration::from_millis(500));
            self.bars.push(bar);
        }
        let color = self.progress.printer.stderr_color;
        for (stage, bar) in run.stages.iter().take(STAGES_SHOWN).zip(&self.bars) {
            let style = if color { tone(&stage.state).style() } else { anstyle::Style::new() };
            bar.set_message(format!(
                "{style}{}{style:#} {:width$}  {}",
                glyph(&stage.state),
                plain(&stage.name),
                words(stage, now)
            ));
        }
        if run.stages.len() > STAGES_SHOWN {
            self.bars[STAGES_SHOWN]
                .set_message(format!("  and {} more", run.stages.len() - STAGES_SHOWN));
        }
    }

    fn changes(&mut self, run: &v1::Run) {
        for stage in &run.stages {
            // Without the time that passes: only changes are told.
            let words = words(stage, 0);
            if self.seen.get(&stage.name) != Some(&words) {
                let first = !self.seen.contains_key(&stage.name);
                if !(first && matches!(stage.state.as_str(), "waiting" | "queued")) {
                    let (glyph, name) = (glyph(&stage.state), plain(&stage.name));
                    self.progress.line(&format!("{glyph} {name}: {words}"));
                }
                self.seen.insert(stage.name.clone(), words);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_live_only_on_a_terminal_outside_ci() {
        use ProgressChoice::{self as P, Auto, Plain, Tty};
        let none = |_: &str| None;
        let ci = |name: &str| (name == "CI").then(|| "true".to_owned());
        assert_eq!(Auto.settle(true, false, none), Tty);
        assert_eq!(Auto.settle(false, false, none), Plain);
        assert_eq!(Auto.settle(true, false, ci), Plain);
        assert_eq!(Auto.settle(true, true, none), P::None);
        assert_eq!(Tty.settle(false, true, ci), Tty, "a choice is a choice");
    }
}
