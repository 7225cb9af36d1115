//! Single values: texts, numbers, durations, sizes, choices, paths and patterns.

use std::fmt;

use runyard_types::{ByteSize, DurationMs, IdError};

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::read::cx::{Cx, list};
use crate::yaml::{Node, Value};

/// The longest path or pattern, in bytes.
const PATH_BYTES_MAX: usize = 1_024;

/// The text of a scalar, however it was written.
fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text),
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

impl Cx<'_> {
    /// A text. A number or bool is taken as it was written.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = scalar(node);
        match text {
            None => self.wrong_type(node, what, "a text"),
            Some(text) if text.contains('\0') => {
                let message = format!("{what} holds a NUL character");
                self.error(Code::OutOfRange, &node.span, message);
                return None;
            }
            Some(_) => {}
        }
        text
    }

    /// A text that says something.
    pub(crate) fn filled<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = self.text(node, what)?;
        if text.trim().is_empty() {
            self.error(Code::OutOfRange, &node.span, format!("{what} is empty"));
            return None;
        }
        Some(text)
    }

    /// One item or a list of them.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, what: &str) -> Vec<&'n Node> {
        match &node.value {
            Value::List(items) => items.iter().collect(),
            Value::Map(_) | Value::Null => {
                self.wrong_type(node, what, "a text or a list");
                Vec::new()
            }
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => vec![node],
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        self.wrong_type(node, what, "`true` or `false`");
        None
    }

    /// A finite number, also where YAML read it as a text (`1e-5`, `"0.1"`).
    pub(crate) fn number(&mut self, node: &Node, what: &str) -> Option<f64> {
        let number = scalar(node).and_then(parse_float);
        if number.is_none() {
            self.wrong_number(node, what, "a number");
        }
        number
    }

    /// A number, where `1pt` and `1%` are hundredths.
    pub(crate) fn ratio(&mut self, node: &Node, what: &str) -> Option<f64> {
        let text = scalar(node).unwrap_or("");
        for suffix in ["pt", "%"] {
            if let Some(number) = text.strip_suffix(suffix).map(str::trim_end) {
                // Read with its exponent, so that `2pt` is the same number as `0.02`.
                if let Some(value) = parse_float(&format!("{number}e-2")) {
                    return Some(value);
                }
            }
        }
        self.number(node, what)
    }

    fn wrong_number(&mut self, node: &Node, what: &str, wanted: &str) {
        match scalar(node) {
            Some(text) => {
                let message = format!("{what} is {wanted}, but this is `{}`", shown(text));
                self.error(Code::WrongType, &node.span, message);
            }
            None => self.wrong_type(node, what, wanted),
        }
    }

    /// A whole number from `min` to `max`.
    pub(crate) fn integer(&mut self, node: &Node, what: &str, min: u32, max: u32) -> Option<u32> {
        let text = scalar(node).filter(|text| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        });
        let Some(text) = text else {
            self.wrong_number(node, what, "a whole number");
            return None;
        };
        let value = text.parse().ok().filter(|value| (min..=max).contains(value));
        if value.is_none() {
            let message = format!("{what} is from {min} to {max}, but this is `{}`", shown(text));
            self.error(Code::OutOfRange, &node.span, message);
        }
        value
    }

    /// A value with a unit, whose parser's error is the message.
    pub(crate) fn quantity<T, E: fmt::Display>(
        &mut self,
        node: &Node,
        what: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Some(text) = scalar(node) else {
            self.wrong_type(node, what, "a quantity");
            return None;
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(Code::BadQuantity, &node.span, format!("{what}: {error}"));
                None
            }
        }
    }

    /// A duration above zero.
    pub(crate) fn duration(&mut self, node: &Node, what: &str) -> Option<DurationMs> {
        let value = self.quantity(node, what, DurationMs::parse)?;
        self.above_zero(node, what, value.get()).map(DurationMs)
    }

    /// A size above zero.
    pub(crate) fn size(&mut self, node: &Node, what: &str) -> Option<ByteSize> {
        let value = self.quantity(node, what, ByteSize::parse)?;
        self.above_zero(node, what, value.get()).map(ByteSize)
    }

    /// Refuses a quantity of nothing.
    pub(crate) fn above_zero(&mut self, node: &Node, what: &str, value: u64) -> Option<u64> {
        if value == 0 {
            self.error(Code::OutOfRange, &node.span, format!("{what} is zero"));
            self.help("leave the key out for the default");
            return None;
        }
        Some(value)
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let message = format!("{what} is {}, but this is `{}`", list(&words), shown(text));
        self.error(Code::OutOfRange, &node.span, message);
        self.suggest(text, words);
        None
    }

    /// A checked name.
    pub(crate) fn name<N>(
        &mut self,
        node: &Node,
        what: &str,
        parse: impl Fn(&str) -> Result<N, IdError>,
    ) -> Option<N> {
        let text = self.text(node, what)?;
        match parse(text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.error(Code::BadName, &node.span, error.to_string());
                None
            }
        }
    }

    /// A path relative to the workspace, without `./` and trailing `/`.
    pub(crate) fn path(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        match relative_path(text) {
            Ok(path) => Some(path),
            Err(reason) => {
                let message = format!("{what} `{}` {reason}", shown(text));
                self.error(Code::BadPath, &node.span, message);
                self.help(
                    "paths are relative to the working directory, which is the code snapshot",
                );
                None
            }
        }
    }

    /// File patterns relative to the workspace.
    pub(crate) fn globs(&mut self, node: &Node, what: &str) -> Vec<String> {
        let mut globs = Vec::new();
        for item in self.items(node, what) {
            let Some(pattern) = self.path(item, what) else { continue };
            match globset::Glob::new(&pattern) {
                Ok(_) => globs.push(pattern),
                Err(error) => {
                    let message = format!("{what} `{}`: {}", shown(&pattern), error.kind());
                    self.error(Code::BadGlob, &item.span, message);
                }
            }
        }
        globs
    }
}

/// A finite decimal number; no `inf`, no `nan`, no `1e309`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse::<f64>().ok().filter(|value| plain && value.is_finite())
}

/// Normalises a relative path, or says why it is none (as the end of a sentence).
pub(crate) fn relative_path(text: &str) -> Result<String, &'static str> {
    if text.len() > PATH_BYTES_MAX {
        return Err("is longer than 1,024 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("holds control characters");
    }
    if text.starts_with(['/', '~', '\\']) || text.as_bytes().get(1) == Some(&b':') {
        return Err("is not relative");
    }
    if text.split(['/', '\\']).any(|part| part == "..") {
        return Err("leaves the workspace with `..`");
    }
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return Err("names nothing inside the workspace");
    }
    Ok(parts.join("/"))
}

/// Checks an absolute path of a host, or says why it is none (as the end of a sentence).
pub(crate) fn host_path(text: &str) -> Result<String, &'static str> {
    match text.strip_prefix('/') {
        None => Err("is not absolute"),
        Some("") => Err("is the whole host"),
        Some(rest) => relative_path(rest).map(|path| format!("/{path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_normalised_or_refused() {
        assert_eq!(relative_path("./out//a/"), Ok("out/a".into()));
        assert_eq!(relative_path("a..b/c"), Ok("a..b/c".into()));
        for bad in ["", ".", "./", "..", "a/../b", "/etc", "~", "~/x", "a\\..\\b", "C:/x", "a\0b"] {
            assert!(relative_path(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn host_paths_are_absolute_and_do_not_climb() {
        assert_eq!(host_path("/mnt/nas/"), Ok("/mnt/nas".into()));
        for bad in ["mnt", "/", "/a/../b", "//"] {
            assert!(host_path(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a7_numbers_are_finite_decimals() {
        assert_eq!(parse_float("1e-5"), Some(1e-5));
        assert_eq!(parse_float("-2.5"), Some(-2.5));
        for bad in ["", "nan", "inf", "-infinity", "1e309", "0x10", "1_000", "e"] {
            assert_eq!(parse_float(bad), None, "{bad:?} was accepted");
        }
    }
}
