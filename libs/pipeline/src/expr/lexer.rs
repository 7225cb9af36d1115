//! Text to tokens.

use std::ops::Range;

use crate::diagnostic::shown;
use crate::expr::{ExprError, ExprErrorKind};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Int(i64),
    Float(f64),
    Text(String),
    Word(String),
    /// An operator or a bracket.
    Symbol(&'static str),
}

/// Longer symbols stand before those that begin them.
const SYMBOLS: &[&str] = &[
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "(", ")", "[", "]",
    ",", ".", "?", ":",
];

/// All tokens of `source` with their bytes.
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, Range<usize>)>, ExprError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        if first.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let rest = &source[at..];
        let (token, len) = if first.is_ascii_digit() {
            number(rest, at)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let len = word_len(rest);
            (Token::Word(rest[..len].to_owned()), len)
        } else if first == '"' || first == '\'' {
            text(rest, first, at)?
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (Token::Symbol(symbol), symbol.len())
        } else {
            let span = at..at + first.len_utf8();
            let message = format!("`{}` has no meaning here", shown(&first.to_string()));
            return Err(ExprError::new(ExprErrorKind::Syntax, span, message));
        };
        tokens.push((token, at..at + len));
        at += len;
    }
    Ok(tokens)
}

fn word_len(rest: &str) -> usize {
    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
}

fn number(rest: &str, at: usize) -> Result<(Token, usize), ExprError> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut len = digits(0);
    let mut is_float = false;
    // `1.size()` is no number with a fraction.
    if bytes.get(len) == Some(&b'.') && bytes.get(len + 1).is_some_and(u8::is_ascii_digit) {
        len += 1;
        len += digits(len);
        is_float = true;
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits((len + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            len += 1 + sign + exponent;
            is_float = true;
        }
    }
    let text = &rest[..len];
    let token = if is_float {
        text.parse().ok().filter(|value: &f64| value.is_finite()).map(Token::Float)
    } else {
        text.parse().ok().map(Token::Int)
    };
    let glued = bytes.get(len).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    match token {
        Some(token) if !glued => Ok((token, len)),
        _ => {
            let len = len + word_len(&rest[len..]);
            let message = format!("`{}` is no number of 64 bits", shown(&rest[..len]));
            Err(ExprError::new(ExprErrorKind::Syntax, at..at + len, message))
        }
    }
}

fn text(rest: &str, quote: char, at: usize) -> Result<(Token, usize), ExprError> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((offset, c)) = chars.next() {
        if c == quote {
            return Ok((Token::Text(text), offset + 1));
        }
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some((_, 'n')) => text.push('\n'),
            Some((_, 't')) => text.push('\t'),
            Some((_, c @ ('\\' | '"' | '\''))) => text.push(c),
            other => {
                let len = other.map_or(1, |(_, c)| 1 + c.len_utf8());
                let span = at + offset..at + offset + len;
                let message = "an escape is one of `\\n`, `\\t`, `\\\\`, `\\\"`, `\\'`";
                return Err(ExprError::new(ExprErrorKind::Syntax, span, message));
            }
        }
    }
    let span = at..at + rest.len();
    Err(ExprError::new(ExprErrorKind::Syntax, span, "the text has no closing quote"))
}
