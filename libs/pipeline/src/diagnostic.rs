//! What is wrong with a file, where, and what would mend it.

use std::fmt::Write as _;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::codes::Code;

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted; somebody should look.
    Warning,
}

/// A place in the file and what is to be seen there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Byte range in the source.
    pub span: Range<usize>,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// What is wrong just here; may be empty where the message says it.
    #[serde(default)]
    pub text: String,
}

/// One finding. The first label is its place, the others are places that it speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    /// One sentence without a full stop, which names the thing.
    pub message: String,
    #[serde(default)]
    pub labels: Vec<Label>,
    /// The remedy, as one sentence.
    #[serde(default)]
    pub help: Option<String>,
    /// The file's name as the caller gave it.
    #[serde(default)]
    pub file: String,
}

/// The longest part of a source line that [`Diagnostic::render`] shows, in characters.
const LINE_SHOWN_MAX: usize = 100;
/// How much of it stands before the place, where the line is cut at its beginning.
const LINE_LEAD: usize = 20;

impl Diagnostic {
    /// The finding as plain text: its code and message, `file:line:column`, the source line with the
    /// place underlined, and the remedy. Control and direction characters of the source are replaced.
    pub fn render(&self, source: &str) -> String {
        let mut out = String::new();
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = writeln!(out, "{kind}[{}]: {}", self.code, visible(&self.message));
        let width = self.labels.iter().map(|l| l.line.to_string().len()).max().unwrap_or(1);
        for (index, label) in self.labels.iter().enumerate() {
            let arrow = if index == 0 { "-->" } else { ":::" };
            let _ = writeln!(
                out,
                "{:width$} {arrow} {}:{}:{}",
                "",
                visible(&self.file),
                label.line,
                label.column
            );
            render_line(&mut out, source, label, width);
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{:width$} = help: {}", "", visible(help));
        }
        out
    }
}

fn render_line(out: &mut String, source: &str, label: &Label, width: usize) {
    let Some(line) = source.lines().nth((label.line as usize).saturating_sub(1)) else { return };
    let column = (label.column as usize).saturating_sub(1);
    let marked = source.get(label.span.clone()).unwrap_or("");
    let marked = marked.lines().next().unwrap_or("").chars().count().max(1);
    // A long line is shown from a little before the place.
    let far = column + marked > LINE_SHOWN_MAX;
    let skip = if far { column.saturating_sub(LINE_LEAD) } else { 0 };
    let mut shown: String = line.chars().skip(skip).take(LINE_SHOWN_MAX).map(plain).collect();
    if line.chars().nth(skip + LINE_SHOWN_MAX).is_some() {
        shown.push('…');
    }
    let lead = if skip > 0 { "…" } else { "" };
    let marked = marked.min(LINE_SHOWN_MAX.saturating_sub(column - skip)).max(1);
    let _ = writeln!(out, "{:width$} |", "");
    let _ = writeln!(out, "{:>width$} | {lead}{}", label.line, shown.trim_end());
    let underline = "^".repeat(marked);
    let text = visible(&label.text);
    let before = " ".repeat(column - skip + usize::from(skip > 0));
    let _ = writeln!(out, "{:width$} | {before}{underline} {text}", "").map(|()| {
        let end = out.trim_end().len();
        out.truncate(end);
        out.push('\n');
    });
}

/// A character as it may be printed: no escape sequence, no hidden direction change.
fn plain(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => '\u{fffd}',
        c => c,
    }
}

fn visible(text: &str) -> String {
    text.chars().map(plain).collect()
}

/// The source with the start of each line, to turn byte offsets into lines and columns.
#[derive(Debug)]
pub(crate) struct SourceFile<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> SourceFile<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Self { name, text, line_starts: std::iter::once(0).chain(starts).collect() }
    }

    /// A label for the byte range `span`, which is clamped to the source.
    pub(crate) fn label(&self, span: Range<usize>, text: impl Into<String>) -> Label {
        let start = self.floor(span.start);
        let end = self.floor(span.end).max(start);
        let line = self.line_starts.partition_point(|&s| s <= start).max(1);
        let line_start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(line_start..start).map_or(0, |t| t.chars().count());
        Label {
            span: start..end,
            line: to_u32(line),
            column: to_u32(column + 1),
            text: text.into(),
        }
    }

    /// The nearest character boundary at or before `offset`.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A user's text for a message: escaped and shortened.
pub(crate) fn shown(text: &str) -> String {
    const MAX: usize = 80;
    let mut out: String = text.chars().take(MAX).flat_map(char::escape_debug).collect();
    // `escape_debug` also escapes quotes, which only get in the way between backquotes.
    if out.contains("\\\"") || out.contains("\\'") {
        out = out.replace("\\\"", "\"").replace("\\'", "'");
    }
    if text.chars().nth(MAX).is_some() {
        out.push('…');
    }
    out
}

/// The candidate nearest to `word`, if it is near enough to have been meant.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    if word.len() > 128 {
        return None;
    }
    let lower = word.to_lowercase();
    let (similarity, best) = candidates
        .into_iter()
        .map(|candidate| {
            // A slip of one letter counts as near also in a word too short for the measure.
            let is_slip = lower.len() > 1 && strsim::osa_distance(&lower, candidate) <= 1;
            let least = if is_slip { 0.85 } else { 0.0 };
            (strsim::jaro_winkler(&lower, candidate).max(least), candidate)
        })
        .fold((0.0, None), |best, (s, c)| if s > best.0 { (s, Some(c)) } else { best });
    best.filter(|_| similarity >= 0.8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let source = SourceFile::new("f", "a: ü\nkey: välue\n");
        let at = source.text.find("välue").unwrap();
        let label = source.label(at..at + "välue".len(), "");
        assert_eq!((label.line, label.column), (2, 6));
        let past = source.label(9_999..10_000, "");
        assert_eq!(past.line, 3);
    }

    #[test]
    fn a_rendering_shows_no_control_or_direction_characters() {
        let text = "name: a\u{202e}b\u{1b}[31m\n";
        let source = SourceFile::new("f\u{1b}", text);
        let diagnostic = Diagnostic {
            code: Code::BadName,
            severity: Severity::Error,
            message: "x\u{7}".into(),
            labels: vec![source.label(6..8, "\u{200b}")],
            help: None,
            file: source.name.into(),
        };
        let out = diagnostic.render(text);
        assert!(!out.contains(['\u{202e}', '\u{1b}', '\u{7}', '\u{200b}']), "{out:?}");
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        let text = format!("a: {}HERE{}\n", "x".repeat(500), "y".repeat(500));
        let at = text.find("HERE").unwrap();
        let source = SourceFile::new("f", &text);
        let diagnostic = Diagnostic {
            code: Code::BadName,
            severity: Severity::Error,
            message: "m".into(),
            labels: vec![source.label(at..at + 4, "")],
            help: None,
            file: "f".into(),
        };
        let out = diagnostic.render(&text);
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 110), "{out}");
        let (shown, marks) = (lines[3], lines[4]);
        assert!(shown.contains("| …xxx") && shown.ends_with("y…"), "{out}");
        let column = |line: &str, what: &str| {
            line.find(what).map(|at| line[..at].chars().count()).expect("is there")
        };
        assert_eq!(column(shown, "HERE"), column(marks, "^^^^"), "{out}");
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(nearest("gpus", ["cpu", "gpu", "memory"]), Some("gpu"));
        assert_eq!(nearest("Timeout", ["timeout"]), Some("timeout"));
        assert_eq!(nearest("tga", ["branch", "tag"]), Some("tag"));
        assert_eq!(nearest("zebra", ["cpu", "gpu", "memory"]), None);
    }
}
