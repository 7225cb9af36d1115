//! The top level of the file.

use std::collections::BTreeMap;

use runyard_types::{Name, PipelineName, StageName};

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::read::cx::{Cx, Shape};
use crate::read::draft::Draft;
use crate::read::{param, stage};
use crate::yaml::{Node, Value};

pub(crate) const ROOT: Shape = Shape {
    what: "the file",
    keys: &["version", "name", "params", "defaults", "stages"],
    unbuilt: &[
        ("triggers", Code::TriggersNotBuilt),
        ("secrets", Code::SecretsNotBuilt),
        ("concurrency", Code::ConcurrencyNotBuilt),
        ("image", Code::ContainerNotBuilt),
    ],
};

/// Reads the whole tree.
pub(crate) fn root(cx: &mut Cx<'_>, node: &Node) -> Draft {
    let mut draft =
        Draft { name: None, params: BTreeMap::new(), param_names: Vec::new(), stages: Vec::new() };
    let Some(fields) = cx.fields(node, &ROOT) else { return draft };
    if let Some(node) = fields.require(cx, "version") {
        version(cx, node);
    } else {
        cx.help("begin the file with `version: 1`");
    }
    if let Some(node) = fields.require(cx, "name") {
        draft.name = cx.name(node, "`name`", PipelineName::new);
    }
    if let Some(node) = fields.get("params") {
        for (name, entry) in cx.named(node, "`params`", Name::new) {
            draft.param_names.push((name.clone(), entry.key_span.clone()));
            if let Some(param) = param::param(cx, &name, &entry.node) {
                draft.params.insert(name, (param, entry.key_span.clone()));
            }
        }
    }
    let defaults = match fields.get("defaults") {
        Some(node) => stage::defaults(cx, node),
        None => stage::Defaults::default(),
    };
    if let Some(node) = fields.require(cx, "stages") {
        let named = cx.named(node, "`stages`", StageName::new);
        if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
            cx.error(Code::NoStages, &node.span, "the pipeline has no stages");
        }
        for (name, entry) in named {
            if name.as_str().contains('.') {
                let message = format!("the stage's name `{name}` holds a `.`");
                cx.error(Code::BadName, &entry.key_span, message);
                cx.help("outputs are referred to as `stage.output`; use `-` or `_`");
            }
            draft.stages.push(stage::stage(cx, name, entry, &defaults));
        }
    }
    draft
}

fn version(cx: &mut Cx<'_>, node: &Node) {
    let Some(text) = cx.text(node, "`version`") else { return };
    if text != "1" {
        let message = format!("`version: {}` is not known", shown(text));
        cx.error(Code::UnsupportedVersion, &node.span, message);
        cx.help("this release reads `version: 1`");
    }
}
