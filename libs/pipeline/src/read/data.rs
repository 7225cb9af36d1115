//! Inputs, outputs and variables of a stage.

use std::collections::BTreeMap;
use std::ops::Range;

use runyard_types::{AliasName, ModelName, Name, StageName};

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::model::{Collect, Input, ModelAt, ModelRef, Output, Source};
use crate::read::cx::{Cx, Fields, Shape};
use crate::read::draft::{Link, LinkKind, Spot, StageDraft};
use crate::read::scalar::{host_path, relative_path};
use crate::yaml::{Node, Value};

pub(crate) const INPUT: Shape =
    Shape { what: "an input", keys: &["from", "at", "digest"], unbuilt: &[] };

pub(crate) const OUTPUT: Shape =
    Shape { what: "an output", keys: &["path", "type", "from"], unbuilt: &[] };

/// Schemes whose fetching is not built yet.
const REMOTE: &[(&str, Code)] = &[
    ("s3://", Code::RemoteInputNotBuilt),
    ("gs://", Code::RemoteInputNotBuilt),
    ("az://", Code::RemoteInputNotBuilt),
    ("http://", Code::RemoteInputNotBuilt),
    ("https://", Code::RemoteInputNotBuilt),
    ("hf://", Code::RemoteInputNotBuilt),
    ("dataset://", Code::DatasetNotBuilt),
];

/// Reads `inputs:` and `evaluates:`, which are inputs that another model may take the place of.
pub(crate) fn inputs(cx: &mut Cx<'_>, fields: Fields<'_>, draft: &mut StageDraft) {
    for (key, what) in [("inputs", "`inputs`"), ("evaluates", "`evaluates`")] {
        let Some(node) = fields.get(key) else { continue };
        for (name, entry) in cx.named(node, what, Name::new) {
            if draft.spans.contains_key(&Spot::Input(name.clone())) {
                let message = format!("`{name}` stands in `inputs` and in `evaluates`");
                cx.error(Code::DuplicateKey, &entry.key_span, message);
                cx.help("what `evaluates` names is an input already");
                continue;
            }
            draft.spans.insert(Spot::Input(name.clone()), entry.key_span.clone());
            if let Some(input) = input(cx, &entry.node, &mut draft.links) {
                if key == "evaluates" {
                    draft.stage.evaluates.insert(name.clone());
                }
                draft.stage.inputs.insert(name, input);
            }
        }
    }
}

fn input(cx: &mut Cx<'_>, node: &Node, links: &mut Vec<Link>) -> Option<Input> {
    if !matches!(node.value, Value::Map(_)) {
        return Some(Input { source: source(cx, node, false, links)?, at: None });
    }
    let fields = cx.fields(node, &INPUT)?;
    let digest = fields.get("digest").and_then(|node| cx.boolean(node, "`digest`"));
    let at = fields.get("at").and_then(|node| cx.path(node, "`at`"));
    let from = fields.require(cx, "from")?;
    let source = source(cx, from, digest.unwrap_or(false), links)?;
    if let (Some(entry), false) = (fields.entry("digest"), matches!(source, Source::Mount { .. })) {
        cx.error(Code::KeyOutOfPlace, &entry.key_span, "`digest` is for `mount:` only");
        cx.help("everything else is recorded by its digest anyway");
    }
    Some(Input { source, at })
}

/// Reads `from:`.
fn source(cx: &mut Cx<'_>, node: &Node, digest: bool, links: &mut Vec<Link>) -> Option<Source> {
    let text = cx.filled(node, "an input's source")?;
    if let Some((scheme, code)) = REMOTE.iter().find(|(scheme, _)| text.starts_with(scheme)) {
        cx.not_built(*code, &node.span, &format!("`{scheme}`"));
        return None;
    }
    if text.contains("${{") {
        let message = "`${{ }}` is substituted in `env:` only";
        cx.error(Code::Interpolation, &node.span, message);
        return None;
    }
    if let Some(path) = text.strip_prefix("file:") {
        return checked_path(cx, node, path, relative_path).map(Source::File);
    }
    if let Some(path) = text.strip_prefix("mount:") {
        let path = checked_path(cx, node, path, host_path)?;
        return Some(Source::Mount { path, digest });
    }
    if let Some(model) = text.strip_prefix("model://") {
        return model_ref(cx, node, model).map(Source::Model);
    }
    if text.starts_with("sweep.") {
        cx.not_built(Code::SweepRefNotBuilt, &node.span, &format!("`{}`", shown(text)));
        return None;
    }
    let (stage, output) = output_ref(cx, node, LinkKind::Input, links)?;
    Some(Source::Output { stage, output })
}

fn checked_path(
    cx: &mut Cx<'_>,
    node: &Node,
    path: &str,
    check: fn(&str) -> Result<String, &'static str>,
) -> Option<String> {
    match check(path) {
        Ok(path) => Some(path),
        Err(reason) => {
            cx.error(Code::BadPath, &node.span, format!("the path `{}` {reason}", shown(path)));
            cx.help(
                "`file:` is relative to the pipeline's folder, `mount:` is absolute on the host",
            );
            None
        }
    }
}

/// Reads `stage.output` or `stage.outputs.NAME`, to be followed in the second pass.
pub(crate) fn output_ref(
    cx: &mut Cx<'_>,
    node: &Node,
    kind: LinkKind,
    links: &mut Vec<Link>,
) -> Option<(StageName, Name)> {
    let text = cx.filled(node, "a reference")?;
    let parts = text.split_once('.').and_then(|(stage, output)| {
        let output = output.strip_prefix("outputs.").unwrap_or(output);
        Some((StageName::new(stage).ok()?, Name::new(output).ok()?))
    });
    let Some((stage, output)) = parts else {
        let message = format!("`{}` is no source of an input", shown(text));
        cx.error(Code::BadReference, &node.span, message);
        cx.help("write `stage.output`, `file:PATH`, `mount:/PATH` or `model://NAME@ALIAS`");
        return None;
    };
    let span = node.span.clone();
    links.push(Link { to: stage.clone(), output: Some(output.clone()), span, kind });
    Some((stage, output))
}

/// Reads `NAME@VERSION-or-ALIAS`.
pub(crate) fn model_ref(cx: &mut Cx<'_>, node: &Node, text: &str) -> Option<ModelRef> {
    let Some((name, at)) = text.split_once('@') else {
        let message = format!("`{}` says no version or alias", shown(text));
        cx.error(Code::BadReference, &node.span, message);
        cx.help(format!("write `{}@champion` or `{}@3`", shown(text), shown(text)));
        return None;
    };
    let name = match ModelName::new(name) {
        Ok(name) => name,
        Err(error) => {
            cx.error(Code::BadName, &node.span, error.to_string());
            return None;
        }
    };
    if at.bytes().all(|b| b.is_ascii_digit()) && !at.is_empty() {
        let version = at.parse().ok().filter(|version| *version > 0);
        if version.is_none() {
            let message = format!("`{}` is no version; they count from 1", shown(at));
            cx.error(Code::BadReference, &node.span, message);
        }
        return Some(ModelRef { name, at: ModelAt::Version(version?) });
    }
    match AliasName::new(at) {
        Ok(alias) => Some(ModelRef { name, at: ModelAt::Alias(alias) }),
        Err(error) => {
            cx.error(Code::BadName, &node.span, error.to_string());
            None
        }
    }
}

/// Reads `outputs:`.
pub(crate) fn outputs(cx: &mut Cx<'_>, node: &Node, draft: &mut StageDraft) {
    for (name, entry) in cx.named(node, "`outputs`", Name::new) {
        draft.spans.insert(Spot::Output(name.clone()), entry.key_span.clone());
        if let Some(output) = output(cx, &entry.node) {
            draft.stage.outputs.insert(name, output);
        }
    }
}

fn output(cx: &mut Cx<'_>, node: &Node) -> Option<Output> {
    const FROM: &[(&str, Collect)] = &[("first", Collect::First), ("all", Collect::All)];
    let kind = "files".to_owned();
    if !matches!(node.value, Value::Map(_)) {
        let path = cx.path(node, "an output's path")?;
        return Some(Output { path, kind, from: Collect::First });
    }
    let fields = cx.fields(node, &OUTPUT)?;
    let from = fields.get("from").and_then(|node| cx.choice(node, "`from`", FROM));
    let kind = match fields.get("type") {
        Some(node) => cx.name(node, "`type`", Name::new)?.as_str().to_owned(),
        None => kind,
    };
    let path = fields.require(cx, "path").and_then(|node| cx.path(node, "`path`"))?;
    Some(Output { path, kind, from: from.unwrap_or_default() })
}

/// Reads `env:`. Expressions in the values are checked in the second pass.
pub(crate) fn env(
    cx: &mut Cx<'_>,
    node: &Node,
    spans: &mut BTreeMap<Spot, Range<usize>>,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let Value::Map(entries) = &node.value else {
        cx.wrong_type(node, "`env`", "a map");
        return env;
    };
    for entry in entries {
        let key = entry.key.as_str();
        let plain = !key.is_empty()
            && !key.starts_with(|c: char| c.is_ascii_digit())
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain {
            let message = format!("`{}` is no name of a variable", shown(key));
            cx.error(Code::BadName, &entry.key_span, message);
            cx.help("letters, digits and `_`, no digit first");
            continue;
        }
        if key.starts_with("RUNYARD_") {
            cx.error(Code::OutOfRange, &entry.key_span, format!("`{key}` is set by Runyard"));
            continue;
        }
        if env.contains_key(key) {
            let message = format!("`{key}` stands twice in `env`");
            cx.error(Code::DuplicateKey, &entry.key_span, message);
            continue;
        }
        if let Some(value) = cx.text(&entry.node, &format!("`{key}`")) {
            spans.insert(Spot::Env(key.to_owned()), entry.node.span.clone());
            env.insert(key.to_owned(), value.to_owned());
        }
    }
    env
}
