//! `gate:` - results, the model compared with, checks, and what is promoted.

use runyard_types::{Name, StageName};

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::model::{
    Against, Check, Correction, Gate, Goal, IfNone, Inconclusive, ModelAt, OnFail, Promote,
};
use crate::read::cx::{Cx, Fields, Shape};
use crate::read::data::{model_ref, output_ref};
use crate::read::draft::{Link, LinkKind, Spot, StageDraft};
use crate::yaml::{Node, Value};

/// The one-sided level where none is written.
const ALPHA_DEFAULT: f64 = 0.05;

pub(crate) const GATE: Shape = Shape {
    what: "`gate`",
    keys: &["results", "against", "checks", "correct", "inconclusive", "promote"],
    unbuilt: &[],
};

pub(crate) const AGAINST: Shape = Shape {
    what: "`against`",
    keys: &["model", "if-none", "stored"],
    unbuilt: &[("anchor", Code::AnchorNotBuilt)],
};

pub(crate) const CHECK: Shape = Shape {
    what: "a check",
    keys: &["metric", "stat", "goal", "min", "max", "margin", "by", "alpha", "method", "on-fail"],
    unbuilt: &[],
};

pub(crate) const PROMOTE: Shape = Shape { what: "`promote`", keys: &["model", "to"], unbuilt: &[] };

/// Reads `gate:`.
pub(crate) fn gate(cx: &mut Cx<'_>, node: &Node, draft: &mut StageDraft) -> Option<Gate> {
    let fields = cx.fields(node, &GATE)?;
    let results = fields.require(cx, "results").and_then(|node| {
        draft.spans.insert(Spot::GateResults, node.span.clone());
        let to = cx.name(node, "`results`", StageName::new)?;
        let span = node.span.clone();
        draft.links.push(Link { to: to.clone(), output: None, span, kind: LinkKind::Results });
        Some(to)
    });
    let against = fields.get("against").and_then(|node| {
        draft.spans.insert(Spot::Against, node.span.clone());
        against(cx, node)
    });
    let checks = fields.require(cx, "checks");
    let mut named = std::collections::BTreeMap::new();
    if let Some(node) = checks {
        draft.spans.insert(Spot::Checks, node.span.clone());
        if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
            cx.error(Code::OutOfRange, &node.span, "a gate without checks would pass everything");
        }
        for (name, entry) in cx.named(node, "`checks`", Name::new) {
            let compared = fields.get("against").is_some();
            if let Some(check) = check(cx, &name, &entry.node, compared) {
                named.insert(name, check);
            }
        }
    }
    let correct = fields.get("correct").and_then(|node| {
        const WORDS: &[(&str, Correction)] =
            &[("holm", Correction::Holm), ("bh", Correction::Bh), ("none", Correction::None)];
        cx.choice(node, "`correct`", WORDS)
    });
    let inconclusive = fields.get("inconclusive").and_then(|node| {
        const WORDS: &[(&str, Inconclusive)] = &[
            ("block", Inconclusive::Block),
            ("ask", Inconclusive::Ask),
            ("allow", Inconclusive::Allow),
        ];
        cx.choice(node, "`inconclusive`", WORDS)
    });
    let promote = fields.get("promote").and_then(|node| promote(cx, node, draft));
    Some(Gate {
        results: results?,
        against,
        checks: named,
        correct: correct.unwrap_or_default(),
        inconclusive: inconclusive.unwrap_or_default(),
        promote,
    })
}

/// `digits@champion` or a map.
fn against(cx: &mut Cx<'_>, node: &Node) -> Option<Against> {
    if !matches!(node.value, Value::Map(_)) {
        let text = cx.filled(node, "`against`")?;
        let model = model_ref(cx, node, text)?;
        return Some(Against { model, if_none: IfNone::default(), stored_allow: false });
    }
    let fields = cx.fields(node, &AGAINST)?;
    let if_none = fields.get("if-none").and_then(|node| {
        const WORDS: &[(&str, IfNone)] =
            &[("absolute", IfNone::Absolute), ("block", IfNone::Block)];
        cx.choice(node, "`if-none`", WORDS)
    });
    let stored =
        fields.get("stored").and_then(|node| cx.choice(node, "`stored`", &[("allow", true)]));
    let node = fields.require(cx, "model")?;
    let text = cx.filled(node, "`model`")?;
    let model = model_ref(cx, node, text)?;
    Some(Against {
        model,
        if_none: if_none.unwrap_or_default(),
        stored_allow: stored.unwrap_or_default(),
    })
}

fn check(cx: &mut Cx<'_>, name: &Name, node: &Node, compared: bool) -> Option<Check> {
    let fields = cx.fields(node, &CHECK)?;
    let metric = fields.require(cx, "metric").and_then(|node| cx.filled(node, "`metric`"));
    let stat = match fields.get("stat") {
        Some(node) => stat(cx, node)?,
        None => "mean".into(),
    };
    let goal = fields
        .get("goal")
        .and_then(|node| cx.choice(node, "`goal`", &[("max", Goal::Max), ("min", Goal::Min)]));
    let min = fields.get("min").and_then(|node| cx.ratio(node, "`min`"));
    let max = fields.get("max").and_then(|node| cx.ratio(node, "`max`"));
    let margin = fields.get("margin").and_then(|node| margin(cx, node));
    bounds(cx, name, fields, compared);
    if let (Some(low), Some(high), Some(node)) = (min, max, fields.get("max"))
        && low > high
    {
        let message = format!("the check `{name}` has `min` {low} above `max` {high}");
        cx.error(Code::OutOfRange, &node.span, message);
    }
    let alpha = fields.get("alpha").map_or(Some(ALPHA_DEFAULT), |node| alpha(cx, node));
    let on_fail = fields.get("on-fail").and_then(|node| {
        cx.choice(node, "`on-fail`", &[("reject", OnFail::Reject), ("warn", OnFail::Warn)])
    });
    let method = fields.get("method").and_then(|node| cx.name(node, "`method`", Name::new));
    Some(Check {
        metric: metric?.to_owned(),
        stat,
        goal: goal.unwrap_or_default(),
        min,
        max,
        margin,
        by: fields.get("by").and_then(|node| cx.filled(node, "`by`")).map(str::to_owned),
        alpha: alpha?,
        method: method.map(|name| name.as_str().to_owned()),
        on_fail: on_fail.unwrap_or_default(),
    })
}

/// Refuses a check that checks nothing, and a margin with nothing to compare with.
fn bounds(cx: &mut Cx<'_>, name: &Name, fields: Fields<'_>, compared: bool) {
    if ["min", "max", "margin"].iter().all(|key| fields.get(key).is_none()) {
        cx.error(Code::MissingKey, fields.span, format!("the check `{name}` has no bound"));
        cx.help("give it a `min` or `max`, or a `margin` to the model that it is compared with");
    }
    if let (Some(entry), false) = (fields.entry("margin"), compared) {
        let message =
            format!("the check `{name}` has a `margin`, but the gate compares with nothing");
        cx.error(Code::KeyOutOfPlace, &entry.key_span, message);
        cx.help("name the model under `against:`");
    }
}

/// `mean`, or a quantile.
fn stat(cx: &mut Cx<'_>, node: &Node) -> Option<String> {
    let text = cx.text(node, "`stat`")?;
    let quantile = text.strip_prefix('p').and_then(|q| q.parse::<u8>().ok());
    let quantile = quantile.filter(|q| (1..=99).contains(q) && text == format!("p{q}"));
    if text == "mean" || quantile.is_some() {
        return Some(text.to_owned());
    }
    let message = format!("`stat` is `mean` or a quantile, but this is `{}`", shown(text));
    cx.error(Code::OutOfRange, &node.span, message);
    cx.help("write `mean`, or `p1` to `p99`");
    None
}

fn margin(cx: &mut Cx<'_>, node: &Node) -> Option<f64> {
    if let Value::Text(text) = &node.value
        && text.ends_with('%')
    {
        let message = format!("`margin: {}` could mean points or a part of the value", shown(text));
        cx.error(Code::OutOfRange, &node.span, message);
        cx.help(format!("write points, `{}pt`", shown(text.trim_end_matches('%').trim_end())));
        return None;
    }
    let margin = cx.ratio(node, "`margin`")?;
    if margin < 0.0 {
        cx.error(Code::OutOfRange, &node.span, "`margin` is below zero");
        cx.help("a margin says how much worse is still accepted; 0 asks for better");
        return None;
    }
    // -0 is written differently in canonical JSON.
    Some(margin + 0.0)
}

fn alpha(cx: &mut Cx<'_>, node: &Node) -> Option<f64> {
    let alpha = cx.ratio(node, "`alpha`")?;
    if alpha > 0.0 && alpha < 0.5 {
        return Some(alpha);
    }
    cx.error(Code::OutOfRange, &node.span, "`alpha` lies between 0 and 0.5, exclusively");
    None
}

/// `{ model: train.model, to: churn@champion }`
fn promote(cx: &mut Cx<'_>, node: &Node, draft: &mut StageDraft) -> Option<Promote> {
    let fields = cx.fields(node, &PROMOTE)?;
    let output = fields.require(cx, "model").and_then(|node| {
        draft.spans.insert(Spot::Promote, node.span.clone());
        output_ref(cx, node, LinkKind::Promote, &mut draft.links)
    });
    let node = fields.require(cx, "to")?;
    let text = cx.filled(node, "`to`")?;
    let target = model_ref(cx, node, text)?;
    let ModelAt::Alias(alias) = target.at else {
        let message = format!("`{}` is a version; versions never move", shown(text));
        cx.error(Code::BadReference, &node.span, message);
        cx.help(format!("name an alias, such as `{}@champion`", target.name));
        return None;
    };
    let (stage, output) = output?;
    Some(Promote { stage, output, model: target.name, alias })
}
