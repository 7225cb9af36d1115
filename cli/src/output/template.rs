//! `-o template=TEXT`: `{field}` of each item, one line an item.

use serde_json::Value;

use super::plain;
use crate::errors::{Error, Result};

/// A text with the places of values in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `git.commit`, `stages.0.name`.
    Field(String),
}

impl Template {
    /// `{name} {git.commit}\n`: fields in braces, `{{` and `}}` for braces, `\n` and `\t` as in C.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    plain.push(c);
                }
                '{' => {
                    let mut closed = false;
                    let inside = |c: &char| {
                        closed = *c == '}';
                        !closed
                    };
                    let field: String = chars.by_ref().take_while(inside).collect();
                    if field.trim().is_empty() || !closed {
                        return Err("a `{` needs a field and its `}`, as in `{name}`; write `{{` for a brace".into());
                    }
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Field(field.trim().to_owned()));
                }
                '}' => return Err("a `}` stands alone; write `}}` for a brace".into()),
                '\\' => match chars.next() {
                    Some('n') => plain.push('\n'),
                    Some('t') => plain.push('\t'),
                    Some('\\') => plain.push('\\'),
                    other => {
                        return Err(format!(
                            "`\\{}` means nothing here; there are `\\n`, `\\t` and `\\\\`",
                            other.map(String::from).unwrap_or_default()
                        ));
                    }
                },
                c => plain.push(c),
            }
        }
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    /// The text of a document: of each of its items, if it is a list.
    pub(super) fn render(&self, value: &Value) -> Result<String> {
        match value.get("items").and_then(Value::as_array) {
            Some(items) => items.iter().map(|item| self.line(item)).collect(),
            None => self.line(value),
        }
    }

    /// The text of one thing, with the end of its line.
    pub(super) fn line(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(path) => out.push_str(&field(value, path)?),
            }
        }
        if !out.ends_with('\n') {
            out.push('\n');
        }
        Ok(out)
    }
}

fn field(value: &Value, path: &str) -> Result<String> {
    let mut found = value;
    for key in path.split('.') {
        let next = match found {
            Value::Object(map) => map.get(key),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|n| items.get(n)),
            _ => None,
        };
        found = next.ok_or_else(|| missing(found, key, path))?;
    }
    Ok(match found {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Array(_) | Value::Object(_) => found.to_string(),
        scalar => scalar.to_string(),
    })
}

fn missing(at: &Value, key: &str, path: &str) -> Error {
    let error = Error::usage(format!("there is no `{key}` for `{{{path}}}` of the template"));
    match at {
        Value::Object(map) => {
            let keys: Vec<&str> = map.keys().map(String::as_str).collect();
            error.help(format!("there are {}", keys.join(", ")))
        }
        Value::Array(items) => error.help(format!("it is a list of {}", items.len())),
        _ => error.help("what stands before it is a single value"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(template: &str, value: &Value) -> Result<String> {
        Template::parse(template).expect("a template").render(value)
    }

    #[test]
    fn a_brace_that_is_not_closed_is_refused_also_behind_one_that_is() {
        for text in ["{b", "{a} {b", "{a}{"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_of_each_item_stand_in_a_line() {
        let list = json!({ "items": [
            { "name": "a-1", "git": { "commit": "0f" }, "n": 1, "tags": ["x"] },
            { "name": "a-2", "git": { "commit": null }, "n": 2, "tags": [] },
        ]});
        assert_eq!(
            shown("{name}\\t{git.commit} {{{n}}}", &list).expect("fits"),
            "a-1\t0f {1}\na-2\t {2}\n"
        );
        assert_eq!(shown("{tags}", &list).expect("fits"), "[\"x\"]\n[]\n");
        assert_eq!(
            shown("{items.1.name}", &json!({ "items": 3 })).expect_err("no list").kind,
            crate::errors::Kind::Usage
        );
        assert_eq!(shown("{a.1}", &json!({ "a": [1, 2] })).expect("fits"), "2\n");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_there_is() {
        for wrong in ["{", "{}", "{a", "}", "\\x", "{ }"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        let error = shown("{nmae}", &json!({ "name": 1, "uid": 2 })).expect_err("no such field");
        assert!(error.render().contains("name, uid"), "{}", error.render());
    }

    #[test]
    fn a35_a_value_cannot_drive_the_terminal() {
        let text = shown("{a}", &json!({ "a": "x\u{1b}[2Jy" })).expect("fits");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
