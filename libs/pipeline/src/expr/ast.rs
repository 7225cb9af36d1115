//! The tree of an expression, kept in a list: children before parents, so that dropping, walking and
//! comparing it never recurse.

use std::fmt;
use std::ops::Range;

use crate::expr::{DEPTH_MAX, ExprError, ExprErrorKind, Value};

/// A name that an expression mentions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// `params.NAME`
    Param(String),
    /// `git.NAME`; empty outside git.
    Git(String),
    /// `matrix.AXIS`
    Matrix(String),
    /// `stage.metrics["NAME"]`
    Metric { stage: String, name: String },
    /// `stage.values.KEY`, a line `KEY=…` of the stage's `$RUNYARD_OUTPUT`.
    StageValue { stage: String, key: String },
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Param(name) => write!(f, "params.{name}"),
            Self::Git(name) => write!(f, "git.{name}"),
            Self::Matrix(axis) => write!(f, "matrix.{axis}"),
            Self::Metric { stage, name } => write!(f, "{stage}.metrics[{name:?}]"),
            Self::StageValue { stage, key } => write!(f, "{stage}.values.{key}"),
        }
    }
}

/// A question about the stages that this one needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All of them succeeded.
    Success,
    /// At least one failed.
    Failure,
}

/// An index into [`Ast::items`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(u32);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Literal(Value),
    Name(Reference),
    Status(Status),
    /// `always()`: true, and a status function.
    Always,
    Not(Id),
    Negate(Id),
    Binary(Op, Id, Id),
    Choose {
        condition: Id,
        yes: Id,
        no: Id,
    },
    List(Vec<Id>),
    Index(Id, Id),
    Call(Function, Vec<Id>),
}

/// Operators with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Op {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// Functions; those on strings are also written `text.startsWith("x")`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    StartsWith,
    EndsWith,
    Contains,
    ToInt,
    ToFloat,
    ToString,
}

impl Function {
    pub(super) const ALL: &'static [(&'static str, Function)] = &[
        ("size", Function::Size),
        ("startsWith", Function::StartsWith),
        ("endsWith", Function::EndsWith),
        ("contains", Function::Contains),
        ("int", Function::ToInt),
        ("float", Function::ToFloat),
        ("double", Function::ToFloat),
        ("string", Function::ToString),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    pub(super) fn arity(self) -> usize {
        match self {
            Self::Size | Self::ToInt | Self::ToFloat | Self::ToString => 1,
            Self::StartsWith | Self::EndsWith | Self::Contains => 2,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Ast {
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq)]
struct Item {
    node: Node,
    span: Range<usize>,
    /// How deep a walk below this node recurses.
    height: usize,
}

impl Ast {
    /// Adds a node whose children are there already; refused where the tree would grow too high.
    pub(super) fn push(&mut self, node: Node, span: Range<usize>) -> Result<Id, ExprError> {
        let below = |ids: &[Id]| ids.iter().map(|id| self.item(*id).height + 1).max().unwrap_or(0);
        let height = match &node {
            Node::Literal(_) | Node::Name(_) | Node::Status(_) | Node::Always => 0,
            Node::Not(operand) | Node::Negate(operand) => below(&[*operand]),
            // The left side of a chain is walked in a loop.
            Node::Binary(_, left, right) => self.item(*left).height.max(below(&[*right])),
            Node::Choose { condition, yes, no } => below(&[*condition, *yes, *no]),
            Node::List(items) => below(items),
            Node::Index(list, index) => below(&[*list, *index]),
            Node::Call(_, arguments) => below(arguments),
        };
        if height > DEPTH_MAX {
            let message = format!("the expression is nested deeper than {DEPTH_MAX} levels");
            return Err(ExprError::new(ExprErrorKind::Limit, span, message));
        }
        let id = Id(u32::try_from(self.items.len()).expect("a source of 4 KiB has fewer nodes"));
        self.items.push(Item { node, span, height });
        Ok(id)
    }

    fn item(&self, id: Id) -> &Item {
        &self.items[id.0 as usize]
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.item(id).node
    }

    pub(super) fn span(&self, id: Id) -> Range<usize> {
        self.item(id).span.clone()
    }

    /// The last node, which is the parent of all; a parsed tree has one.
    pub(super) fn root(&self) -> Option<Id> {
        Some(Id(u32::try_from(self.items.len().checked_sub(1)?).ok()?))
    }

    pub(super) fn root_span(&self) -> Range<usize> {
        self.root().map_or(0..0, |id| self.span(id))
    }

    pub(super) fn references(&self) -> impl Iterator<Item = (&Reference, Range<usize>)> {
        self.items.iter().filter_map(|item| match &item.node {
            Node::Name(reference) => Some((reference, item.span.clone())),
            _ => None,
        })
    }

    pub(super) fn asks_status(&self) -> bool {
        self.items.iter().any(|item| matches!(item.node, Node::Status(_) | Node::Always))
    }
}
