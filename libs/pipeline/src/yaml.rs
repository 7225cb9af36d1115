//! The only place that knows the YAML library: text in, a tree with spans out.
//!
//! It takes the parser's events and keeps its own stack: the library's deserializer recurses with some
//! 40 KiB a level in a debug build, which 64 levels of a user's file would turn into an abort. Budgets
//! keep a hostile file cheap: its size is looked at before it is read; depth, values and bytes are
//! counted while it is read, those that aliases repeat included (RELIABILITY A1).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_saphyr::granit_parser::{self, Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::codes::Code;
use crate::diagnostic::shown;

/// The largest file that is read at all, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of maps and lists.
pub(crate) const DEPTH_MAX: usize = 64;
/// The most maps, lists and scalars, counted after aliases are repeated.
pub(crate) const NODES_MAX: usize = 20_000;
/// The most bytes of text, counted after aliases are repeated.
const TEXT_BYTES_MAX: usize = 4 * FILE_BYTES_MAX;

/// A value and the bytes it was written in.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// An unquoted number, as it was written: `3.10` stays `3.10`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node,
}

/// Why a text is no tree.
#[derive(Debug)]
pub(crate) struct YamlError {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) span: Range<usize>,
}

/// Reads one YAML document. Duplicate keys stay in the tree, for the caller to refuse all at once.
pub(crate) fn read(source: &str) -> Result<Node, YamlError> {
    if source.len() > FILE_BYTES_MAX {
        let message = format!(
            "the file has {} bytes; a pipeline file has at most {FILE_BYTES_MAX} (1 MiB)",
            source.len()
        );
        return Err(YamlError { code: Code::FileTooLarge, message, span: 0..0 });
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX + 1,
        block_nesting_limit: DEPTH_MAX + 1,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(source, options) {
        let (event, span) = event.map_err(|error| scan_error(source, &error))?;
        let span = offset(source, &span.start)..offset(source, &span.end);
        builder.event(event, span)?;
    }
    Ok(builder.root.unwrap_or(Node { span: 0..0, value: Value::Null }))
}

/// The byte that a marker points to.
fn offset(source: &str, marker: &Marker) -> usize {
    // Always known for a text in memory.
    marker.byte_offset().unwrap_or(0).min(source.len())
}

fn scan_error(source: &str, error: &ScanError) -> YamlError {
    let start = offset(source, error.marker());
    let span = start..(start + 1).min(source.len());
    if matches!(error.kind(), granit_parser::ErrorKind::RecursionLimitExceeded) {
        return too_complex(span);
    }
    // The place is a label of ours; the library repeats it in its sentence.
    let text = error.to_string();
    let sentence = text.split(" at char ").next().unwrap_or(&text);
    syntax(span, format!("this is not YAML: {}", shown(sentence)))
}

fn syntax(span: Range<usize>, message: impl Into<String>) -> YamlError {
    YamlError { code: Code::Syntax, message: message.into(), span }
}

fn too_complex(span: Range<usize>) -> YamlError {
    let message = format!(
        "the file is nested too deeply or expands too far: at most {DEPTH_MAX} levels, {NODES_MAX} values and {TEXT_BYTES_MAX} bytes, with what aliases repeat"
    );
    YamlError { code: Code::FileTooComplex, message, span }
}

/// How much of the budget a part of the tree takes.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
}

/// A map or list whose end has not come.
struct Open {
    span: Range<usize>,
    anchor: usize,
    /// The cost of the tree when this began.
    before: Cost,
    /// The levels below.
    height: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The maps of `<<`, which give what the entries do not.
        merged: Vec<Node>,
        key: Option<Key>,
    },
}

struct Key {
    text: String,
    span: Range<usize>,
    is_merge: bool,
}

/// A finished value that aliases may repeat.
struct Anchored {
    node: Node,
    cost: Cost,
    height: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    cost: Cost,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(syntax(span, "a second document begins here; a pipeline file has one"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = text_tag(tag.as_deref(), &span)?;
                let before = self.cost;
                self.charge(Cost { nodes: 1, bytes: text.len() }, &span)?;
                let is_plain = style == ScalarStyle::Plain && !is_text;
                self.value(
                    Node { span, value: scalar(text.into_owned(), is_plain) },
                    anchor,
                    before,
                    0,
                )
            }
            Event::SequenceStart(_, anchor, tag) => {
                text_tag(tag.as_deref(), &span)?;
                self.begin(span, anchor, Parts::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                text_tag(tag.as_deref(), &span)?;
                let parts = Parts::Map { entries: Vec::new(), merged: Vec::new(), key: None };
                self.begin(span, anchor, parts)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, span),
            // Events may be added by the library; none of those there are carries data.
            _ => Ok(()),
        }
    }

    fn charge(&mut self, cost: Cost, span: &Range<usize>) -> Result<(), YamlError> {
        self.cost.nodes = self.cost.nodes.saturating_add(cost.nodes);
        self.cost.bytes = self.cost.bytes.saturating_add(cost.bytes);
        if self.cost.nodes > NODES_MAX || self.cost.bytes > TEXT_BYTES_MAX {
            return Err(too_complex(span.clone()));
        }
        Ok(())
    }

    fn begin(&mut self, span: Range<usize>, anchor: usize, parts: Parts) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_complex(span));
        }
        let before = self.cost;
        self.charge(Cost { nodes: 1, bytes: 0 }, &span)?;
        self.open.push(Open { span, anchor, before, height: 1, parts });
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.parts {
            Parts::List(items) => Value::List(items),
            Parts::Map { mut entries, merged, .. } => {
                merge(&mut entries, merged)?;
                Value::Map(entries)
            }
        };
        self.value(Node { span: open.span, value }, open.anchor, open.before, open.height)
    }

    fn alias(&mut self, id: usize, span: Range<usize>) -> Result<(), YamlError> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(syntax(span, "this alias stands inside what it repeats"));
        };
        let (cost, height) = (anchored.cost, anchored.height);
        if self.open.len() + height > DEPTH_MAX {
            return Err(too_complex(span));
        }
        let before = self.cost;
        // Paid before it is copied.
        self.charge(cost, &span)?;
        let node = self.anchors.get(&id).map(|anchored| anchored.node.clone());
        node.map_or(Ok(()), |node| self.value(node, 0, before, height))
    }

    /// Puts a finished value into what is open.
    fn value(
        &mut self,
        mut node: Node,
        anchor: usize,
        before: Cost,
        height: usize,
    ) -> Result<(), YamlError> {
        if anchor > 0 {
            let cost = Cost {
                nodes: self.cost.nodes - before.nodes,
                bytes: self.cost.bytes - before.bytes,
            };
            // The copy counts as well.
            let span = node.span.clone();
            self.charge(cost, &span)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), cost, height });
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.height = open.height.max(height + 1);
        match &mut open.parts {
            Parts::List(items) => items.push(node),
            Parts::Map { entries, merged, key } => match key.take() {
                None => *key = Some(as_key(node)?),
                Some(Key { is_merge: true, .. }) => merged.push(node),
                Some(Key { text, span, .. }) => {
                    // A collection's own place is where it begins; its key says more to a reader.
                    if matches!(node.value, Value::List(_) | Value::Map(_) | Value::Null) {
                        node.span = span.clone();
                    }
                    entries.push(Entry { key: text, key_span: span, node });
                }
            },
        }
        Ok(())
    }
}

/// Whether a tag makes a text of a scalar. Tags of other schemas have no meaning here.
fn text_tag(tag: Option<&Tag>, span: &Range<usize>) -> Result<bool, YamlError> {
    let Some(tag) = tag else { return Ok(false) };
    if tag.is_yaml_core_schema() {
        return Ok(tag.is_yaml_core_schema_tag("str"));
    }
    Err(syntax(span.clone(), "tags (`!name`) have no meaning in a pipeline file"))
}

/// The value of a scalar by YAML 1.2's core schema: `on` and `yes` are words.
fn scalar(text: String, is_plain: bool) -> Value {
    if !is_plain {
        return Value::Text(text);
    }
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if is_number(number) => Value::Number(text),
        _ => Value::Text(text),
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let special = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"];
    let plain = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.parse::<f64>().is_ok();
    plain || special.contains(&unsigned)
}

fn as_key(node: Node) -> Result<Key, YamlError> {
    let span = node.span;
    match node.value {
        Value::Text(text) => {
            let is_merge = text == "<<" && span.len() == 2;
            Ok(Key { text, span, is_merge })
        }
        Value::Number(text) => Ok(Key { text, span, is_merge: false }),
        Value::Bool(value) => Ok(Key { text: value.to_string(), span, is_merge: false }),
        Value::Null => Ok(Key { text: String::new(), span, is_merge: false }),
        Value::List(_) | Value::Map(_) => Err(syntax(span, "a key is a text, not a list or map")),
    }
}

/// Adds the entries of `<<` whose keys are not there.
fn merge(entries: &mut Vec<Entry>, merged: Vec<Node>) -> Result<(), YamlError> {
    if merged.is_empty() {
        return Ok(());
    }
    let mut keys: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    let mut maps = Vec::new();
    for node in merged {
        match node.value {
            Value::List(items) => maps.extend(items),
            _ => maps.push(node),
        }
    }
    for node in maps {
        let Value::Map(more) = node.value else {
            return Err(syntax(node.span, "`<<` takes a map or a list of maps"));
        };
        entries.extend(more.into_iter().filter(|entry| keys.insert(entry.key.clone())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(node: &Node) -> &[Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            other => panic!("a map was expected, not {other:?}"),
        }
    }

    #[test]
    fn numbers_keep_their_writing_and_spans_are_exact() {
        let source = "a: 3.10\nb: 1e-5\nc: \"1e-5\"\nd: [x, 'y z']\ne: yes\nf: true\ng:\n";
        let tree = read(source).unwrap();
        let entries = entries(&tree);
        assert!(matches!(&entries[0].node.value, Value::Number(n) if n == "3.10"));
        assert!(matches!(&entries[1].node.value, Value::Number(n) if n == "1e-5"));
        assert!(matches!(&entries[2].node.value, Value::Text(n) if n == "1e-5"));
        assert_eq!(&source[entries[0].key_span.clone()], "a");
        assert_eq!(&source[entries[0].node.span.clone()], "3.10");
        let Value::List(items) = &entries[3].node.value else { panic!("a list") };
        assert_eq!(&source[items[0].span.clone()], "x");
        assert_eq!(&source[items[1].span.clone()], "'y z'");
        assert!(matches!(&entries[4].node.value, Value::Text(t) if t == "yes"));
        assert!(matches!(entries[5].node.value, Value::Bool(true)));
        assert!(matches!(entries[6].node.value, Value::Null));
    }

    #[test]
    fn anchors_and_merges_work_within_the_budget() {
        let source = "x-base: &b { cpu: 2 }\na:\n  <<: *b\n  memory: 1GB\nc: *b\n";
        let tree = read(source).unwrap();
        let entries = entries(&tree);
        let Value::Map(merged) = &entries[1].node.value else { panic!("a map") };
        let mut keys: Vec<_> = merged.iter().map(|e| e.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["cpu", "memory"]);
    }

    #[test]
    fn merges_give_what_the_map_has_not_and_refuse_what_is_no_map() {
        let tree = read("a: &a { k: 1, l: 2 }\nb: { <<: [*a, { m: 3 }], k: 9 }\n").unwrap();
        let Value::Map(merged) = &entries(&tree)[1].node.value else { panic!("a map") };
        let shown: Vec<_> = merged.iter().map(|e| (e.key.as_str(), &e.node.value)).collect();
        assert!(matches!(shown[0], ("k", Value::Number(n)) if n == "9"), "{shown:?}");
        assert_eq!(shown.iter().map(|(k, _)| *k).collect::<Vec<_>>(), ["k", "l", "m"]);
        assert_eq!(read("b: { <<: 1 }\n").unwrap_err().code, Code::Syntax);
        // Quoted, it is a key like any other.
        assert_eq!(entries(&read("\"<<\": 1\n").unwrap())[0].key, "<<");
    }

    #[test]
    fn an_alias_inside_its_own_anchor_and_unknown_tags_are_refused() {
        for source in ["a: &a [*a]\n", "a: *b\n", "a: !ref x\n", "a: !ref [x]\n", "? [a]\n: b\n"] {
            assert_eq!(read(source).unwrap_err().code, Code::Syntax, "{source}");
        }
        let tree = read("a: !!str 1\n").unwrap();
        assert!(matches!(&entries(&tree)[0].node.value, Value::Text(t) if t == "1"));
    }

    #[test]
    fn two_documents_are_refused() {
        let error = read("a: 1\n---\nb: 2\n").unwrap_err();
        assert_eq!(error.code, Code::Syntax);
    }
}
