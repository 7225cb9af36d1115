//! Pieces of YAML.

use runyard_types::Name;

use crate::commands::init::options::{Kind, Opt};
use crate::commands::init::python::Value;

/// A string as YAML: plain where that is safe, else in double quotes (JSON's are YAML's).
pub(super) fn text(value: &str) -> String {
    let first = value.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let tame = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    let word = matches!(
        value.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "true" | "false" | "on" | "off" | "null"
    );
    match first && tame && !word {
        true => value.to_owned(),
        false => serde_json::Value::from(value).to_string(),
    }
}

/// A literal of Python as YAML, if it is a scalar.
fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(value) => text(value),
        Value::None | Value::List(_) | Value::Code(_) => return None,
    })
}

/// The `params:` block; nothing without parameters.
pub(super) fn params(options: &[Opt]) -> String {
    if options.is_empty() {
        return String::new();
    }
    let mut out = "\n# Set them with `runyard run -p NAME=VALUE`; stages see them as $RUNYARD_PARAM_NAME.\nparams:\n".to_owned();
    for option in options {
        let kind = match option.kind {
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Float => "float",
            Kind::Text => "string",
        };
        let mut fields = vec![format!("type: {kind}")];
        if let Some(default) = option.default.as_ref().and_then(|value| typed(value, option.kind)) {
            fields.push(format!("default: {default}"));
        }
        let choices: Option<Vec<String>> =
            option.choices.iter().map(|value| typed(value, option.kind)).collect();
        if let Some(choices) = choices.filter(|choices| !choices.is_empty()) {
            fields.push(format!("choices: [{}]", choices.join(", ")));
        }
        if !option.help.is_empty() {
            // argparse's %(default)s says what stands beside it anyway.
            let help = option.help.split(" (default").next().unwrap_or_default();
            fields.push(format!("help: {}", serde_json::Value::from(help.replace("%%", "%"))));
        }
        out.push_str(&format!("  {}: {{ {} }}\n", option.name, fields.join(", ")));
    }
    out
}

/// A value in the form of its parameter's type; an int serves as a float and any scalar as a string.
fn typed(value: &Value, kind: Kind) -> Option<String> {
    match (kind, value) {
        (Kind::Int, Value::Int(_)) | (Kind::Bool, Value::Bool(_)) => scalar(value),
        (Kind::Float, Value::Int(number)) => Some(format!("{number}.0")),
        (Kind::Float, Value::Float(_)) => scalar(value),
        (Kind::Text, Value::Text(value)) => Some(text(value)),
        (Kind::Text, Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
            Some(serde_json::Value::from(scalar(value)?).to_string())
        }
        _ => None,
    }
}

/// Whether a default fits its option's type, so that a parameter can have it.
pub(super) fn fits(option: &Opt) -> bool {
    option.default.as_ref().is_some_and(|value| typed(value, option.kind).is_some())
}

/// A name made of a path's last part.
pub(super) fn name(path: &str) -> String {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = last.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let tame: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let tame = tame.trim_matches(['-', '_']).to_owned();
    if Name::new(&tame).is_ok() { tame } else { "data".into() }
}
