//! `params:` - declarations, short (`epochs: 10`) or long.

use runyard_types::Name;

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::model::{Param, ParamType, ParamValue};
use crate::params::{check_value, parse_value};
use crate::read::cx::{Cx, Shape};
use crate::read::scalar::parse_float;
use crate::yaml::{Node, Value};

pub(crate) const PARAM: Shape = Shape {
    what: "a parameter",
    keys: &["type", "default", "min", "max", "choices", "help"],
    unbuilt: &[],
};

const TYPES: &[(&str, ParamType)] = &[
    ("int", ParamType::Int),
    ("float", ParamType::Float),
    ("string", ParamType::String),
    ("bool", ParamType::Bool),
];

/// Reads one declaration.
pub(crate) fn param(cx: &mut Cx<'_>, name: &Name, node: &Node) -> Option<Param> {
    if !matches!(node.value, Value::Map(_)) {
        let default = literal(cx, name, node)?;
        let kind = default.kind();
        return Some(Param {
            kind,
            default: Some(default),
            min: None,
            max: None,
            choices: Vec::new(),
            help: None,
        });
    }
    let fields = cx.fields(node, &PARAM)?;
    let kind = match fields.get("type") {
        Some(node) => cx.choice(node, "`type`", TYPES)?,
        None => match fields.get("default") {
            Some(node) => literal(cx, name, node)?.kind(),
            None => {
                let message = format!("parameter `{name}` has neither `type` nor `default`");
                cx.error(Code::MissingKey, fields.span, message);
                cx.help("write `{ type: float }` for a parameter that must be given");
                return None;
            }
        },
    };
    let mut param =
        Param { kind, default: None, min: None, max: None, choices: Vec::new(), help: None };
    param.min = bound(cx, &param, fields.get("min"), "`min`");
    param.max = bound(cx, &param, fields.get("max"), "`max`");
    if let (Some(min), Some(max), Some(node)) = (param.min, param.max, fields.get("max"))
        && min > max
    {
        let message = format!("parameter `{name}` has `min` {min} above `max` {max}");
        cx.error(Code::BadParameter, &node.span, message);
    }
    if let Some(node) = fields.get("choices") {
        let items = cx.items(node, "`choices`");
        if items.is_empty() {
            cx.error(Code::BadParameter, &node.span, format!("parameter `{name}` has no choices"));
        }
        let typed = items.into_iter().filter_map(|item| typed(cx, name, &param, item));
        param.choices = typed.collect();
    }
    param.default = fields.get("default").and_then(|node| typed(cx, name, &param, node));
    param.help = fields.get("help").and_then(|node| cx.text(node, "`help`")).map(str::to_owned);
    Some(param)
}

/// A value whose type is seen from its writing.
fn literal(cx: &mut Cx<'_>, name: &Name, node: &Node) -> Option<ParamValue> {
    match &node.value {
        Value::Bool(value) => Some(ParamValue::Bool(*value)),
        Value::Text(_) => cx.text(node, "the value").map(|text| ParamValue::String(text.into())),
        Value::Number(text) => {
            let value = match text.parse() {
                Ok(int) => Some(ParamValue::Int(int)),
                Err(_) => parse_float(text).map(ParamValue::Float),
            };
            if value.is_none() {
                let message =
                    format!("parameter `{name}`: `{}` is no finite decimal number", shown(text));
                cx.error(Code::BadParameter, &node.span, message);
            }
            value
        }
        Value::Null | Value::List(_) | Value::Map(_) => {
            cx.wrong_type(node, &format!("parameter `{name}`"), "a value or a declaration");
            None
        }
    }
}

/// A value of the parameter's type and within its limits.
fn typed(cx: &mut Cx<'_>, name: &Name, param: &Param, node: &Node) -> Option<ParamValue> {
    let text = cx.text(node, &format!("parameter `{name}`"))?;
    let value = parse_value(name, param.kind, text)
        .and_then(|value| check_value(name, param, &value).map(|()| value));
    match value {
        Ok(value) => Some(value),
        Err(error) => {
            cx.error(Code::BadParameter, &node.span, error.to_string());
            None
        }
    }
}

fn bound(cx: &mut Cx<'_>, param: &Param, node: Option<&Node>, what: &str) -> Option<f64> {
    let node = node?;
    if !matches!(param.kind, ParamType::Int | ParamType::Float) {
        let message = format!("{what} is for int and float, but the parameter is {}", param.kind);
        cx.error(Code::BadParameter, &node.span, message);
        return None;
    }
    cx.number(node, what)
}
