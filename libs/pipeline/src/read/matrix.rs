//! `matrix:` - the axes and what is left out.

use std::collections::BTreeMap;
use std::ops::Range;

use runyard_types::Name;

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::model::Matrix;
use crate::read::cx::{Cx, Shape};
use crate::read::draft::Spot;
use crate::yaml::{Node, Value};

/// The longest value of an axis, in bytes: values are parts of folder names.
const VALUE_BYTES_MAX: usize = 100;

pub(crate) const MATRIX: Shape = Shape {
    what: "`matrix`",
    keys: &["axes", "exclude", "fail-fast", "max-parallel"],
    unbuilt: &[],
};

/// Reads `matrix:`.
pub(crate) fn matrix(
    cx: &mut Cx<'_>,
    node: &Node,
    spans: &mut BTreeMap<Spot, Range<usize>>,
) -> Option<Matrix> {
    let fields = cx.fields(node, &MATRIX)?;
    let mut matrix = Matrix::default();
    let axes = fields.require(cx, "axes");
    if axes.is_none() {
        cx.help("options never stand among names: `matrix: { axes: { seed: [0, 1] } }`");
    }
    let axes = axes?;
    for (name, entry) in cx.named(axes, "`axes`", Name::new) {
        spans.insert(Spot::Axis(name.clone()), entry.key_span.clone());
        if let Some(values) = values(cx, &name, &entry.node) {
            matrix.axes.insert(name, values);
        }
    }
    if matches!(&axes.value, Value::Map(entries) if entries.is_empty()) {
        cx.error(Code::OutOfRange, &axes.span, "`axes` is empty");
    }
    if let Some(node) = fields.get("exclude") {
        let items: Vec<_> = match &node.value {
            Value::List(items) => items.iter().collect(),
            Value::Map(_) => vec![node],
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
                cx.wrong_type(node, "`exclude`", "a list of maps");
                Vec::new()
            }
        };
        for item in items {
            matrix.exclude.extend(exclude(cx, &matrix, item));
        }
    }
    if let Some(node) = fields.get("fail-fast") {
        matrix.fail_fast = cx.boolean(node, "`fail-fast`").unwrap_or(false);
    }
    if let Some(node) = fields.get("max-parallel") {
        matrix.max_parallel = cx.integer(node, "`max-parallel`", 1, 10_000);
    }
    Some(matrix)
}

fn values(cx: &mut Cx<'_>, name: &Name, node: &Node) -> Option<Vec<String>> {
    let Value::List(items) = &node.value else {
        cx.wrong_type(node, &format!("the axis `{name}`"), "a list");
        return None;
    };
    if items.is_empty() {
        cx.error(Code::OutOfRange, &node.span, format!("the axis `{name}` has no values"));
        cx.help("a stage whose matrix is empty would never run");
        return None;
    }
    let mut values = Vec::with_capacity(items.len());
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        let what = format!("a value of the axis `{name}`");
        let Some(text) = cx.text(item, &what) else { continue };
        if text.is_empty() || text.len() > VALUE_BYTES_MAX || text.chars().any(char::is_control) {
            let message = format!("{what} has 1 to {VALUE_BYTES_MAX} bytes of one line");
            cx.error(Code::OutOfRange, &item.span, message);
        } else if !seen.insert(text) {
            let message = format!("the axis `{name}` has the value `{}` twice", shown(text));
            cx.error(Code::OutOfRange, &item.span, message);
        } else {
            values.push(text.to_owned());
        }
    }
    Some(values)
}

/// One entry of `exclude`, whose axes and values must exist.
fn exclude(cx: &mut Cx<'_>, matrix: &Matrix, node: &Node) -> Option<BTreeMap<Name, String>> {
    let mut point = BTreeMap::new();
    let named = cx.named(node, "an entry of `exclude`", Name::new);
    for (name, entry) in named {
        let Some(text) = cx.text(&entry.node, "a value of `exclude`") else { continue };
        match matrix.axes.get(&name) {
            None => {
                let message = format!("`exclude` names `{name}`, which is no axis");
                cx.error(Code::OutOfRange, &entry.key_span, message);
                cx.suggest(name.as_str(), matrix.axes.keys().map(Name::as_str));
            }
            Some(values) if !values.iter().any(|value| value == text) => {
                let message = format!("the axis `{name}` has no value `{}`", shown(text));
                cx.error(Code::OutOfRange, &entry.node.span, message);
                cx.suggest(text, values.iter().map(String::as_str));
            }
            Some(_) => {
                point.insert(name, text.to_owned());
            }
        }
    }
    if point.is_empty() {
        if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
            cx.error(
                Code::OutOfRange,
                &node.span,
                "an empty entry of `exclude` leaves out everything",
            );
        }
        return None;
    }
    Some(point)
}
