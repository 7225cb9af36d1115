//! Records of several workers made lines that never mix, harmless on a terminal.

use std::collections::BTreeMap;

use runyard_proto::v1;

use crate::client::Target;
use crate::output::{Printer, Sanitiser, bytes, plain, time};

/// When lines begin with the name of their task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    /// As soon as a second worker is seen.
    WhenSeveral,
    Always,
}

/// The longest line that waits for its end, in bytes; a longer one is printed in parts.
const LINE_MAX: usize = 64 << 10;

/// Makes the bytes to print of records.
#[derive(Debug)]
pub(crate) struct Lines {
    prefix: Prefix,
    timestamps: bool,
    needle: Option<String>,
    sanitise: bool,
    workers: BTreeMap<String, Line>,
    /// Bytes were printed as they came, and the last was no line end.
    mid_line: bool,
    /// Columns of the longest label that is known; shorter ones are filled up.
    width: usize,
    /// The terminal gets the colours of the stages themselves: none of them may reach a prefix.
    reset: bool,
}

/// The unfinished line of one worker.
#[derive(Debug, Default)]
struct Line {
    sanitiser: Sanitiser,
    pending: Vec<u8>,
    at_ms: u64,
}

impl Lines {
    /// For stdout as it is.
    pub(crate) fn new(printer: &Printer) -> Self {
        Self {
            prefix: Prefix::WhenSeveral,
            timestamps: false,
            needle: None,
            sanitise: printer.stdout_tty && !printer.raw,
            workers: BTreeMap::new(),
            mid_line: false,
            width: 0,
            reset: printer.stdout_tty && printer.raw,
        }
    }
    /// Prepares for the logs of a run or of a part of it: names and their width are settled before the
    /// first line. To be called again as more of the run is known; the width only grows.
    pub(crate) fn expect(&mut self, run: &v1::Run, part: Option<&Target>) {
        let whole = part.is_none_or(|target| target.rest.is_empty());
        let tasks = run
            .stages
            .iter()
            .flat_map(|stage| &stage.tasks)
            .filter(|task| part.is_none_or(|target| target.covers(&task.key)));
        let mut count = 0;
        for task in tasks {
            count += 1;
            let newest = task.attempts.last().map(|attempt| attempt.workers.as_slice());
            let workers = newest.unwrap_or_default();
            let labels = workers.iter().map(|worker| label(&worker.key));
            let widest = labels.chain([label(&task.key)]).map(|label| label.chars().count()).max();
            self.width = self.width.max(widest.unwrap_or(0));
            if workers.len() > 1 {
                self.prefix = Prefix::Always;
            }
        }
        // Stages that have no tasks yet will have some.
        if count > 1 || whole && run.stages.len() > 1 {
            self.prefix = Prefix::Always;
        }
    }
    /// Whether to print times.
    pub(crate) fn timestamps(self, timestamps: bool) -> Self {
        Self { timestamps, ..self }
    }
    /// Only lines with this text.
    pub(crate) fn containing(self, needle: Option<String>) -> Self {
        Self { needle, ..self }
    }

    /// What to print of a record.
    pub(crate) fn push(&mut self, record: &v1::LogRecord) -> Vec<u8> {
        let mut out = Vec::new();
        let new = !self.workers.contains_key(&record.worker);
        if new && self.workers.len() == 1 && !self.framed() {
            // Lines get a prefix from here on: the first worker's unfinished one ends first.
            self.end_mid_line(&mut out);
        }
        let sanitise = self.sanitise;
        let line = self.workers.entry(record.worker.clone()).or_default();
        if line.pending.is_empty() {
            line.at_ms = record.at_ms;
        }
        if sanitise {
            let text = line.sanitiser.push(&record.data);
            line.pending.extend_from_slice(text.as_bytes());
            if record.end {
                let rest = line.sanitiser.finish();
                line.pending.extend_from_slice(rest.as_bytes());
            }
        } else {
            line.pending.extend_from_slice(&record.data);
        }
        if record.cut_bytes > 0 {
            self.end_mid_line(&mut out);
            self.end_line(&record.worker, &mut out);
            let note = format!("… {} of the log were dropped here …\n", bytes(record.cut_bytes));
            self.write(&record.worker, note.as_bytes(), record.at_ms, true, &mut out);
        }
        self.take_lines(&record.worker, record.at_ms, &mut out);
        if record.end {
            self.end_line(&record.worker, &mut out);
        }
        out
    }

    /// What is left at the end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.flush(&mut out);
        out
    }

    /// Whether lines must be whole before they are printed.
    fn framed(&self) -> bool {
        self.prefix == Prefix::Always
            || self.timestamps
            || self.needle.is_some()
            || self.workers.len() > 1
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        let names: Vec<String> = self.workers.keys().cloned().collect();
        for name in names {
            self.end_line(&name, out);
        }
    }

    /// Ends the line that was printed as it came.
    fn end_mid_line(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.mid_line) {
            out.push(b'\n');
        }
    }

    /// Prints an unfinished line; its end is added where others may follow.
    fn end_line(&mut self, worker: &str, out: &mut Vec<u8>) {
        let Some(line) = self.workers.get_mut(worker) else { return };
        let (mut rest, at_ms) = (std::mem::take(&mut line.pending), line.at_ms);
        if !rest.is_empty() {
            rest.push(b'\n');
            self.write(worker, &rest, at_ms, false, out);
        }
    }

    fn take_lines(&mut self, worker: &str, at_ms: u64, out: &mut Vec<u8>) {
        let framed = self.framed();
        let Some(line) = self.workers.get_mut(worker) else { return };
        if !framed {
            // One worker, nothing to add: bytes go out as they come.
            if let Some(last) = line.pending.last() {
                self.mid_line = *last != b'\n';
            }
            out.append(&mut line.pending);
            return;
        }
        let begun = line.at_ms;
        let end = match line.pending.iter().rposition(|b| *b == b'\n') {
            Some(end) => end + 1,
            None if line.pending.len() > LINE_MAX => line.pending.len(),
            None => return,
        };
        let rest = line.pending.split_off(end);
        let mut whole = std::mem::replace(&mut line.pending, rest);
        line.at_ms = at_ms;
        if !whole.ends_with(b"\n") {
            whole.push(b'\n');
        }
        for (index, part) in whole.split_inclusive(|b| *b == b'\n').enumerate() {
            let at_ms = if index == 0 { begun } else { at_ms };
            self.write(worker, part, at_ms, false, out);
        }
    }

    fn write(&self, worker: &str, line: &[u8], at_ms: u64, always: bool, out: &mut Vec<u8>) {
        if let (Some(needle), false) = (&self.needle, always)
            && !String::from_utf8_lossy(line).contains(needle.as_str())
        {
            return;
        }
        if self.timestamps {
            out.extend_from_slice(time(at_ms).as_bytes());
            out.push(b' ');
        }
        if self.prefix == Prefix::Always || self.workers.len() > 1 {
            let reset = if self.reset { "\u{1b}[0m" } else { "" };
            let (label, width) = (label(worker), self.width);
            out.extend_from_slice(format!("{reset}{label:width$} │ ").as_bytes());
        }
        out.extend_from_slice(line);
    }
}

/// `digits-42/train[3].2:1` → `train[3].2:1`. The first attempt and the first worker go without their
/// number, so that a label never depends on what else was seen.
fn label(worker: &str) -> String {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (head, rank) = match worker.rsplit_once(':') {
        Some((head, rank)) if number(rank) => (head, rank),
        _ => (worker, ""),
    };
    let (task, attempt) = match head.rsplit_once('.') {
        // A stage's own name may have a dot in it; a worker's key always has an attempt.
        Some((task, attempt)) if number(attempt) && !rank.is_empty() => (task, attempt),
        _ => (head, ""),
    };
    let mut label = match task.split_once('/') {
        Some((deployment, replica)) if deployment.contains('@') => {
            format!("{deployment}/{replica}")
        }
        Some((_, stage)) => stage.to_owned(),
        None => task.to_owned(),
    };
    if !matches!(attempt, "" | "1") {
        label.push_str(&format!(".{attempt}"));
    }
    if !matches!(rank, "" | "0") {
        label.push_str(&format!(":{rank}"));
    }
    plain(&label)
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
