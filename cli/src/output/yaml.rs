//! JSON values written as YAML, block style.

use serde_json::Value;

/// The document, ending in a line end.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push_str(&" ".repeat(indent));
                out.push_str(&scalar_text(key));
                out.push(':');
                nested(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&" ".repeat(indent));
                out.push('-');
                item_of(item, indent, out);
            }
        }
        other => {
            out.push_str(&flow(other));
            out.push('\n');
        }
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    if is_block(value) {
        out.push('\n');
        block(value, indent + 2, out);
    } else {
        out.push(' ');
        block(value, 0, out);
    }
}

/// A list's item: a mapping's first key stands beside the dash.
fn item_of(value: &Value, indent: usize, out: &mut String) {
    if is_block(value) {
        let mut text = String::new();
        block(value, indent + 2, &mut text);
        out.push(' ');
        out.push_str(text.trim_start_matches(' '));
    } else {
        out.push(' ');
        block(value, 0, out);
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar_text(text),
        Value::Object(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        other => other.to_string(),
    }
}

/// A string: plain where no reader of YAML 1.1 or 1.2 could take it for something else, else as JSON.
fn scalar_text(text: &str) -> String {
    let first =
        text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'/');
    let tame = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./@+".contains(&b));
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "true" | "false" | "on" | "off" | "null"
    );
    match first && tame && !word {
        true => text.to_owned(),
        false => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_lists_and_dubious_strings() {
        let value = json!({
            "name": "digits-1", "on": "no", "n": 3, "none": null, "empty": [], "text": "a: b\n",
            "version": "3.10",
            "items": [{"a": 1, "b": ["x", {"c": {}}]}, [1, 2]],
        });
        insta::assert_snapshot!(document(&value));
    }
}
