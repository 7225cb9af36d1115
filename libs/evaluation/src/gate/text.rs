//! A decision for a terminal.

use std::fmt::Write as _;

use super::format;
use super::record::{CheckRecord, ConditionKind, ConditionRecord, DecisionRecord};
use super::spec::{Goal, OnFail};
use super::verdict::Verdict;

/// Why a condition came to its verdict.
pub(crate) fn reason(record: &ConditionRecord, goal: Goal) -> String {
    let share = record.is_share;
    let is_difference = matches!(record.kind, ConditionKind::Margin | ConditionKind::AnchorMargin);
    let show = |number: f64| {
        if is_difference { format::difference(number, share) } else { format::value(number, share) }
    };
    let figures = format!(
        "{} is {} ({:.0} % interval {})",
        if is_difference { "the difference" } else { "the value" },
        show(record.estimate.unwrap_or(f64::NAN)),
        record.level * 100.0,
        interval(record)
    );
    let other = if record.kind == ConditionKind::AnchorMargin { "anchor" } else { "champion" };
    let bound = if is_difference {
        format::size(record.bound, share)
    } else {
        format::value(record.bound, share)
    };
    let worse = if goal == Goal::Max { "lower" } else { "higher" };
    let meaning = match (record.verdict, record.kind) {
        (Verdict::Pass, ConditionKind::Min) => format!("at least {bound}"),
        (Verdict::Pass, ConditionKind::Max) => format!("at most {bound}"),
        (Verdict::Fail, ConditionKind::Min) => format!("certainly under {bound}"),
        (Verdict::Fail, ConditionKind::Max) => format!("certainly over {bound}"),
        (Verdict::Pass, _) if record.bound == 0.0 => format!("better than the {other}"),
        (Verdict::Pass, _) => {
            format!("not {worse} than the {other} by the margin of {bound}")
        }
        (Verdict::Fail, _) if record.bound == 0.0 => format!("worse than the {other}"),
        (Verdict::Fail, _) => {
            format!("{worse} than the {other} by more than the margin of {bound}")
        }
        (Verdict::Inconclusive | Verdict::CannotTest, _) => {
            let what = if is_difference { "the margin of " } else { "the bound " };
            let needed = record.examples_needed.map_or_else(String::new, |needed| {
                format!("; about {} more examples would tell", needed - record.n)
            });
            format!("{what}{bound} is neither kept nor broken for certain{needed}")
        }
    };
    format!("{figures}: {meaning}")
}

/// An interval in the unit of its estimate.
pub(crate) fn interval(record: &ConditionRecord) -> String {
    let share = record.is_share;
    let is_difference = matches!(record.kind, ConditionKind::Margin | ConditionKind::AnchorMargin);
    let show = |number: f64| {
        if is_difference { format::difference(number, share) } else { format::value(number, share) }
    };
    let end = |end: Option<f64>| end.map_or_else(|| "unbounded".to_owned(), show);
    format!("{} to {}", end(record.low), end(record.high))
}

impl DecisionRecord {
    /// Several plain lines: the verdict with its reasons, then the figures of every condition.
    pub fn render_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ =
            writeln!(out, "gate: {}  {}{}", self.verdict, self.candidate.label, self.opponent());
        for reason in &self.reasons {
            let _ = writeln!(out, "  {}", reason.replace('\n', "\n    "));
        }
        for check in &self.checks {
            self.check_lines(&mut out, check);
        }
        if self.set_uses > 0 {
            let times = match self.set_uses {
                1 => "once".to_owned(),
                uses => format!("{uses} times"),
            };
            let _ = writeln!(
                out,
                "this evaluation set has judged {times} before; figures grow optimistic with reuse"
            );
        }
        printable(&out)
    }

    fn opponent(&self) -> String {
        self.champion.as_ref().map_or_else(
            || " (no champion yet)".to_owned(),
            |champion| format!(" against {}", champion.label),
        )
    }

    fn check_lines(&self, out: &mut String, check: &CheckRecord) {
        let verdict =
            check.verdict.map_or_else(|| "not judged".to_owned(), |verdict| verdict.to_string());
        let warns = if check.on_fail == OnFail::Warn { ", only warns" } else { "" };
        let _ =
            writeln!(out, "{}  {} of {}{warns}: {verdict}", check.name, check.stat, check.metric);
        for condition in &check.conditions {
            self.condition_lines(out, condition);
        }
    }

    fn condition_lines(&self, out: &mut String, condition: &ConditionRecord) {
        let share = condition.is_share;
        let slice = condition.slice.as_ref().map_or_else(String::new, |s| format!(" [{s}]"));
        let (name, bound) = match condition.kind {
            ConditionKind::Min => ("min", format::value(condition.bound, share)),
            ConditionKind::Max => ("max", format::value(condition.bound, share)),
            ConditionKind::Margin => ("margin", format::size(condition.bound, share)),
            ConditionKind::AnchorMargin => ("anchor", format::size(condition.bound, share)),
        };
        let _ = writeln!(out, "  {name} {bound}{slice}: {}", condition.verdict);
        let (Some(candidate), Some(estimate)) = (condition.candidate, condition.estimate) else {
            return;
        };
        let value = |number| format::value(number, share);
        let level = condition.level * 100.0;
        match condition.champion {
            Some(champion) => {
                let _ = writeln!(
                    out,
                    "    champion {}  candidate {}  difference {}  {level:.0} % interval {}",
                    value(champion),
                    value(candidate),
                    format::difference(estimate, share),
                    interval(condition)
                );
            }
            None if condition.method.is_none() => {
                let _ = writeln!(out, "    candidate {}  no interval", value(candidate));
            }
            None => {
                let _ = writeln!(
                    out,
                    "    candidate {}  {level:.0} % interval {}",
                    value(candidate),
                    interval(condition)
                );
            }
        }
        let _ = writeln!(out, "    {}", evidence(condition));
        if let Some(detectable) = condition.detectable {
            let _ = writeln!(
                out,
                "    smallest {} these examples could have shown: {} (power 80 %)",
                if condition.champion.is_some() { "difference" } else { "distance to the bound" },
                format::size(detectable, share)
            );
        }
    }
}

/// Names and ids come from users: nothing in them may steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Method, test, number of examples.
fn evidence(condition: &ConditionRecord) -> String {
    let mut parts = Vec::new();
    if condition.n > 0 {
        parts.push(format!("{} examples", condition.n));
    }
    if let Some(clusters) = condition.clusters {
        parts.push(format!("in {clusters} clusters"));
    }
    if condition.left_out > 0 {
        parts.push(format!("{} left out", condition.left_out));
    }
    if let Some([candidate, champion]) = condition.discordant {
        parts.push(format!("only candidate right {candidate}, only champion right {champion}"));
    }
    if let Some(method) = &condition.method {
        parts.push(format!("interval {method}"));
    }
    if let Some(test) = &condition.test {
        parts.push(format!("{} {}", test.name, format::p(test.p)));
    }
    parts.join(", ")
}
