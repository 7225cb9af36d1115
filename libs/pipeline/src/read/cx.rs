//! The reader's cursor: maps with known keys, and a growing list of findings.

use std::collections::BTreeMap;
use std::ops::Range;

use runyard_types::IdError;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Severity, SourceFile, nearest, shown};
use crate::yaml::{Entry, Node, Value};

/// More findings than this help nobody; a hostile file must not make millions.
const DIAGNOSTICS_MAX: usize = 200;

/// A map of the file: which keys it has, and which it will have.
#[derive(Debug)]
pub(crate) struct Shape {
    /// How messages call the map, such as "a stage".
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [&'static str],
    pub(crate) unbuilt: &'static [(&'static str, Code)],
}

/// The file being read and what was found in it so far.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) source: SourceFile<'a>,
    diagnostics: Vec<Diagnostic>,
}

/// The entries of a map whose keys were checked against a [`Shape`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    pub(crate) span: &'n Range<usize>,
    what: &'static str,
}

impl<'n> Fields<'n> {
    /// The value of `key`; the first one where the key stands twice.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The key with its value.
    pub(crate) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of `key`, whose absence is reported.
    pub(crate) fn require(&self, cx: &mut Cx<'_>, key: &str) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            cx.error(Code::MissingKey, self.span, format!("{} has no `{key}`", self.what));
        }
        found
    }
}

impl<'a> Cx<'a> {
    pub(crate) fn new(source: SourceFile<'a>) -> Self {
        Self { source, diagnostics: Vec::new() }
    }

    /// Ends reading: the findings, in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|d| (d.labels.first().map(|l| l.span.start), d.code));
        self.diagnostics.dedup();
        self.diagnostics
    }

    /// Whether anything so far refuses the file.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    pub(crate) fn error(&mut self, code: Code, span: &Range<usize>, message: impl Into<String>) {
        self.push(Severity::Error, code, span, message.into());
    }

    pub(crate) fn warn(&mut self, code: Code, span: &Range<usize>, message: impl Into<String>) {
        self.push(Severity::Warning, code, span, message.into());
    }

    fn push(&mut self, severity: Severity, code: Code, span: &Range<usize>, message: String) {
        let labels = vec![self.source.label(span.clone(), "")];
        let file = self.source.name.to_owned();
        let diagnostic = Diagnostic { code, severity, message, labels, help: None, file };
        if self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(diagnostic);
        } else if severity == Severity::Error
            && self.diagnostics.iter().all(|d| d.severity != Severity::Error)
        {
            // However many warnings there are, an error is never lost.
            self.diagnostics[0] = diagnostic;
        }
    }

    /// The remedy of the last finding.
    pub(crate) fn help(&mut self, help: impl Into<String>) {
        if let Some(last) = self.diagnostics.last_mut() {
            last.help = Some(help.into());
        }
    }

    /// The text at the place of the last finding.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        if let Some(label) = self.diagnostics.last_mut().and_then(|last| last.labels.first_mut()) {
            label.text = text.into();
        }
    }

    /// Another place that the last finding speaks of.
    pub(crate) fn also(&mut self, span: &Range<usize>, text: impl Into<String>) {
        let label = self.source.label(span.clone(), text);
        if let Some(last) = self.diagnostics.last_mut() {
            last.labels.push(label);
        }
    }

    /// "did you mean …" for the last finding, if a candidate is near.
    pub(crate) fn suggest<'c>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> bool {
        let found = nearest(word, candidates);
        if let Some(best) = found {
            self.help(format!("did you mean `{best}`?"));
        }
        found.is_some()
    }

    /// The entries of a map, its keys checked against `shape`.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, shape: &Shape) -> Option<Fields<'n>> {
        let entries = self.entries(node, shape.what)?;
        for entry in entries {
            let key = entry.key.as_str();
            if key.starts_with("x-") || shape.keys.contains(&key) {
                continue;
            }
            if let Some((_, code)) = shape.unbuilt.iter().find(|(name, _)| *name == key) {
                self.not_built(*code, &entry.key_span, &format!("`{key}`"));
                continue;
            }
            let message = format!("{} has no key `{}`", shape.what, shown(key));
            self.error(Code::UnknownKey, &entry.key_span, message);
            self.note("unknown key");
            if !self.suggest(key, shape.keys.iter().copied()) {
                self.help(format!("it takes {}", list(shape.keys)));
            }
        }
        Some(Fields { entries, span: &node.span, what: shape.what })
    }

    /// Refuses a right key or value that this release cannot serve.
    pub(crate) fn not_built(&mut self, code: Code, span: &Range<usize>, thing: &str) {
        self.error(code, span, format!("{thing} is not built yet"));
        self.help(format!("`runyard explain {code}` says what works in its place"));
    }

    /// The entries of a map with free names. Names that are refused are left out.
    pub(crate) fn named<'n, N: Ord>(
        &mut self,
        node: &'n Node,
        what: &'static str,
        parse: impl Fn(&str) -> Result<N, IdError>,
    ) -> Vec<(N, &'n Entry)> {
        let Some(entries) = self.entries(node, what) else { return Vec::new() };
        let mut named = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            match parse(&entry.key) {
                Ok(name) => {
                    named.entry(name).or_insert((index, entry));
                }
                Err(error) => {
                    self.error(Code::BadName, &entry.key_span, error.to_string());
                }
            }
        }
        let mut named: Vec<_> = named.into_iter().collect();
        named.sort_by_key(|(_, (index, _))| *index);
        named.into_iter().map(|(name, (_, entry))| (name, entry)).collect()
    }

    /// The entries of a map; keys that stand twice are reported with both places.
    fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
        let Value::Map(entries) = &node.value else {
            self.wrong_type(node, what, "a map");
            return None;
        };
        let mut seen: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in entries {
            if let Some(first) = seen.get(entry.key.as_str()) {
                let message = format!("`{}` stands twice in {what}", shown(&entry.key));
                self.error(Code::DuplicateKey, &entry.key_span, message);
                self.note("again here");
                let span = first.key_span.clone();
                self.also(&span, "first here");
                self.help("remove or rename one of them");
            } else {
                seen.insert(&entry.key, entry);
            }
        }
        Some(entries)
    }

    /// Reports that `what` is not `wanted`.
    pub(crate) fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) {
        let found = match &node.value {
            Value::Null => "empty",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        self.error(Code::WrongType, &node.span, format!("{what} is {wanted}, but this is {found}"));
    }

    /// The bytes of `inner`, a range of the scalar's `text`, in the file: exact where the scalar
    /// stands in the file as it is, the whole scalar where it is escaped or folded.
    pub(crate) fn inner(
        &self,
        span: &Range<usize>,
        text: &str,
        inner: &Range<usize>,
    ) -> Range<usize> {
        let written = self.source.text.get(span.clone()).unwrap_or("");
        match written.find(text) {
            Some(at) => span.start + at + inner.start..span.start + at + inner.end,
            None => span.clone(),
        }
    }
}

/// Words for a message: `a`, `b` or `c`.
pub(crate) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [init @ .., last] => {
            let init: Vec<_> = init.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", init.join(", "))
        }
    }
}
