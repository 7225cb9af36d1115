//! A decision for a pull request.

use std::fmt::Write as _;

use super::format;
use super::record::{CheckRecord, ConditionKind, ConditionRecord, DecisionRecord};
use super::text::interval;
use super::verdict::Verdict;

/// Rows beyond this are left to the record, because a comment has a limit.
const ROWS_MAX: usize = 100;

impl DecisionRecord {
    /// The verdict table, the reasons, and what the examples could have shown.
    pub fn render_markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let against = self
            .champion
            .as_ref()
            .map_or_else(String::new, |side| format!(" against {}", escape(&side.label)));
        let _ = writeln!(
            out,
            "### Gate: {} {}\n\n{}{against}\n",
            mark(self.verdict),
            self.verdict,
            escape(&self.candidate.label)
        );
        out.push_str(
            "| check | champion | candidate | difference | interval | bound | adjusted p | verdict |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        let rows =
            self.checks.iter().flat_map(|check| check.conditions.iter().map(move |c| (check, c)));
        let count = rows.clone().count();
        for (check, condition) in rows.take(ROWS_MAX) {
            row(&mut out, check, condition);
        }
        if count > ROWS_MAX {
            let _ = writeln!(out, "\n{} more rows are in the record.", count - ROWS_MAX);
        }
        out.push('\n');
        for reason in &self.reasons {
            match reason.split_once('\n') {
                None => {
                    let _ = writeln!(out, "* {}", escape(reason));
                }
                Some((first, code)) => {
                    let code = code.replace('\n', "\n  ");
                    let _ = writeln!(out, "* {}\n\n  ```python\n  {code}\n  ```", escape(first));
                }
            }
        }
        for check in &self.checks {
            detectable(&mut out, check);
        }
        out
    }
}

fn row(out: &mut String, check: &CheckRecord, condition: &ConditionRecord) {
    let share = condition.is_share;
    let dash = || "–".to_owned();
    let value = |number: Option<f64>| number.map_or_else(dash, |n| format::value(n, share));
    let slice = condition.slice.as_ref().map_or_else(String::new, |s| format!(" [{s}]"));
    let bound = match condition.kind {
        ConditionKind::Min => format!("≥ {}", format::value(condition.bound, share)),
        ConditionKind::Max => format!("≤ {}", format::value(condition.bound, share)),
        ConditionKind::Margin => format!("margin {}", format::size(condition.bound, share)),
        ConditionKind::AnchorMargin => {
            format!("anchor's margin {}", format::size(condition.bound, share))
        }
    };
    let adjusted = condition
        .p_fail_adjusted
        .map_or_else(dash, |p| if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") });
    let difference = condition
        .champion
        .and(condition.estimate)
        .map_or_else(dash, |number| format::difference(number, share));
    let interval = match (&condition.method, condition.estimate) {
        (Some(_), _) => format!("{} ({:.0} %)", interval(condition), condition.level * 100.0),
        (None, Some(_)) => "no interval".to_owned(),
        (None, None) => dash(),
    };
    let _ = writeln!(
        out,
        "| {} | {} | {} | {difference} | {interval} | {bound} | {} | {} {} |",
        escape(&format!("{}{slice}", check.name)),
        value(condition.champion),
        value(condition.candidate),
        adjusted,
        mark(condition.verdict),
        condition.verdict
    );
}

fn detectable(out: &mut String, check: &CheckRecord) {
    let whole = check.conditions.iter().find(|c| c.slice.is_none() && c.champion.is_some());
    let Some((condition, size)) = whole.and_then(|c| Some((c, c.detectable?))) else {
        return;
    };
    let _ = writeln!(
        out,
        "\n{}: {} examples could have shown a difference of {} or more (power 80 %).",
        escape(&check.name),
        condition.n,
        format::size(size, condition.is_share)
    );
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✅",
        Verdict::Fail => "❌",
        Verdict::Inconclusive => "❔",
        Verdict::CannotTest => "⛔",
    }
}

/// Names and ids come from users: nothing in them may end a cell or become a tag or a link.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '@' | '#' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
