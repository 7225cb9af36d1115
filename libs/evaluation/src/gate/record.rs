//! The decision as it is stored.

use serde::{Deserialize, Serialize};

use super::spec::{GateSpec, Goal, OnFail};
use super::verdict::Verdict;

/// The version of the record's format and of the methods behind it. Whatever changes a byte of a
/// record for the same inputs raises it.
pub const RECORD_FORMAT: u32 = 1;

/// A gate's decision with all it rests on. The same inputs give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// [`RECORD_FORMAT`] when it was made.
    pub format: u32,
    /// What the gate came to. Checks that only warn do not count.
    pub verdict: Verdict,
    /// Why, in words, gravest first.
    pub reasons: Vec<String>,
    /// The rule.
    pub spec: GateSpec,
    /// Names the random streams.
    pub seed: u64,
    /// How often the evaluation set had been used to judge before.
    pub set_uses: u32,
    /// The candidate.
    pub candidate: SideRecord,
    /// The champion, if its results were there.
    pub champion: Option<SideRecord>,
    /// Why there are none, when there is a champion without results.
    pub champion_broken: Option<String>,
    /// The anchor, if its results were there.
    pub anchor: Option<SideRecord>,
    /// Why there are none, when there is an anchor without results.
    pub anchor_broken: Option<String>,
    /// The checks, in the rule's order.
    pub checks: Vec<CheckRecord>,
}

/// A model that was judged, and the digests of what it was judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideRecord {
    /// What people call it.
    pub label: String,
    /// The digest of its artifact.
    pub model: String,
    /// The key of its evaluation.
    pub evaluation_key: String,
    /// The digest of its results.
    pub results_digest: String,
    /// The digest of ids and targets; None for numbers without examples.
    pub set_digest: Option<String>,
    /// Examples; None for numbers without examples.
    pub examples: Option<u64>,
    /// Rows without an answer.
    pub error_rows: u64,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// Its name.
    pub name: String,
    /// The metric.
    pub metric: String,
    /// What of it, `mean` or `p95`.
    pub stat: String,
    /// Which direction is better.
    pub goal: Goal,
    /// Whether it decides.
    pub on_fail: OnFail,
    /// What it came to; None when it was not judged, for want of a champion that the gate does not
    /// insist on.
    pub verdict: Option<Verdict>,
    /// One per bound, per model compared with, and per slice.
    pub conditions: Vec<ConditionRecord>,
}

/// The kind of bound a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionKind {
    /// The value is at least the bound.
    Min,
    /// The value is at most the bound.
    Max,
    /// The candidate is not worse than the champion by the bound or more.
    Margin,
    /// The same, against the anchor.
    AnchorMargin,
}

/// One condition and the figures that decided it, in the metric's own unit and direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionRecord {
    /// The kind of bound.
    pub kind: ConditionKind,
    /// The slice's value, under `by`.
    pub slice: Option<String>,
    /// The bound.
    pub bound: f64,
    /// What it came to.
    pub verdict: Verdict,
    /// Whether the values are 0 or 1, so that figures are shares.
    pub is_share: bool,
    /// Examples judged.
    pub n: u64,
    /// Examples left out because a value was missing or there was no answer.
    pub left_out: u64,
    /// Groups of examples, where they were judged as such.
    pub clusters: Option<u64>,
    /// The candidate's value.
    pub candidate: Option<f64>,
    /// The other model's value, for a difference.
    pub champion: Option<f64>,
    /// What is compared with the bound: the value, or candidate minus champion.
    pub estimate: Option<f64>,
    /// The lower end of the interval; None where the data give none.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// The interval's two-sided level: 0.90 at alpha 0.05.
    pub level: f64,
    /// How the interval was made, with its version.
    pub method: Option<String>,
    /// Student's interval beside a bootstrap's, for comparison.
    pub t_interval: Option<[f64; 2]>,
    /// The number of bootstrap resamples.
    pub resamples: Option<u64>,
    /// Examples on which only the candidate, and only the other model, is right.
    pub discordant: Option<[u64; 2]>,
    /// The test of no difference, reported beside the interval that decides.
    pub test: Option<TestRecord>,
    /// The smallest level at which the interval would pass: the one-sided p against "too bad".
    pub p_pass: Option<f64>,
    /// The smallest level at which it would fail: the one-sided p against "good enough".
    pub p_fail: Option<f64>,
    /// The same, adjusted for the other conditions of its kind.
    pub p_fail_adjusted: Option<f64>,
    /// The smallest difference that these examples could have shown: two-sided level equal to
    /// alpha, power 80 %. For an absolute bound, the smallest distance to it, one-sided.
    pub detectable: Option<f64>,
    /// When inconclusive: how many examples would decide with power 80 %, if the estimate held.
    pub examples_needed: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// A hypothesis test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestRecord {
    /// Its name, with its version.
    pub name: String,
    /// Two-sided p.
    pub p: f64,
}

/// Bytes that are not a record this version reads.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not a record.
    #[error("not a decision record")]
    Syntax(#[from] serde_json::Error),
    /// A newer one.
    #[error("a decision record of format {found}; this version reads up to {RECORD_FORMAT}")]
    Newer {
        /// Its format.
        found: u32,
    },
}

impl DecisionRecord {
    /// The canonical bytes: JSON, fields in the order of the format, no spaces, shortest numbers.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("keys are strings and no field can fail")
    }

    /// Reads what [`DecisionRecord::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        // The format first: the body of a newer one may not parse.
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format > RECORD_FORMAT {
            return Err(RecordError::Newer { found: head.format });
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}
