//! The value of a tree. Recursion is bounded by the nesting that the parser allowed: chains of
//! operators lean to the left, and their left side is walked in a loop.

use std::ops::Range;

use crate::expr::ast::{Ast, Id, Node, Op};
use crate::expr::ops::{self, Fault};
use crate::expr::{Env, ExprError, ExprErrorKind, STEPS_MAX, Status, Value};

pub(super) fn eval(ast: &Ast, env: &dyn Env) -> Result<Value, ExprError> {
    let Some(root) = ast.root() else {
        return Err(ExprError::new(ExprErrorKind::Syntax, 0..0, "the expression is empty"));
    };
    Evaluator { ast, env, steps: 0 }.value(root)
}

struct Evaluator<'a> {
    ast: &'a Ast,
    env: &'a dyn Env,
    steps: usize,
}

fn at(span: Range<usize>) -> impl FnOnce(Fault) -> ExprError {
    move |(kind, message)| ExprError::new(kind, span, message)
}

impl Evaluator<'_> {
    fn value(&mut self, id: Id) -> Result<Value, ExprError> {
        self.steps += 1;
        let span = self.ast.span(id);
        if self.steps > STEPS_MAX {
            let message = format!("the expression took more than {STEPS_MAX} steps");
            return Err(ExprError::new(ExprErrorKind::Limit, span, message));
        }
        match self.ast.node(id) {
            Node::Literal(value) => Ok(value.clone()),
            Node::Name(reference) => self.env.get(reference).ok_or_else(|| {
                let message = format!("`{reference}` has no value");
                ExprError::new(ExprErrorKind::Undefined, span, message)
            }),
            Node::Status(status) => Ok(Value::Bool(match status {
                Status::Success => self.env.status(Status::Success),
                Status::Failure => self.env.status(Status::Failure),
            })),
            Node::Always => Ok(Value::Bool(true)),
            Node::Not(operand) => {
                let value = self.bool(*operand, "`!`")?;
                Ok(Value::Bool(!value))
            }
            Node::Negate(operand) => self.negate(*operand),
            Node::Binary(..) => self.chain(id),
            Node::Choose { condition, yes, no } => {
                let chosen = if self.bool(*condition, "`?`")? { yes } else { no };
                self.value(*chosen)
            }
            Node::List(items) => {
                let items = items.iter().map(|item| self.value(*item));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            Node::Index(list, index) => self.index(*list, *index),
            Node::Call(function, arguments) => {
                let arguments: Vec<_> =
                    arguments.iter().map(|a| self.value(*a)).collect::<Result<_, _>>()?;
                ops::call(*function, &arguments).map_err(at(span))
            }
        }
    }

    /// A chain of operators, from its leftmost operand on.
    fn chain(&mut self, id: Id) -> Result<Value, ExprError> {
        let mut pending: Vec<(Op, Id, Range<usize>)> = Vec::new();
        let mut leftmost = id;
        while let Node::Binary(op, left, right) = self.ast.node(leftmost) {
            pending.push((*op, *right, self.ast.span(leftmost)));
            leftmost = *left;
        }
        let mut value = self.value(leftmost)?;
        while let Some((op, right, span)) = pending.pop() {
            let decided = match (op, &value) {
                (Op::Or, Value::Bool(true)) | (Op::And, Value::Bool(false)) => true,
                (Op::Or | Op::And, Value::Bool(_)) => false,
                (Op::Or | Op::And, other) => {
                    let message =
                        format!("`{}` takes bools, but this is {}", op.symbol(), other.kind());
                    return Err(ExprError::new(ExprErrorKind::Type, span, message));
                }
                _ => false,
            };
            if !decided {
                let right = self.value(right)?;
                value = ops::binary(op, value, right).map_err(at(span))?;
            }
        }
        Ok(value)
    }

    fn bool(&mut self, id: Id, what: &str) -> Result<bool, ExprError> {
        match self.value(id)? {
            Value::Bool(value) => Ok(value),
            other => {
                let message = format!("{what} takes a bool, but this is {}", other.kind());
                Err(ExprError::new(ExprErrorKind::Type, self.ast.span(id), message))
            }
        }
    }

    fn negate(&mut self, id: Id) -> Result<Value, ExprError> {
        let span = self.ast.span(id);
        match self.value(id)? {
            Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(|| {
                ExprError::new(ExprErrorKind::Arithmetic, span, "the result of `-` does not fit")
            }),
            Value::Float(value) => Ok(Value::Float(-value)),
            other => {
                let message = format!("`-` takes a number, but this is {}", other.kind());
                Err(ExprError::new(ExprErrorKind::Type, span, message))
            }
        }
    }

    fn index(&mut self, list: Id, index: Id) -> Result<Value, ExprError> {
        let items = self.value(list)?;
        let position = self.value(index)?;
        let span = self.ast.span(index);
        match (items, position) {
            (Value::List(mut items), Value::Int(position)) => {
                let found = usize::try_from(position).ok().filter(|p| *p < items.len());
                found.map(|p| items.swap_remove(p)).ok_or_else(|| {
                    let message = format!("the list has {} items, none at {position}", items.len());
                    ExprError::new(ExprErrorKind::Undefined, span, message)
                })
            }
            (items, position) => {
                let message = format!("{} indexed by {}", items.kind(), position.kind());
                Err(ExprError::new(ExprErrorKind::Type, span, message))
            }
        }
    }
}
