//! Conditions and the values of `env`: their form, their names, their types. A mention of another
//! stage becomes a need.

use std::collections::BTreeMap;
use std::ops::Range;

use runyard_types::{Name, StageName};

use crate::codes::Code;
use crate::diagnostic::shown;
use crate::expr::{Expr, ExprError, ExprErrorKind, Reference, Template, Type};
use crate::model::Param;
use crate::read::{Cx, Draft, Link, LinkKind, Spot, StageDraft};

/// What `git.` knows. All of them are empty outside git.
pub(crate) const GIT_NAMES: &[&str] = &["author", "branch", "commit", "message", "tag"];

pub(super) fn check(cx: &mut Cx<'_>, draft: &mut Draft) {
    let scope = Scope { params: &draft.params, names: &draft.param_names };
    for stage in &mut draft.stages {
        if let Some(text) = stage.stage.condition.clone() {
            let span = stage.spot(&Spot::Condition);
            condition(cx, &scope, stage, &text, &span);
        }
        for (key, text) in stage.stage.env.clone() {
            let span = stage.spot(&Spot::Env(key));
            variable(cx, &scope, stage, &text, &span);
        }
    }
}

struct Scope<'d> {
    params: &'d BTreeMap<Name, (Param, Range<usize>)>,
    names: &'d [(Name, Range<usize>)],
}

impl Scope<'_> {
    fn type_of(&self, reference: &Reference) -> Type {
        match reference {
            Reference::Param(name) => {
                self.params.get(name.as_str()).map_or(Type::Any, |(param, _)| param.kind.into())
            }
            Reference::Git(_) | Reference::Matrix(_) | Reference::StageValue { .. } => Type::String,
            Reference::Metric { .. } => Type::Float,
        }
    }
}

fn condition(
    cx: &mut Cx<'_>,
    scope: &Scope<'_>,
    stage: &mut StageDraft,
    text: &str,
    span: &Range<usize>,
) {
    if text.contains("${{") {
        cx.error(
            Code::Interpolation,
            span,
            "`if` is an expression already; `${{ }}` is for `env:`",
        );
        cx.help("write it without `${{` and `}}`");
        return;
    }
    let expr = match Expr::parse(text) {
        Ok(expr) => expr,
        Err(error) => return report(cx, &error, text, span),
    };
    for (reference, at) in expr.references() {
        let place = cx.inner(span, text, &at);
        if let Reference::Matrix(axis) = reference {
            let message = format!("`matrix.{}` has no value in `if`", shown(axis));
            cx.error(Code::UnknownName, &place, message);
            cx.help("a condition is decided once for the whole stage; use `exclude` to leave out points");
        } else {
            known(cx, scope, stage, reference, place);
        }
    }
    match expr.infer(&|reference| scope.type_of(reference)) {
        Ok(Type::Bool | Type::Any) => {}
        Ok(other) => {
            cx.error(Code::ExpressionType, span, format!("`if` is a bool, but this is {other}"));
            cx.help(match other {
                Type::String => {
                    "compare it: `… == \"main\"`; `… != \"\"` asks whether there is any"
                }
                Type::List => "compare it: `size(…) > 0` asks whether there is any",
                _ => "compare it: `… > 0`",
            });
        }
        Err(error) => report(cx, &error, text, span),
    }
}

fn variable(
    cx: &mut Cx<'_>,
    scope: &Scope<'_>,
    stage: &mut StageDraft,
    text: &str,
    span: &Range<usize>,
) {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => return report(cx, &error, text, span),
    };
    for (reference, at) in template.references() {
        let place = cx.inner(span, text, &at);
        known(cx, scope, stage, reference, place);
    }
    for (expr, at) in template.expressions() {
        match expr.infer(&|reference| scope.type_of(reference)) {
            Ok(Type::List) => {
                cx.error(Code::ExpressionType, span, "a list has no text");
                cx.help("take one value of it, or write the text out");
            }
            Ok(_) => {}
            Err(mut error) => {
                error.span = error.span.start + at..error.span.end + at;
                report(cx, &error, text, span);
            }
        }
    }
}

fn report(cx: &mut Cx<'_>, error: &ExprError, text: &str, span: &Range<usize>) {
    let code = match error.kind {
        ExprErrorKind::Syntax => Code::ExpressionSyntax,
        ExprErrorKind::Limit => Code::ExpressionLimit,
        ExprErrorKind::Undefined => Code::UnknownName,
        ExprErrorKind::Type | ExprErrorKind::Arithmetic => Code::ExpressionType,
    };
    let place = cx.inner(span, text, &error.span);
    cx.error(code, &place, format!("in the expression: {}", error.message));
    if error.kind == ExprErrorKind::Type {
        cx.help("values never turn into one another: write both sides alike (`0.1` is a number, `\"0.1\"` a text), or convert one with `int(…)`, `float(…)` or `string(…)`");
    }
}

fn known(
    cx: &mut Cx<'_>,
    scope: &Scope<'_>,
    stage: &mut StageDraft,
    reference: &Reference,
    place: Range<usize>,
) {
    match reference {
        Reference::Param(name) => {
            let names = || scope.names.iter().map(|(name, _)| name.as_str());
            if !names().any(|known| known == name) {
                let message = format!("there is no parameter `{}`", shown(name));
                cx.error(Code::UnknownName, &place, message);
                if !cx.suggest(name, names()) {
                    cx.help("declare it under `params:`");
                }
            }
        }
        Reference::Git(name) => {
            if !GIT_NAMES.contains(&name.as_str()) {
                let message = format!("there is no `git.{}`", shown(name));
                cx.error(Code::UnknownName, &place, message);
                if !cx.suggest(name, GIT_NAMES.iter().copied()) {
                    cx.help(format!("there are {}", GIT_NAMES.join(", ")));
                }
            }
        }
        Reference::Matrix(axis) => {
            let axes = stage.stage.matrix.as_ref().map(|matrix| &matrix.axes);
            let names = || axes.into_iter().flat_map(|axes| axes.keys().map(Name::as_str));
            if !names().any(|known| known == axis) {
                let message = format!("the stage has no axis `{}`", shown(axis));
                cx.error(Code::UnknownName, &place, message);
                cx.suggest(axis, names());
            }
        }
        Reference::Metric { stage: name, .. } | Reference::StageValue { stage: name, .. } => {
            match StageName::new(name) {
                Ok(to) => {
                    let kind = LinkKind::Expression;
                    stage.links.push(Link { to, output: None, span: place, kind });
                }
                Err(error) => cx.error(Code::BadName, &place, error.to_string()),
            }
        }
    }
}
