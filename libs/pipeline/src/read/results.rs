//! `results:` - how an evaluation hands over its examples.

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::model::{ErrorRows, Missing, Results};
use crate::read::cx::{Cx, Shape};
use crate::read::scalar::parse_float;
use crate::yaml::{Node, Value};

pub(crate) const RESULTS: Shape =
    Shape { what: "`results`", keys: &["files", "id", "error-rows", "missing"], unbuilt: &[] };

/// Reads `results:`, patterns or a map.
pub(crate) fn results(cx: &mut Cx<'_>, node: &Node) -> Results {
    const ERROR_ROWS: &[(&str, ErrorRows)] =
        &[("zero", ErrorRows::Zero), ("drop", ErrorRows::Drop), ("fail", ErrorRows::Fail)];
    let mut results = Results::default();
    if !matches!(node.value, Value::Map(_)) {
        results.files = cx.globs(node, "`results`");
        return results;
    }
    let Some(fields) = cx.fields(node, &RESULTS) else { return results };
    if let Some(node) = fields.get("files") {
        results.files = cx.globs(node, "`files`");
    }
    results.id = fields.get("id").and_then(|node| cx.filled(node, "`id`")).map(str::to_owned);
    if let Some(node) = fields.get("error-rows") {
        results.error_rows = cx.choice(node, "`error-rows`", ERROR_ROWS).unwrap_or_default();
    }
    if let Some(node) = fields.get("missing") {
        results.missing = missing(cx, node).unwrap_or_default();
    }
    results
}

/// `drop <= 1%`
fn missing(cx: &mut Cx<'_>, node: &Node) -> Option<Missing> {
    let text = cx.text(node, "`missing`")?;
    let limit = text.trim().strip_prefix("drop").map(str::trim_start);
    let limit = limit.and_then(|rest| rest.strip_prefix("<=")).map(str::trim);
    let at_most = limit.and_then(|limit| match limit.strip_suffix('%') {
        Some(percent) => parse_float(&format!("{}e-2", percent.trim_end())),
        None => parse_float(limit),
    });
    match at_most.filter(|limit| (0.0..=1.0).contains(limit)) {
        Some(at_most) => Some(Missing::Drop { at_most }),
        None => {
            let message = format!("`missing: {}` is not understood", shown(text));
            cx.error(Code::OutOfRange, &node.span, message);
            cx.help("write `missing: drop <= 1%`");
            None
        }
    }
}
