//! Expressions: a subset of CEL for `if:` and `${{ }}`, typed, without loops and without recursion
//! that input could deepen.
//!
//! Invariant: neither parsing nor evaluating panics or overflows the stack, whatever the text: at most
//! [`SOURCE_BYTES_MAX`] bytes, [`DEPTH_MAX`] levels of nesting, [`STEPS_MAX`] steps (RELIABILITY A4).

mod ast;
mod eval;
mod infer;
mod lexer;
mod ops;
mod parser;
mod template;
mod value;

use std::ops::Range;

pub use ast::{Reference, Status};
pub use template::Template;
pub use value::{Type, Value};

use ast::Ast;

/// The longest expression, in bytes.
pub const SOURCE_BYTES_MAX: usize = 4_096;
/// The deepest nesting of parentheses, lists, calls, indexes, unary operators and `? :`.
pub const DEPTH_MAX: usize = 32;
/// The most nodes that one evaluation visits.
pub const STEPS_MAX: usize = 10_000;
/// The longest string that an expression makes, in bytes.
pub const STRING_BYTES_MAX: usize = 64 * 1024;

/// What kind of fault an [`ExprError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExprErrorKind {
    /// The text is no expression.
    Syntax,
    /// It is larger or deeper than allowed, or took too many steps.
    Limit,
    /// Values of these types do not go together.
    Type,
    /// A name has no value.
    Undefined,
    /// A number does not fit, or a division by zero.
    Arithmetic,
}

/// Why an expression could not be read or has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    pub kind: ExprErrorKind,
    pub message: String,
    /// Bytes of the expression's source.
    pub span: Range<usize>,
}

impl ExprError {
    fn new(kind: ExprErrorKind, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), span }
    }
}

/// Where an expression's names get their values.
pub trait Env {
    /// The value of a reference; `None` is an error of the evaluation, never a false.
    fn get(&self, reference: &Reference) -> Option<Value>;
    /// What `success()` and `failure()` answer about the stages that this one needs.
    fn status(&self, status: Status) -> bool;
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    ast: Ast,
}

impl Expr {
    /// Parses `source`.
    ///
    /// # Errors
    /// [`ExprErrorKind::Syntax`] and [`ExprErrorKind::Limit`], with the place in `source`.
    pub fn parse(source: &str) -> Result<Self, ExprError> {
        parser::parse(source).map(|ast| Self { ast })
    }

    /// Every name the expression mentions, with its place, in the order of the source.
    pub fn references(&self) -> impl Iterator<Item = (&Reference, Range<usize>)> {
        self.ast.references()
    }

    /// Whether it calls a status function, which replaces the implied `success()`.
    pub fn asks_status(&self) -> bool {
        self.ast.asks_status()
    }

    /// The type of the expression, where `types` says those of its names.
    ///
    /// # Errors
    /// [`ExprErrorKind::Type`] with the place of the operands that do not go together.
    pub fn infer(&self, types: &dyn Fn(&Reference) -> Type) -> Result<Type, ExprError> {
        infer::infer(&self.ast, types)
    }

    /// The value of the expression.
    ///
    /// # Errors
    /// Any kind but `Syntax`; names without a value are `Undefined`.
    pub fn eval(&self, env: &dyn Env) -> Result<Value, ExprError> {
        eval::eval(&self.ast, env)
    }

    /// The value of a condition. Without a status function it also asks for `success()`.
    ///
    /// # Errors
    /// As [`Expr::eval`]; a value that is no bool is a `Type` error.
    pub fn holds(&self, env: &dyn Env) -> Result<bool, ExprError> {
        if !self.asks_status() && !env.status(Status::Success) {
            return Ok(false);
        }
        match self.eval(env)? {
            Value::Bool(value) => Ok(value),
            other => {
                let message = format!("a condition is a bool, but this is {}", other.kind());
                Err(ExprError::new(ExprErrorKind::Type, self.ast.root_span(), message))
            }
        }
    }
}
