//! A small, tolerant reader of Python's text: calls and their arguments. It never runs anything, and
//! what it does not understand it passes over.

mod tokens;

use tokens::{Token, tokens};

/// A value as far as the text tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    /// A name or an expression, as written.
    Code(String),
}

/// A call: the dotted name before the parenthesis, and its arguments in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) positional: Vec<Value>,
    pub(super) keywords: Vec<(String, Value)>,
}

impl Call {
    /// The last part of the name.
    pub(super) fn method(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }
    /// A keyword argument.
    pub(super) fn keyword(&self, name: &str) -> Option<&Value> {
        self.keywords.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// All calls of a text, nested ones included, in the order in which they begin.
pub(super) fn calls(text: &str) -> Vec<Call> {
    let tokens = tokens(text);
    let mut calls = Vec::new();
    for (index, pair) in tokens.windows(2).enumerate() {
        let [Token::Name(name), Token::Mark('(')] = pair else { continue };
        let defined = index > 0
            && matches!(&tokens[index - 1], Token::Name(word) if word == "def" || word == "class");
        if !defined {
            calls.push(call(name, &tokens[index + 2..]));
        }
    }
    calls
}

/// All string literals.
pub(super) fn strings(text: &str) -> Vec<String> {
    tokens(text)
        .into_iter()
        .filter_map(|token| match token {
            Token::Text(text) => Some(text),
            _ => None,
        })
        .collect()
}

/// An argument of the command line that the text gives a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument {
    /// From 1; 0 is the script.
    pub(super) index: usize,
    pub(super) name: String,
    /// What it is converted with, as `int`.
    pub(super) converted: Option<String>,
    /// Of `… if len(sys.argv) > N else DEFAULT`.
    pub(super) default: Option<Value>,
}

/// Names that are assigned elements of `sys.argv`.
pub(super) fn assigned_arguments(text: &str) -> Vec<Argument> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for at in 1..tokens.len() {
        let Token::Mark('=') = &tokens[at] else { continue };
        // `==` compares.
        if tokens.get(at + 1) == Some(&Token::Mark('=')) || tokens[at - 1] == Token::Mark('=') {
            continue;
        }
        let names = names_before(&tokens[..at]);
        let value = &tokens[at + 1..];
        let (first, rest) = match value {
            [Token::Name(argv), Token::Mark('['), Token::Name(from), Token::Mark(':'), ..]
                if is_argv(argv) && !names.is_empty() =>
            {
                (from.parse::<usize>().unwrap_or(0), &value[..0])
            }
            [Token::Name(argv), rest @ ..] if is_argv(argv) && names.len() > 1 => (0, &rest[..0]),
            _ => match (single(value), names.as_slice()) {
                (Some((index, converted, rest)), [name]) => {
                    let default = default_of(rest);
                    found.push(Argument { index, name: name.clone(), converted, default });
                    continue;
                }
                _ => continue,
            },
        };
        debug_assert!(rest.is_empty(), "an unpacked list has no defaults");
        found.extend(names.into_iter().enumerate().map(|(n, name)| Argument {
            index: first.saturating_add(n),
            name,
            converted: None,
            default: None,
        }));
    }
    found
}

fn is_argv(name: &str) -> bool {
    matches!(name, "sys.argv" | "argv")
}

/// `a, b` before an `=`, from the left.
fn names_before(tokens: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = tokens;
    while let [before @ .., Token::Name(name)] = rest {
        if name.contains('.') {
            break;
        }
        names.push(name.clone());
        match before {
            [before @ .., Token::Mark(',')] => rest = before,
            _ => break,
        }
    }
    names.reverse();
    names
}

/// `sys.argv[N]` or `int(sys.argv[N])`: the index, the conversion, and what follows.
fn single(tokens: &[Token]) -> Option<(usize, Option<String>, &[Token])> {
    match tokens {
        [Token::Name(argv), Token::Mark('['), Token::Name(index), Token::Mark(']'), rest @ ..]
            if is_argv(argv) =>
        {
            Some((index.parse().ok()?, None, rest))
        }
        // One level, spelled out: a file may nest calls as deep as it likes.
        [
            Token::Name(convert),
            Token::Mark('('),
            Token::Name(argv),
            Token::Mark('['),
            Token::Name(index),
            Token::Mark(']'),
            Token::Mark(')'),
            rest @ ..,
        ] if is_argv(argv) => Some((index.parse().ok()?, Some(convert.clone()), rest)),
        _ => None,
    }
}

/// The most tokens between an argument and its default.
const DEFAULT_TOKENS_MAX: usize = 16;

fn default_of(tokens: &[Token]) -> Option<Value> {
    if tokens.first() != Some(&Token::Name("if".into())) {
        return None;
    }
    let at = tokens
        .iter()
        .take(DEFAULT_TOKENS_MAX)
        .position(|token| *token == Token::Name("else".into()))?;
    let literal = match &tokens[at + 1..] {
        [Token::Name(path), Token::Mark('('), text @ Token::Text(_), Token::Mark(')'), ..]
            if matches!(path.as_str(), "Path" | "pathlib.Path" | "str") =>
        {
            value(&[text])
        }
        [Token::Mark('-'), number @ Token::Name(_), ..] => value(&[&Token::Mark('-'), number]),
        [one, ..] => value(&[one]),
        [] => return None,
    };
    (!matches!(literal, Value::Code(_) | Value::None)).then_some(literal)
}

/// The most tokens that are looked at in one call's arguments.
const ARGUMENT_TOKENS_MAX: usize = 400;

fn call(name: &str, tokens: &[Token]) -> Call {
    let mut call = Call { name: name.to_owned(), positional: Vec::new(), keywords: Vec::new() };
    let mut depth = 0usize;
    let mut argument: Vec<&Token> = Vec::new();
    for token in tokens.iter().take(ARGUMENT_TOKENS_MAX) {
        match token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(')' | ']' | '}') if depth == 0 => break,
            Token::Mark(')' | ']' | '}') => depth -= 1,
            Token::Mark(',') if depth == 0 => {
                take(&mut call, &argument);
                argument.clear();
                continue;
            }
            _ => {}
        }
        argument.push(token);
    }
    take(&mut call, &argument);
    call
}

fn take(call: &mut Call, argument: &[&Token]) {
    match argument {
        [] => {}
        [Token::Name(key), Token::Mark('='), rest @ ..]
            if !matches!(rest, [Token::Mark('='), ..]) =>
        {
            call.keywords.push((key.clone(), value(rest)));
        }
        all => call.positional.push(value(all)),
    }
}

fn value(tokens: &[&Token]) -> Value {
    match tokens {
        [Token::Name(word)] => word_value(word),
        [Token::Mark('-'), Token::Name(word)] => match word_value(word) {
            Value::Int(number) => Value::Int(-number),
            Value::Float(number) => Value::Float(-number),
            _ => Value::Code(format!("-{word}")),
        },
        // Adjacent literals are one.
        texts if !texts.is_empty() && texts.iter().all(|token| matches!(token, Token::Text(_))) => {
            let parts = texts.iter().filter_map(|token| match token {
                Token::Text(text) => Some(text.as_str()),
                _ => None,
            });
            Value::Text(parts.collect())
        }
        [Token::Name(path), Token::Mark('('), Token::Text(text), Token::Mark(')')]
            if matches!(path.as_str(), "Path" | "pathlib.Path" | "str") =>
        {
            Value::Text(text.clone())
        }
        [Token::Mark('[' | '('), inner @ .., Token::Mark(']' | ')')] => list(inner),
        all => Value::Code(all.iter().map(|token| shown(token)).collect::<Vec<_>>().join(" ")),
    }
}

/// A flat list; one with brackets inside stays code.
fn list(inner: &[&Token]) -> Value {
    if inner.iter().any(|token| matches!(token, Token::Mark('(' | '[' | '{' | ')' | ']' | '}'))) {
        return Value::Code("[…]".into());
    }
    let items =
        inner.split(|token| matches!(token, Token::Mark(','))).filter(|item| !item.is_empty());
    Value::List(items.map(value_of_item).collect())
}

fn value_of_item(item: &[&Token]) -> Value {
    match item {
        [Token::Name(_) | Token::Text(_)] | [Token::Mark('-'), Token::Name(_)] => value(item),
        all => Value::Code(all.iter().map(|token| shown(token)).collect()),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(word) => word.clone(),
        Token::Text(text) => format!("{text:?}"),
        Token::Mark(mark) => mark.to_string(),
    }
}

fn word_value(word: &str) -> Value {
    let plain = word.replace('_', "");
    match word {
        "None" => Value::None,
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            if let Ok(number) = plain.parse::<i64>() {
                return Value::Int(number);
            }
            match plain.parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Float(number),
                _ => Value::Code(word.to_owned()),
            }
        }
        _ => Value::Code(word.to_owned()),
    }
}

#[cfg(test)]
#[path = "python_tests.rs"]
mod tests;
