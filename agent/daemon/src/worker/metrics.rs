//! `$RUNYARD_METRICS`: JSON lines of metrics, read as they come.
//!
//! A line is an object: `{"loss": 0.1, "step": 3}`, or `{"name": "loss", "value": 0.1, "step": 3}`.
//! `NaN`, `Infinity` and `-Infinity`, as Python writes them, and numbers beyond the range of a
//! double are values, too: they are passed on, so that whoever judges them can say so.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Distinct metrics of one worker.
const NAMES_MAX: usize = 1_000;
/// Bytes of a metric's name.
const NAME_BYTES_MAX: usize = 200;
/// Bytes of one line; a longer one is passed over and said.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Keys of a line that say when, and are no metrics.
const WHEN: [&str; 6] = ["step", "epoch", "time", "timestamp", "_step", "_timestamp"];

/// The last value of each metric, from lines that come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    last: BTreeMap<String, f64>,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    /// The rest of a line that is too long is being passed over.
    skips: bool,
    line: u64,
    refused: u64,
    first_refused: Option<String>,
}

impl Metrics {
    /// Takes in what was written next.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let ends = pieces.peek().is_some();
            if !self.skips {
                self.rest.extend_from_slice(piece);
            }
            if self.rest.len() > LINE_BYTES_MAX {
                self.line += 1;
                self.refuse(&format!("it is longer than {LINE_BYTES_MAX} bytes"));
                self.rest = Vec::new();
                self.skips = true;
            }
            if ends {
                if !std::mem::take(&mut self.skips) {
                    self.end_line();
                }
                self.rest.clear();
            }
        }
    }

    /// The worker has ended: what stands without a line's end is a line.
    pub(crate) fn finish(&mut self) {
        if !self.rest.is_empty() && !self.skips {
            self.end_line();
        }
    }

    /// The last value of each.
    pub(crate) fn last(&self) -> &BTreeMap<String, f64> {
        &self.last
    }

    /// What was not understood, in a sentence.
    pub(crate) fn complaint(&self) -> Option<String> {
        let first = self.first_refused.as_ref()?;
        let count = self.refused;
        let lines = if count == 1 { "one line" } else { "lines" };
        Some(match count {
            1 => format!("{lines} of $RUNYARD_METRICS was passed over: {first}"),
            _ => format!("{count} {lines} of $RUNYARD_METRICS were passed over, first {first}"),
        })
    }

    fn end_line(&mut self) {
        self.line += 1;
        let line = std::mem::take(&mut self.rest);
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        match object(&line) {
            Ok(object) => self.take(&object),
            Err(why) => self.refuse(&why),
        }
    }

    fn take(&mut self, object: &Map<String, Value>) {
        if let (Some(Value::String(name)), Some(value)) = (object.get("name"), object.get("value"))
        {
            match number(value) {
                Some(value) => self.set(name, value),
                None => self.refuse("its `value` is not a number"),
            }
            return;
        }
        let mut any = false;
        for (name, value) in object {
            if let (false, Some(value)) = (WHEN.contains(&name.as_str()), number(value)) {
                self.set(name, value);
                any = true;
            }
        }
        if !any {
            self.refuse("it holds no number under a metric's name");
        }
    }

    fn set(&mut self, name: &str, value: f64) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            let shown: String = name.chars().take(40).flat_map(char::escape_default).collect();
            self.refuse(&format!(
                "`{shown}` is no name of a metric (1 to {NAME_BYTES_MAX} bytes, no control characters)"
            ));
        } else if self.last.contains_key(name) || self.last.len() < NAMES_MAX {
            self.last.insert(name.to_owned(), value);
        } else {
            self.refuse(&format!("there are more than {NAMES_MAX} metrics"));
        }
    }

    fn refuse(&mut self, why: &str) {
        self.refused += 1;
        let line = self.line;
        self.first_refused.get_or_insert_with(|| format!("line {line}: {why}"));
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::String(text) => match text.as_str() {
            "NaN" | "nan" => Some(f64::NAN),
            "Infinity" | "inf" => Some(f64::INFINITY),
            "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let parsed = serde_json::from_slice::<Value>(line)
        // Only then: nearly every line is plain JSON.
        .or_else(|error| serde_json::from_slice(&lenient(line)).map_err(|_| error));
    match parsed {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is not a JSON object".into()),
        Err(error) => Err(format!("it is not JSON ({error})")),
    }
}

/// Puts quotes around what JSON has no numbers for.
fn lenient(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + 16);
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        if byte == b'"' {
            let end = string_end(line, at);
            out.extend_from_slice(&line[at..end]);
            at = end;
        } else if byte == b'-' || byte.is_ascii_alphanumeric() {
            let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
            let len = line[at..].iter().take_while(|b| part(b)).count();
            let word = &line[at..at + len];
            match beyond(word) {
                Some(text) => out.extend_from_slice(format!("\"{text}\"").as_bytes()),
                None => out.extend_from_slice(word),
            }
            at += len;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out
}

fn string_end(line: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = line.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    line.len()
}

fn beyond(word: &[u8]) -> Option<&'static str> {
    match word {
        b"NaN" | b"nan" | b"-NaN" => return Some("NaN"),
        b"Infinity" | b"inf" => return Some("Infinity"),
        b"-Infinity" | b"-inf" => return Some("-Infinity"),
        _ => {}
    }
    if !word.iter().any(u8::is_ascii_digit) {
        return None;
    }
    let value: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    value.is_infinite().then_some(if value > 0.0 { "Infinity" } else { "-Infinity" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.push(text.as_bytes());
        metrics.finish();
        metrics
    }

    #[test]
    fn both_forms_are_read_and_the_last_value_stands() {
        let metrics = read(
            "{\"loss\": 2, \"acc\": 0.5, \"step\": 1}\n\n{\"name\": \"loss\", \"value\": 1.5, \"step\": 2}\n{\"ok\": true}",
        );
        let expected = [("acc", 0.5), ("loss", 1.5), ("ok", 1.0)];
        assert_eq!(metrics.last(), &expected.map(|(k, v)| (k.to_owned(), v)).into());
        assert_eq!(metrics.complaint(), None);
    }

    #[test]
    fn a7_what_is_no_finite_number_is_flagged_and_not_dropped() {
        let metrics = read(
            "{\"a\": NaN, \"b\": Infinity, \"c\": -Infinity, \"d\": 1e309, \"e\": -1e309, \"NaN\": 1, \"s\": \"NaN 1e309\"}\n",
        );
        let last = metrics.last();
        assert!(last["a"].is_nan());
        assert_eq!((last["b"], last["c"]), (f64::INFINITY, f64::NEG_INFINITY));
        assert_eq!((last["d"], last["e"]), (f64::INFINITY, f64::NEG_INFINITY));
        assert_eq!(last["NaN"], 1.0);
        assert!(!last.contains_key("s"));
        let steps = read("{\"a\": 1, \"step\": -1}\n{\"a\": 2, \"step\": 9223372036854775807}\n");
        assert_eq!(steps.last()["a"], 2.0);
        assert_eq!(steps.complaint(), None);
    }

    #[test]
    fn a7_rubbish_is_said_with_its_line_and_bounds_hold() {
        let metrics = read("{\"a\": 1}\nnot json\n[1]\n{\"b\": \"x\"}\n");
        assert_eq!(metrics.last().len(), 1);
        let text = metrics.complaint().expect("said");
        assert!(text.starts_with("3 lines") && text.contains("line 2: it is not JSON"), "{text}");
        let key = "k".repeat(10 << 20);
        let metrics = read(&format!("{{\"{key}\": 1}}\n{{\"a\": 1}}\n"));
        assert_eq!(metrics.last().len(), 1);
        assert!(metrics.complaint().expect("said").contains("line 1: it is longer"));
        let key = "k".repeat(300);
        assert!(read(&format!("{{\"{key}\": 1}}")).complaint().expect("said").contains("no name"));
        let many: String = (0..1_500).map(|n| format!("{{\"m{n}\": {n}}}\n")).collect();
        let metrics = read(&many);
        assert_eq!(metrics.last().len(), NAMES_MAX);
        assert!(metrics.complaint().expect("said").contains("more than 1000"));
    }

    proptest::proptest! {
        #[test]
        fn pieces_make_the_same_as_the_whole(
            text in "(\\{\"[a-c]\": (NaN|-?[0-9]{1,3}|1e999)\\}\n|x\n|\n){0,12}",
            cuts in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let whole = read(&text);
            let mut pieces = Metrics::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut from = 0;
            for to in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[from..to]);
                from = to;
            }
            pieces.finish();
            proptest::prop_assert_eq!(format!("{:?}", whole.last()), format!("{:?}", pieces.last()));
            proptest::prop_assert_eq!(whole.complaint(), pieces.complaint());
        }

        #[test]
        fn a7_no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let mut metrics = Metrics::default();
            metrics.push(&bytes);
            metrics.finish();
        }
    }
}
