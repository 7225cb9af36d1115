//! From checks to single questions.

use std::collections::BTreeSet;

use super::evaluate::Question;
use super::input::{Against, GateInput, Side};
use super::join::join;
use super::record::{ConditionKind, ConditionRecord};
use super::sample::Slice;
use super::spec::{CheckSpec, IfNone};
use crate::results::{Results, Table};

/// A check by more slices than this is a mistake in the column's name.
const SLICES_MAX: usize = 200;

/// Judges every condition of a check. None of them remain when the check is only about a champion
/// that does not exist yet and the gate allows that.
pub(crate) fn judge(input: &GateInput<'_>, check: &CheckSpec) -> Vec<ConditionRecord> {
    let mut records = Vec::new();
    let bounds = [(ConditionKind::Min, check.min), (ConditionKind::Max, check.max)];
    for (kind, bound) in bounds.into_iter().filter_map(|(kind, b)| Some((kind, b?))) {
        records.extend(absolute(&question(input, check, kind, bound), input.candidate));
    }
    let Some(margin) = check.margin else {
        return records;
    };
    let lenient = input.spec.if_none == IfNone::Absolute;
    if !(lenient && *input.champion == Against::Nothing) {
        let question = question(input, check, ConditionKind::Margin, margin);
        records.extend(relative(input, &question, input.champion, "champion"));
    }
    if let Some(margin) = input.spec.anchor_margin {
        let question = question(input, check, ConditionKind::AnchorMargin, margin);
        records.extend(relative(input, &question, input.anchor, "anchor"));
    }
    records
}

fn question<'a>(
    input: &GateInput<'a>,
    check: &'a CheckSpec,
    kind: ConditionKind,
    bound: f64,
) -> Question<'a> {
    let alpha = check.alpha.unwrap_or(input.spec.alpha);
    Question { check, kind, bound, alpha, seed: input.seed, resamples: input.spec.resamples }
}

fn absolute(question: &Question<'_>, candidate: &Side) -> Vec<ConditionRecord> {
    match &candidate.results {
        Results::Flat(flat) => vec![question.of_number(flat)],
        Results::Rows(table) => by_slice(question, table, None),
    }
}

fn relative(
    input: &GateInput<'_>,
    question: &Question<'_>,
    against: &Against,
    what: &str,
) -> Vec<ConditionRecord> {
    let other = match against {
        Against::Model(side) => side,
        Against::Broken(reason) => {
            return vec![question.cannot(None, format!("the {what} was not evaluated: {reason}"))];
        }
        Against::Nothing => {
            let reason = format!(
                "there is no {what} to compare with; `if-none: absolute` lets the bounds alone decide"
            );
            return vec![question.cannot(None, reason)];
        }
    };
    match join(input.candidate, other, input.spec.stored) {
        Ok((ours, theirs)) => by_slice(question, ours, Some(theirs)),
        Err(reason) => vec![question.cannot(None, reason)],
    }
}

fn by_slice(question: &Question<'_>, table: &Table, other: Option<&Table>) -> Vec<ConditionRecord> {
    let Some(name) = &question.check.by else {
        return vec![question.of_rows(table, other, None)];
    };
    let Some(column) = table.slices().get(name) else {
        return vec![question.cannot(None, no_slice(table, name))];
    };
    let values: BTreeSet<&str> = column.iter().map(String::as_str).collect();
    if values.len() > SLICES_MAX {
        let reason = format!("`{name}` has {} values; at most {SLICES_MAX} slices", values.len());
        return vec![question.cannot(None, reason)];
    }
    let of = |value| {
        let slice: Slice<'_> = Some((column, value));
        question.of_rows(table, other, slice)
    };
    values.into_iter().map(of).collect()
}

fn no_slice(table: &Table, name: &str) -> String {
    if let Some(reason) = table.notes().ignored.get(name) {
        return format!("`by: {name}`: that column is not used ({reason})");
    }
    let known: Vec<&str> = table.slices().keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("`by: {name}`: there is no such text column; there are {known}")
}
