//! Text with `${{ expressions }}` in it. What an expression gives is inserted as it is and never
//! read again (RELIABILITY A4).

use std::ops::Range;

use crate::expr::ops::text_of;
use crate::expr::{Env, Expr, ExprError, ExprErrorKind, Reference, STRING_BYTES_MAX};

/// A parsed text.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    /// With the place of its source in the text.
    Expression(Expr, usize),
}

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// As [`Expr::parse`], with places in `text`; also for a `${{` that is not closed.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find("${{").map(|found| at + found) {
            if open > at {
                parts.push(Part::Text(text[at..open].to_owned()));
            }
            let start = open + 3;
            let Some(end) = closing(text, start) else {
                let message = "`${{` is not closed by `}}`";
                return Err(ExprError::new(ExprErrorKind::Syntax, open..text.len(), message));
            };
            let expr = Expr::parse(&text[start..end]).map_err(|error| shift(error, start))?;
            parts.push(Part::Expression(expr, start));
            at = end + 2;
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(Self { parts })
    }

    /// The expressions with their offset in the text.
    pub fn expressions(&self) -> impl Iterator<Item = (&Expr, usize)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expr, at) => Some((expr, *at)),
        })
    }

    /// Every name that the text mentions, with its place in it.
    pub fn references(&self) -> impl Iterator<Item = (&Reference, Range<usize>)> {
        self.expressions().flat_map(|(expr, at)| {
            expr.references().map(move |(name, span)| (name, span.start + at..span.end + at))
        })
    }

    /// The text with the value of each expression in its place.
    ///
    /// # Errors
    /// As [`Expr::eval`], with places in the text; a list has no text.
    pub fn render(&self, env: &dyn Env) -> Result<String, ExprError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expression(expr, at) => {
                    let value = expr.eval(env).map_err(|error| shift(error, *at))?;
                    let text = text_of(&value)
                        .map_err(|(kind, message)| ExprError::new(kind, *at..*at, message))?;
                    if out.len() + text.len() > STRING_BYTES_MAX {
                        let message = format!("the text grew beyond {STRING_BYTES_MAX} bytes");
                        return Err(ExprError::new(ExprErrorKind::Limit, *at..*at, message));
                    }
                    out.push_str(&text);
                }
            }
        }
        Ok(out)
    }
}

fn shift(mut error: ExprError, by: usize) -> ExprError {
    error.span = error.span.start + by..error.span.end + by;
    error
}

/// The next `}}` that is not inside a quoted text.
fn closing(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = start;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), b) if b == open => quote = None,
            (Some(_), _) => {}
            (None, b @ (b'"' | b'\'')) => quote = Some(b),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, _) => {}
        }
        at += 1;
    }
    None
}
