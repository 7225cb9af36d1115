//! The child process that judges a gate's rows: bytes in, a decision record out, under limits.

use std::io::{Read, Write};

use nix::sys::resource::{Resource, setrlimit};
use runyard_evaluation::gate::{
    Against, CheckSpec, Correction, GateInput, GateSpec, Goal, IfNone, OnFail, Side, decide,
};
use runyard_evaluation::results::{ErrorRows, Missing, ResultsOptions, parse};
use runyard_types::{decode, encode};
use serde::{Deserialize, Serialize};

/// Address space, in bytes.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// CPU time, in seconds.
const CPU_SECONDS_MAX: u64 = 240;
/// Input, in bytes.
const INPUT_BYTES_MAX: u64 = 600 << 20;

/// What is to be judged.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) rule: Rule,
    pub(crate) id: Option<String>,
    pub(crate) error_rows: String,
    pub(crate) missing_at_most: Option<f64>,
    pub(crate) candidate: SideJob,
    /// `None` without a champion; the reason where it could not be evaluated.
    pub(crate) champion: Option<Result<SideJob, String>>,
    pub(crate) seed: u64,
    pub(crate) set_uses: u32,
}

/// One model's rows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SideJob {
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) evaluation_key: String,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// The gate's keys.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) checks: Vec<RuleCheck>,
    pub(crate) correct: String,
    pub(crate) absolute_if_none: bool,
    pub(crate) stored: bool,
}

/// A check's keys.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RuleCheck {
    pub(crate) name: String,
    pub(crate) metric: String,
    pub(crate) stat: String,
    pub(crate) lower_is_better: bool,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) margin: Option<f64>,
    pub(crate) by: Option<String>,
    pub(crate) alpha: f64,
    pub(crate) method: Option<String>,
    pub(crate) warn: bool,
}

/// What was decided.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) record: Vec<u8>,
    pub(crate) verdict: String,
    pub(crate) summary: String,
}

/// The body of the child process; its exit code.
pub fn gate_child_main() -> i32 {
    // A limit that cannot be set is no reason not to judge: the parent still has its clock.
    let _ = setrlimit(Resource::RLIMIT_AS, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX);
    let _ = setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS_MAX, CPU_SECONDS_MAX);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let mut input = Vec::new();
    if std::io::stdin().take(INPUT_BYTES_MAX).read_to_end(&mut input).is_err() {
        return 74;
    }
    let answer = decode::<Job>("a gate's job", &input)
        .map_err(|error| error.to_string())
        .and_then(|job| judge(&job));
    match std::io::stdout().write_all(&encode(&answer)) {
        Ok(()) => 0,
        Err(_) => 74,
    }
}

fn judge(job: &Job) -> Result<Answer, String> {
    let spec = spec(&job.rule)?;
    let options = ResultsOptions {
        id: job.id.clone(),
        error_rows: match job.error_rows.as_str() {
            "drop" => ErrorRows::Drop,
            "fail" => ErrorRows::Fail,
            _ => ErrorRows::Zero,
        },
        missing: job.missing_at_most.map_or(Missing::Refuse, Missing::DropUpTo),
    };
    let candidate = side(&job.candidate, &options)
        .map_err(|error| format!("results of {}: {error}", job.candidate.label))?;
    let champion = match &job.champion {
        None => Against::Nothing,
        Some(Err(reason)) => Against::Broken(reason.clone()),
        Some(Ok(champion)) => match side(champion, &options) {
            Ok(side) => Against::Model(side),
            Err(error) => Against::Broken(format!("results of {}: {error}", champion.label)),
        },
    };
    let input = GateInput {
        spec: &spec,
        candidate: &candidate,
        champion: &champion,
        anchor: &Against::Nothing,
        seed: job.seed,
        set_uses: job.set_uses,
    };
    let record = decide(&input).map_err(|error| error.to_string())?;
    Ok(Answer {
        verdict: record.verdict.to_string(),
        summary: summary(&record),
        record: record.to_bytes(),
    })
}

fn side(job: &SideJob, options: &ResultsOptions) -> Result<Side, String> {
    let files: Vec<(&str, &[u8])> =
        job.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let results = parse(&files, options).map_err(|error| error.to_string())?;
    Ok(Side {
        label: job.label.clone(),
        model: job.model.clone(),
        evaluation_key: job.evaluation_key.clone(),
        results,
    })
}

fn spec(rule: &Rule) -> Result<GateSpec, String> {
    let checks = rule
        .checks
        .iter()
        .map(|check| {
            Ok(CheckSpec {
                name: check.name.clone(),
                metric: check.metric.clone(),
                stat: check
                    .stat
                    .parse()
                    .map_err(|error| format!("check {}: {error}", check.name))?,
                goal: if check.lower_is_better { Goal::Min } else { Goal::Max },
                min: check.min,
                max: check.max,
                margin: check.margin,
                by: check.by.clone(),
                alpha: Some(check.alpha),
                method: check
                    .method
                    .as_ref()
                    .map(|method| method.parse())
                    .transpose()
                    .map_err(|error| format!("check {}: {error}", check.name))?,
                on_fail: if check.warn { OnFail::Warn } else { OnFail::Reject },
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    Ok(GateSpec {
        checks,
        correct: match rule.correct.as_str() {
            "bh" => Correction::Bh,
            "none" => Correction::None,
            _ => Correction::Holm,
        },
        if_none: if rule.absolute_if_none { IfNone::Absolute } else { IfNone::CannotTest },
        stored: rule.stored,
        ..GateSpec::default()
    })
}

/// The first line that says why, for lists and events.
fn summary(record: &runyard_evaluation::gate::DecisionRecord) -> String {
    let decisive = record
        .checks
        .iter()
        .flat_map(|check| check.conditions.iter().map(move |condition| (check, condition)))
        .find(|(_, condition)| condition.verdict == record.verdict);
    match (decisive, record.reasons.first()) {
        (Some((check, condition)), _) => format!("{}: {}", check.name, condition.reason),
        (None, Some(reason)) => reason.clone(),
        (None, None) => String::new(),
    }
}
