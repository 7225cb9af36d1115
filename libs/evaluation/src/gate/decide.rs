//! From conditions to a decision.

use super::conditions::judge;
use super::input::{Against, GateInput, Side};
use super::record::{CheckRecord, DecisionRecord, RECORD_FORMAT, SideRecord};
use super::spec::{CheckSpec, Correction, OnFail, SpecError};
use super::verdict::Verdict;
use crate::results::Results;
use crate::stats::{benjamini_hochberg, holm};

/// Decides a gate. Bad results are a verdict (`cannot_test`), not an error; a rule that no results
/// could be judged by is one.
pub fn decide(input: &GateInput<'_>) -> Result<DecisionRecord, SpecError> {
    input.spec.validate()?;
    let mut checks: Vec<CheckRecord> =
        input.spec.checks.iter().map(|check| check_record(input, check)).collect();
    for family in [OnFail::Reject, OnFail::Warn] {
        adjust(input, &mut checks, family);
    }
    for check in &mut checks {
        check.verdict = (!check.conditions.is_empty())
            .then(|| Verdict::all(check.conditions.iter().map(|condition| condition.verdict)));
    }
    let (verdict, reasons) = overall(&checks);
    let (champion, champion_broken) = against(input.champion);
    let (anchor, anchor_broken) = against(input.anchor);
    Ok(DecisionRecord {
        format: RECORD_FORMAT,
        verdict,
        reasons,
        spec: input.spec.clone(),
        seed: input.seed,
        set_uses: input.set_uses,
        candidate: side_record(input.candidate),
        champion,
        champion_broken,
        anchor,
        anchor_broken,
        checks,
    })
}

/// Inputs that are not those of the record.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecomputeError {
    /// Other results, or another model.
    #[error("the {which} is not the one that was judged: {what} differs")]
    Other {
        /// Candidate, champion or anchor.
        which: &'static str,
        /// What differs.
        what: &'static str,
    },
    /// The record is of another format than this version makes.
    #[error("the record has format {found}, this version makes {RECORD_FORMAT}")]
    Format {
        /// The record's format.
        found: u32,
    },
    /// The record's rule is not one.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl DecisionRecord {
    /// Decides again from the record's rule and seed and the results it was made from. A record that
    /// was not tampered with gives the same bytes. Errors when the results are not those it names.
    pub fn recompute(
        &self,
        candidate: &Side,
        champion: &Against,
        anchor: &Against,
    ) -> Result<DecisionRecord, RecomputeError> {
        if self.format != RECORD_FORMAT {
            return Err(RecomputeError::Format { found: self.format });
        }
        same("candidate", Some(&self.candidate), Some(candidate))?;
        same("champion", self.champion.as_ref(), results_of(champion))?;
        same("anchor", self.anchor.as_ref(), results_of(anchor))?;
        let (seed, set_uses) = (self.seed, self.set_uses);
        let input = GateInput { spec: &self.spec, candidate, champion, anchor, seed, set_uses };
        Ok(decide(&input)?)
    }
}

fn same(
    which: &'static str,
    stored: Option<&SideRecord>,
    given: Option<&Side>,
) -> Result<(), RecomputeError> {
    let other = |what| Err(RecomputeError::Other { which, what });
    match (stored, given.map(side_record)) {
        (None, None) => Ok(()),
        (Some(stored), Some(given)) if *stored == given => Ok(()),
        (Some(stored), Some(given)) if stored.model != given.model => other("the model's digest"),
        (Some(stored), Some(given)) if stored.evaluation_key != given.evaluation_key => {
            other("the evaluation's key")
        }
        (Some(_), Some(_)) => other("the results' digest"),
        (None, Some(_)) | (Some(_), None) => other("whether it was there"),
    }
}

fn check_record(input: &GateInput<'_>, check: &CheckSpec) -> CheckRecord {
    CheckRecord {
        name: check.name.clone(),
        metric: check.metric.clone(),
        stat: check.stat.to_string(),
        goal: check.goal,
        on_fail: check.on_fail,
        verdict: None,
        conditions: judge(input, check),
    }
}

/// Calling one of many slices a failure needs evidence that grows with their number.
fn adjust(input: &GateInput<'_>, checks: &mut [CheckRecord], family: OnFail) {
    let alphas: Vec<f64> =
        input.spec.checks.iter().map(|check| check.alpha.unwrap_or(input.spec.alpha)).collect();
    let mut conditions: Vec<_> = checks
        .iter_mut()
        .zip(alphas)
        .filter(|(check, _)| check.on_fail == family)
        .flat_map(|(check, alpha)| check.conditions.iter_mut().map(move |c| (c, alpha)))
        .filter(|(condition, _)| condition.p_fail.is_some())
        .collect();
    let p: Vec<f64> = conditions.iter().filter_map(|(condition, _)| condition.p_fail).collect();
    let (adjusted, name) = match input.spec.correct {
        Correction::Holm => (holm(&p), "Holm's"),
        Correction::Bh => (benjamini_hochberg(&p), "Benjamini and Hochberg's"),
        Correction::None => return,
    };
    let count = p.len();
    for ((condition, alpha), p) in conditions.iter_mut().zip(adjusted) {
        condition.p_fail_adjusted = Some(p);
        if count > 1 && condition.verdict == Verdict::Fail && p > *alpha {
            condition.verdict = Verdict::Inconclusive;
            condition.reason.push_str(&format!(
                "; not enough to call one of {count} conditions a failure (p {p:.4} after {name} \
                 correction)"
            ));
        }
    }
}

fn overall(checks: &[CheckRecord]) -> (Verdict, Vec<String>) {
    let deciding = || checks.iter().filter(|check| check.on_fail == OnFail::Reject);
    let judged: Vec<Verdict> = deciding().filter_map(|check| check.verdict).collect();
    if judged.is_empty() {
        let reason = if deciding().next().is_none() {
            "no check decides: all of them only warn"
        } else {
            "there is no champion, and no check has a bound of its own (min or max)"
        };
        return (Verdict::CannotTest, vec![reason.to_owned()]);
    }
    let verdict = Verdict::all(judged);
    let mut reasons = Vec::new();
    for wanted in [Verdict::Fail, Verdict::CannotTest, Verdict::Inconclusive] {
        for check in deciding() {
            reasons.extend(words(check, wanted, ""));
        }
    }
    if verdict == Verdict::Pass {
        let count = deciding().map(|check| check.conditions.len()).sum::<usize>();
        reasons.push(match count {
            1 => "the condition holds".to_owned(),
            _ => format!("all {count} conditions hold"),
        });
    }
    for check in checks.iter().filter(|check| check.on_fail == OnFail::Warn) {
        for wanted in [Verdict::Fail, Verdict::CannotTest, Verdict::Inconclusive] {
            reasons.extend(words(check, wanted, "warning: "));
        }
    }
    (verdict, reasons)
}

fn words(check: &CheckRecord, wanted: Verdict, prefix: &str) -> Vec<String> {
    let of = check.conditions.iter().filter(|condition| condition.verdict == wanted);
    of.map(|condition| {
        let slice = condition.slice.as_ref().map_or_else(String::new, |s| format!(" [{s}]"));
        format!("{prefix}{}{slice}: {}", check.name, condition.reason)
    })
    .collect()
}

fn against(against: &Against) -> (Option<SideRecord>, Option<String>) {
    match against {
        Against::Nothing => (None, None),
        Against::Model(side) => (Some(side_record(side)), None),
        Against::Broken(reason) => (None, Some(reason.clone())),
    }
}

fn results_of(against: &Against) -> Option<&Side> {
    match against {
        Against::Model(side) => Some(side),
        Against::Nothing | Against::Broken(_) => None,
    }
}

fn side_record(side: &Side) -> SideRecord {
    let (results_digest, set_digest, examples, error_rows) = match &side.results {
        Results::Rows(table) => (
            table.digest().to_string(),
            Some(table.set_digest().to_string()),
            Some(table.len() as u64),
            table.notes().error_rows as u64,
        ),
        Results::Flat(flat) => (flat.digest().to_string(), None, None, 0),
    };
    SideRecord {
        label: side.label.clone(),
        model: side.model.clone(),
        evaluation_key: side.evaluation_key.clone(),
        results_digest,
        set_digest,
        examples,
        error_rows,
    }
}
