//! Diagnostics of a pipeline file: for people, programs and forges.

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, Report};
use runyard_pipeline::{Diagnostic, Severity};
use serde_json::{Value, json};

use super::clip::Clipped;
use crate::context::Env;
use crate::errors::Result;
use crate::output::plain;

/// `--format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DiagnosticFormat {
    /// With the source underlined, on stderr
    #[default]
    Human,
    /// A list on stdout
    Json,
    /// Workflow commands that annotate a pull request
    Github,
    /// SARIF 2.1.0
    Sarif,
}

/// Prints them.
pub(super) fn print(
    env: &Env,
    format: DiagnosticFormat,
    name: &str,
    text: &str,
    found: &[Diagnostic],
) -> Result<()> {
    match format {
        DiagnosticFormat::Human => {
            for diagnostic in found {
                let printer = &env.printer;
                let width = usize::from(printer.stderr_width.unwrap_or(WIDTH)).max(WIDTH_MIN);
                printer.warn(human(name, text, diagnostic, printer.stderr_color, width).trim_end());
            }
            Ok(())
        }
        DiagnosticFormat::Json => {
            let items: Vec<Value> = found.iter().map(|d| json!(d)).collect();
            let list = json!({ "api_version": "runyard.v1", "index": 0, "items": items });
            env.printer.data(format!("{list:#}\n").as_bytes())
        }
        DiagnosticFormat::Github => {
            let lines: String = found.iter().map(|diagnostic| github(name, diagnostic)).collect();
            env.printer.data(lines.as_bytes())
        }
        DiagnosticFormat::Sarif => {
            env.printer.data(format!("{:#}\n", sarif(name, found)).as_bytes())
        }
    }
}

/// Columns where there is no terminal, and the fewest that a report is drawn for.
const WIDTH: u16 = 100;
const WIDTH_MIN: usize = 40;

/// The source with the place underlined, in so many columns.
fn human(name: &str, text: &str, diagnostic: &Diagnostic, color: bool, width: usize) -> String {
    let spans: Vec<_> = diagnostic.labels.iter().map(|label| label.span.clone()).collect();
    let lines = diagnostic.labels.iter().map(|label| label.line + 1).max().unwrap_or(1);
    // Beside the source stand the line's number, a rule and blanks.
    let columns = width.saturating_sub(lines.to_string().len() + 6);
    let source = Clipped::new(&plain(name), &harmless(text), &spans, columns);
    let labels: Vec<LabeledSpan> = diagnostic
        .labels
        .iter()
        .zip(&source.spans)
        .map(|(label, span)| {
            let text = (!label.text.is_empty()).then(|| plain(&label.text));
            LabeledSpan::new(text, span.start, span.len())
        })
        .collect();
    let mut shown = MietteDiagnostic::new(plain(&diagnostic.message))
        .with_code(diagnostic.code.to_string())
        .with_severity(match diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
        .with_labels(labels);
    if let Some(help) = &diagnostic.help {
        shown = shown.with_help(plain(help));
    }
    let report = Report::new(shown).with_source_code(source);
    let theme = match color {
        true => GraphicalTheme::unicode(),
        false => GraphicalTheme::unicode_nocolor(),
    };
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_context_lines(1)
        .with_width(width)
        .without_syntax_highlighting();
    match handler.render_report(&mut out, report.as_ref()) {
        Ok(()) => out,
        // A report that can't be drawn is told plainly.
        Err(_) => diagnostic.render(text),
    }
}

/// The source without what drives a terminal; each byte keeps its place, so that spans still fit.
fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let harmful =
                c != '\n' && c != '\t' && !plain(c.encode_utf8(&mut [0; 4])).starts_with(c);
            let width = if harmful { c.len_utf8() } else { 1 };
            std::iter::repeat_n(if harmful { '?' } else { c }, width)
        })
        .collect()
}

/// `::error file=…,line=…,col=…,title=…::message`.
fn github(name: &str, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let (line, column) = place(diagnostic);
    let message = match &diagnostic.help {
        Some(help) => format!("{}. {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
    format!(
        "::{level} file={},line={line},col={column},title={}::{}\n",
        property(name),
        diagnostic.code,
        escaped(&message)
    )
}

fn place(diagnostic: &Diagnostic) -> (u32, u32) {
    diagnostic.labels.first().map_or((1, 1), |label| (label.line, label.column))
}

fn sarif(name: &str, found: &[Diagnostic]) -> Value {
    let results: Vec<Value> = found
        .iter()
        .map(|diagnostic| {
            let (line, column) = place(diagnostic);
            json!({
                "ruleId": diagnostic.code.to_string(),
                "level": match diagnostic.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "message": { "text": diagnostic.message },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": name },
                    "region": { "startLine": line, "startColumn": column },
                }}],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "runyard", "version": env!("CARGO_PKG_VERSION") } },
            "results": results,
        }],
    })
}

#[cfg(test)]
#[path = "diagnostics_tests.rs"]
mod tests;
