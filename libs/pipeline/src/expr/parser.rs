//! Tokens to a tree, by precedence climbing. Nesting is counted; the chains of one level
//! (`a + b + c`) are loops.

use std::ops::Range;

use crate::expr::ast::{Ast, Function, Id, Node, Op, Reference, Status};
use crate::expr::lexer::{Token, tokens};
use crate::expr::{DEPTH_MAX, ExprError, ExprErrorKind, SOURCE_BYTES_MAX, Value};

/// Parses a whole expression.
pub(super) fn parse(source: &str) -> Result<Ast, ExprError> {
    if source.len() > SOURCE_BYTES_MAX {
        let message = format!(
            "the expression has {} bytes; at most {SOURCE_BYTES_MAX} are read",
            source.len()
        );
        return Err(ExprError::new(ExprErrorKind::Limit, 0..source.len(), message));
    }
    let mut parser =
        Parser { tokens: tokens(source)?, at: 0, end: source.len(), depth: 0, ast: Ast::default() };
    parser.expression(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(parser.ast),
        Some((_, span)) => {
            Err(syntax(span.clone(), "the expression should have ended before this"))
        }
    }
}

fn syntax(span: Range<usize>, message: impl Into<String>) -> ExprError {
    ExprError::new(ExprErrorKind::Syntax, span, message)
}

struct Parser {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    end: usize,
    depth: usize,
    ast: Ast,
}

/// The binding power of `? :`, the weakest.
const CHOOSE_POWER: u8 = 1;

fn operator(token: &Token) -> Option<(Op, u8)> {
    Some(match token {
        Token::Symbol("||") => (Op::Or, 2),
        Token::Symbol("&&") => (Op::And, 3),
        Token::Symbol("==") => (Op::Equal, 4),
        Token::Symbol("!=") => (Op::NotEqual, 4),
        Token::Symbol("<") => (Op::Less, 4),
        Token::Symbol("<=") => (Op::LessEqual, 4),
        Token::Symbol(">") => (Op::Greater, 4),
        Token::Symbol(">=") => (Op::GreaterEqual, 4),
        Token::Word(word) if word == "in" => (Op::In, 4),
        Token::Symbol("+") => (Op::Add, 5),
        Token::Symbol("-") => (Op::Subtract, 5),
        Token::Symbol("*") => (Op::Multiply, 6),
        Token::Symbol("/") => (Op::Divide, 6),
        Token::Symbol("%") => (Op::Remainder, 6),
        _ => return None,
    })
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    /// The bytes of the next token, or the end of the source.
    fn here(&self) -> Range<usize> {
        self.tokens.get(self.at).map_or(self.end..self.end, |(_, span)| span.clone())
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), ExprError> {
        if self.eat(symbol) {
            return Ok(());
        }
        Err(syntax(self.here(), format!("`{symbol}` is missing here")))
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, ExprError>,
    ) -> Result<T, ExprError> {
        if self.depth >= DEPTH_MAX {
            let message = format!("the expression is nested deeper than {DEPTH_MAX} levels");
            return Err(ExprError::new(ExprErrorKind::Limit, self.here(), message));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Operators that bind more strongly than `power`.
    fn expression(&mut self, power: u8) -> Result<Id, ExprError> {
        let mut left = self.unary()?;
        while let Some((op, op_power)) = self.peek().and_then(operator) {
            if op_power <= power {
                return Ok(left);
            }
            self.at += 1;
            let right = self.expression(op_power)?;
            let span = self.ast.span(left).start..self.ast.span(right).end;
            left = self.ast.push(Node::Binary(op, left, right), span)?;
        }
        if power < CHOOSE_POWER && self.eat("?") {
            let yes = self.nested(|p| p.expression(0))?;
            self.expect(":")?;
            let no = self.nested(|p| p.expression(0))?;
            let span = self.ast.span(left).start..self.ast.span(no).end;
            left = self.ast.push(Node::Choose { condition: left, yes, no }, span)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Id, ExprError> {
        let start = self.here().start;
        let negate = match self.peek() {
            Some(Token::Symbol("!")) => false,
            Some(Token::Symbol("-")) => true,
            _ => return self.postfix(),
        };
        self.at += 1;
        let operand = self.nested(Self::unary)?;
        let span = start..self.ast.span(operand).end;
        let node = if negate { Node::Negate(operand) } else { Node::Not(operand) };
        self.ast.push(node, span)
    }

    /// `x[i]` and `x.method(…)`.
    fn postfix(&mut self) -> Result<Id, ExprError> {
        let mut value = self.primary()?;
        loop {
            let start = self.ast.span(value).start;
            if self.eat("[") {
                let index = self.nested(|p| p.expression(0))?;
                self.expect("]")?;
                let end = self.tokens[self.at - 1].1.end;
                value = self.ast.push(Node::Index(value, index), start..end)?;
            } else if self.eat(".") {
                let (name, span) = self.word("a method")?;
                let Some(function) = Function::named(&name) else {
                    return Err(unknown_function(span, &name));
                };
                self.expect("(")?;
                value = self.call(function, vec![value], start, span)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn word(&mut self, what: &str) -> Result<(String, Range<usize>), ExprError> {
        match self.tokens.get(self.at) {
            Some((Token::Word(word), span)) => {
                let found = (word.clone(), span.clone());
                self.at += 1;
                Ok(found)
            }
            _ => Err(syntax(self.here(), format!("{what} is missing here"))),
        }
    }

    fn primary(&mut self) -> Result<Id, ExprError> {
        let Some((token, span)) = self.tokens.get(self.at).cloned() else {
            return Err(syntax(self.here(), "a value is missing here"));
        };
        self.at += 1;
        let value = match token {
            Token::Int(value) => Value::Int(value),
            Token::Float(value) => Value::Float(value),
            Token::Text(value) => Value::String(value),
            Token::Symbol("(") => {
                let inner = self.nested(|p| p.expression(0))?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Symbol("[") => {
                let items = self.list("]")?;
                let end = self.tokens[self.at - 1].1.end;
                return self.ast.push(Node::List(items), span.start..end);
            }
            Token::Symbol(_) => return Err(syntax(span, "a value is missing here")),
            Token::Word(word) => match word.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ if self.eat("(") => return self.function(&word, span),
                _ => return self.reference(word, span),
            },
        };
        self.ast.push(Node::Literal(value), span)
    }

    /// Items up to `close`, which is eaten.
    fn list(&mut self, close: &str) -> Result<Vec<Id>, ExprError> {
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(self.nested(|p| p.expression(0))?);
            if self.eat(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    fn function(&mut self, name: &str, span: Range<usize>) -> Result<Id, ExprError> {
        let node = match name {
            "success" => Node::Status(Status::Success),
            "failure" => Node::Status(Status::Failure),
            "always" => Node::Always,
            _ => {
                let Some(function) = Function::named(name) else {
                    return Err(unknown_function(span, name));
                };
                return self.call(function, Vec::new(), span.start, span);
            }
        };
        self.expect(")")?;
        let end = self.tokens[self.at - 1].1.end;
        self.ast.push(node, span.start..end)
    }

    /// The arguments behind `(`, after the receiver where there is one.
    fn call(
        &mut self,
        function: Function,
        mut arguments: Vec<Id>,
        start: usize,
        name: Range<usize>,
    ) -> Result<Id, ExprError> {
        arguments.extend(self.list(")")?);
        if arguments.len() != function.arity() {
            let message =
                format!("this takes {} values, but it has {}", function.arity(), arguments.len());
            return Err(syntax(name, message));
        }
        let end = self.tokens[self.at - 1].1.end;
        self.ast.push(Node::Call(function, arguments), start..end)
    }

    /// `params.x`, `git.x`, `matrix.x`, `stage.metrics["x"]`, `stage.values.x`, `stages["s"].…`
    fn reference(&mut self, root: String, span: Range<usize>) -> Result<Id, ExprError> {
        let reference = match root.as_str() {
            "params" => Reference::Param(self.member("params.lr")?),
            "git" => Reference::Git(self.member("git.branch")?),
            "matrix" => Reference::Matrix(self.member("matrix.seed")?),
            _ => {
                let stage = if root == "stages" { self.member("stages[\"train\"]")? } else { root };
                let example = "train.metrics[\"acc\"]";
                let kind = self.member(example)?;
                let kind_end = self.tokens[self.at - 1].1.end;
                match kind.as_str() {
                    "metrics" => Reference::Metric { stage, name: self.member(example)? },
                    "values" => {
                        Reference::StageValue { stage, key: self.member("train.values.k")? }
                    }
                    _ => {
                        let roots = ["params", "git", "matrix", "stages"];
                        let message = match crate::diagnostic::nearest(&stage, roots) {
                            Some(root) if root != stage => {
                                format!("there is no `{stage}`; did you mean `{root}`?")
                            }
                            _ => format!(
                                "`{stage}` has no `{kind}`; stages have `metrics` and `values`"
                            ),
                        };
                        return Err(syntax(span.start..kind_end, message));
                    }
                }
            }
        };
        let end = self.tokens[self.at - 1].1.end;
        self.ast.push(Node::Name(reference), span.start..end)
    }

    /// `.name` or `["name"]`.
    fn member(&mut self, example: &str) -> Result<String, ExprError> {
        if self.eat(".") {
            return self.word("a name").map(|(word, _)| word);
        }
        let here = self.here();
        if self.eat("[") {
            if let Some(Token::Text(name)) = self.peek().cloned() {
                self.at += 1;
                self.expect("]")?;
                return Ok(name);
            }
            return Err(syntax(self.here(), "a quoted name is missing here"));
        }
        Err(syntax(here, format!("a name stands alone here; write it like `{example}`")))
    }
}

fn unknown_function(span: Range<usize>, name: &str) -> ExprError {
    let known = Function::ALL.iter().map(|(known, _)| *known);
    let all = known.chain(["success", "failure", "always"]);
    let message = match crate::diagnostic::nearest(name, all) {
        Some(near) => format!("there is no function `{name}`; did you mean `{near}`?"),
        None => format!("there is no function `{name}`"),
    };
    syntax(span, message)
}
