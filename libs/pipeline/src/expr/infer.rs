//! The type of a tree, before there are values.

use crate::expr::ast::{Ast, Id, Node};
use crate::expr::ops::{binary_type, call_type};
use crate::expr::{ExprError, ExprErrorKind, Reference, Type};

pub(super) fn infer(ast: &Ast, types: &dyn Fn(&Reference) -> Type) -> Result<Type, ExprError> {
    let Some(root) = ast.root() else { return Ok(Type::Any) };
    kind(ast, types, root)
}

fn demand(ast: &Ast, id: Id, found: Type, allowed: &[Type], what: &str) -> Result<(), ExprError> {
    if found == Type::Any || allowed.contains(&found) {
        return Ok(());
    }
    let message = format!("{what}, but this is {found}");
    Err(ExprError::new(ExprErrorKind::Type, ast.span(id), message))
}

/// Recursion is bounded as in the evaluator.
fn kind(ast: &Ast, types: &dyn Fn(&Reference) -> Type, id: Id) -> Result<Type, ExprError> {
    let of = |id: Id| kind(ast, types, id);
    match ast.node(id) {
        Node::Literal(value) => Ok(value.kind()),
        Node::Name(reference) => Ok(types(reference)),
        Node::Status(_) | Node::Always => Ok(Type::Bool),
        Node::Not(operand) => {
            demand(ast, *operand, of(*operand)?, &[Type::Bool], "`!` takes a bool")?;
            Ok(Type::Bool)
        }
        Node::Negate(operand) => {
            let found = of(*operand)?;
            demand(ast, *operand, found, &[Type::Int, Type::Float], "`-` takes a number")?;
            Ok(found)
        }
        Node::Binary(..) => {
            let mut pending = Vec::new();
            let mut leftmost = id;
            while let Node::Binary(op, left, right) = ast.node(leftmost) {
                pending.push((*op, *right, ast.span(leftmost)));
                leftmost = *left;
            }
            let mut left = of(leftmost)?;
            while let Some((op, right, span)) = pending.pop() {
                left = binary_type(op, left, of(right)?)
                    .map_err(|(kind, message)| ExprError::new(kind, span, message))?;
            }
            Ok(left)
        }
        Node::Choose { condition, yes, no } => {
            demand(ast, *condition, of(*condition)?, &[Type::Bool], "`?` takes a bool")?;
            let (yes, no) = (of(*yes)?, of(*no)?);
            Ok(if yes == no { yes } else { Type::Any })
        }
        Node::List(items) => {
            for item in items {
                of(*item)?;
            }
            Ok(Type::List)
        }
        Node::Index(list, index) => {
            demand(ast, *list, of(*list)?, &[Type::List], "`[ ]` takes a list")?;
            demand(ast, *index, of(*index)?, &[Type::Int], "`[ ]` takes an int")?;
            Ok(Type::Any)
        }
        Node::Call(function, arguments) => {
            let arguments: Vec<_> = arguments.iter().map(|a| of(*a)).collect::<Result<_, _>>()?;
            call_type(*function, &arguments)
                .map_err(|(kind, message)| ExprError::new(kind, ast.span(id), message))
        }
    }
}
