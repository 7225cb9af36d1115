//! `python:` - where the environment of a stage comes from.

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::model::{Python, PythonSource};
use crate::read::cx::{Cx, Shape};
use crate::read::scalar::{host_path, relative_path};
use crate::yaml::{Node, Value};

pub(crate) const PYTHON: Shape = Shape {
    what: "`python`",
    keys: &["requirements", "project", "lock", "venv", "version", "index"],
    unbuilt: &[("conda", Code::CondaNotBuilt)],
};

const SOURCES: &[&str] = &["requirements", "project", "lock", "venv"];

/// Reads `python:`, a file's name or a map.
pub(crate) fn python(cx: &mut Cx<'_>, node: &Node) -> Option<Python> {
    if !matches!(node.value, Value::Map(_)) {
        let path = cx.path(node, "`python`")?;
        let file = path.rsplit('/').next().unwrap_or(&path);
        let source = if file == "pyproject.toml" {
            PythonSource::Project(path)
        } else if file.ends_with(".lock") || file == "pylock.toml" {
            PythonSource::Lock(path)
        } else {
            PythonSource::Requirements(path)
        };
        return Some(Python { source, version: None, index: None });
    }
    let fields = cx.fields(node, &PYTHON)?;
    let version = fields.get("version").and_then(|node| version(cx, node));
    let index = fields.get("index").and_then(|node| index(cx, node));
    let given: Vec<_> = SOURCES.iter().filter_map(|key| fields.entry(key)).collect();
    let entry = match given.as_slice() {
        [entry] => *entry,
        [] => {
            // `conda` alone is refused by its own code.
            if fields.entry("conda").is_none() {
                let message = "`python` names no environment";
                cx.error(Code::MissingKey, fields.span, message);
                cx.help("name a file: `requirements`, `project`, `lock`, or an existing `venv`");
            }
            return None;
        }
        [first, second, ..] => {
            let message = format!("`python` takes `{}` or `{}`, not both", first.key, second.key);
            cx.error(Code::KeyOutOfPlace, &second.key_span, message);
            return None;
        }
    };
    let source = match entry.key.as_str() {
        "requirements" => PythonSource::Requirements(cx.path(&entry.node, "`requirements`")?),
        "lock" => PythonSource::Lock(cx.path(&entry.node, "`lock`")?),
        "project" => PythonSource::Project(project(cx, &entry.node)?),
        _ => PythonSource::Venv(venv(cx, &entry.node)?),
    };
    Some(Python { source, version, index })
}

/// A project may be the workspace itself.
fn project(cx: &mut Cx<'_>, node: &Node) -> Option<String> {
    if matches!(&node.value, Value::Text(text) if text == "." || text == "./") {
        return Some("pyproject.toml".into());
    }
    cx.path(node, "`project`")
}

fn venv(cx: &mut Cx<'_>, node: &Node) -> Option<String> {
    let text = cx.text(node, "`venv`")?;
    let path = if text.starts_with('/') { host_path(text) } else { relative_path(text) };
    if let Err(reason) = &path {
        cx.error(Code::BadPath, &node.span, format!("`venv` `{}` {reason}", shown(text)));
        cx.help("name an environment by its absolute path on the host, or within the snapshot");
    }
    path.ok()
}

/// `3`, `3.11` or `3.11.4`. YAML would read `3.10` as 3.1; the text as written counts.
fn version(cx: &mut Cx<'_>, node: &Node) -> Option<String> {
    let text = cx.text(node, "`version`")?;
    let parts: Vec<_> = text.split('.').collect();
    let numeric =
        |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if parts.len() <= 3 && parts.iter().all(numeric) {
        return Some(text.to_owned());
    }
    let message = format!("`{}` is no Python version", shown(text));
    cx.error(Code::BadQuantity, &node.span, message);
    cx.help("write it like `3.11`");
    None
}

fn index(cx: &mut Cx<'_>, node: &Node) -> Option<String> {
    let text = cx.text(node, "`index`")?;
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = host.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
    let problem = match host {
        None | Some("") => "is no http(s) address",
        Some(host) if host.contains('@') => "holds credentials, which would be kept with the run",
        Some(_) if text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            "holds blanks or control characters"
        }
        Some(_) => return Some(text.to_owned()),
    };
    // The text is not repeated: it may be a password.
    cx.error(Code::OutOfRange, &node.span, format!("`index` {problem}"));
    None
}
