//! What a gate demands.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The `gate:` block of a stage, without its references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateSpec {
    /// What must hold, in the file's order.
    pub checks: Vec<CheckSpec>,
    /// The probability of a wrong pass, one-sided: 0.05 lets the 90 % two-sided interval decide.
    pub alpha: f64,
    /// How p values are adjusted before one of several slices or checks is called a failure.
    pub correct: Correction,
    /// What becomes of a gate that cannot tell. Not used by [`super::decide`], which reports; kept
    /// because the record must show the whole rule.
    pub inconclusive: Inconclusive,
    /// What a gate does without a champion.
    pub if_none: IfNone,
    /// Whether results of another evaluation (another evaluation key) may be compared.
    pub stored: bool,
    /// How much the candidate may lose to the anchor, for every difference check.
    pub anchor_margin: Option<f64>,
    /// The number of bootstrap resamples.
    pub resamples: u32,
}

/// One of a gate's checks; all of its conditions must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckSpec {
    /// Its name in the file.
    pub name: String,
    /// The metric's name.
    pub metric: String,
    /// What of the metric is judged.
    pub stat: Stat,
    /// Which direction is better.
    pub goal: Goal,
    /// The least value allowed.
    pub min: Option<f64>,
    /// The largest value allowed.
    pub max: Option<f64>,
    /// How much worse than the champion it may be, in the metric's unit; 0 demands better.
    pub margin: Option<f64>,
    /// A text column: the check is made for each of its values.
    pub by: Option<String>,
    /// Overrides the gate's level.
    pub alpha: Option<f64>,
    /// Overrides the interval's method.
    pub method: Option<MethodName>,
    /// Whether a failure rejects.
    pub on_fail: OnFail,
}

/// What of a metric is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stat {
    /// The mean over examples.
    #[default]
    Mean,
    /// A quantile over examples, 0.95 for `p95`.
    Quantile(f64),
}

/// Which direction of a metric is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Lower is better.
    Min,
    /// Higher is better.
    #[default]
    Max,
}

/// What a failed check does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// It rejects the candidate.
    #[default]
    Reject,
    /// It is reported and decides nothing.
    Warn,
}

/// How p values of failures are adjusted. Passes need no adjustment: since all checks must pass,
/// the chance of promoting a bad model is at most the level of one (Berger 1982).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Bounds the chance of calling any good slice a failure.
    #[default]
    Holm,
    /// Bounds the expected share of good ones among the failures.
    Bh,
    /// None.
    None,
}

/// What becomes of a gate that cannot tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// The candidate is not promoted.
    #[default]
    Block,
    /// An approver decides.
    Ask,
    /// The candidate is promoted.
    Allow,
}

/// What a gate does without a champion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfNone {
    /// Differences cannot be tested.
    #[default]
    CannotTest,
    /// Only absolute bounds decide.
    Absolute,
}

/// A method for an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the variants are the methods' names; `stats` documents each")]
pub enum MethodName {
    Wilson,
    ClopperPearson,
    Newcombe,
    AgrestiMin,
    T,
    Bca,
    Percentile,
    Clustered,
    OrderStatistics,
}

/// A gate that demands nothing, or nonsense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// No check.
    #[error("the gate has no checks")]
    NoChecks,
    /// A name used twice, or none.
    #[error("two checks are called `{0}`, or one has no name")]
    Name(String),
    /// A check without a condition.
    #[error("check `{0}` demands nothing; give it min, max or margin")]
    NoCondition(String),
    /// A number out of its range.
    #[error("{place}: {what} is {value}, which is not {range}")]
    Range {
        /// The check or the gate.
        place: String,
        /// The key.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// Not a statistic.
    #[error("`stat: {0}` is not known; write mean, median, or a percentile such as p95")]
    Stat(String),
    /// Not a method.
    #[error(
        "`method: {0}` is not known; the methods are wilson, clopper-pearson, newcombe, \
         agresti-min, t, bca, percentile, clustered, order-statistics"
    )]
    Method(String),
}

impl Default for GateSpec {
    fn default() -> Self {
        Self {
            checks: Vec::new(),
            alpha: 0.05,
            correct: Correction::default(),
            inconclusive: Inconclusive::default(),
            if_none: IfNone::default(),
            stored: false,
            anchor_margin: None,
            resamples: 9999,
        }
    }
}

impl Default for CheckSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            metric: String::new(),
            stat: Stat::Mean,
            goal: Goal::Max,
            min: None,
            max: None,
            margin: None,
            by: None,
            alpha: None,
            method: None,
            on_fail: OnFail::Reject,
        }
    }
}

impl GateSpec {
    /// Refuses what cannot be judged, whatever the results.
    pub fn validate(&self) -> Result<(), SpecError> {
        if self.checks.is_empty() {
            return Err(SpecError::NoChecks);
        }
        let gate = "gate".to_owned();
        within(&gate, "alpha", Some(self.alpha), "between 0 and 0.5", |v| v > 0.0 && v < 0.5)?;
        within(&gate, "the anchor's margin", self.anchor_margin, "0 or more", |v| v >= 0.0)?;
        let resamples = Some(f64::from(self.resamples));
        within(&gate, "resamples", resamples, "from 999 to 1,000,000", |v| {
            (999.0..=1e6).contains(&v)
        })?;
        let mut names = BTreeSet::new();
        for check in &self.checks {
            if check.name.is_empty() || !names.insert(&check.name) {
                return Err(SpecError::Name(check.name.clone()));
            }
            check.validate()?;
        }
        Ok(())
    }
}

impl CheckSpec {
    fn validate(&self) -> Result<(), SpecError> {
        if self.min.is_none() && self.max.is_none() && self.margin.is_none() {
            return Err(SpecError::NoCondition(self.name.clone()));
        }
        let place = format!("check `{}`", self.name);
        within(&place, "alpha", self.alpha, "between 0 and 0.5", |v| v > 0.0 && v < 0.5)?;
        within(&place, "margin", self.margin, "0 or more", |v| v >= 0.0)?;
        within(&place, "min", self.min, "a finite number", |_| true)?;
        let under_max = |v: f64| self.min.is_none_or(|min| min <= v);
        within(&place, "max", self.max, "finite and at least min", under_max)?;
        if let Stat::Quantile(q) = self.stat {
            within(&place, "stat", Some(q), "a quantile between 0 and 1", |v| v > 0.0 && v < 1.0)?;
        }
        Ok(())
    }
}

fn within(
    place: &str,
    what: &'static str,
    value: Option<f64>,
    range: &'static str,
    holds: impl Fn(f64) -> bool,
) -> Result<(), SpecError> {
    match value {
        Some(value) if !(value.is_finite() && holds(value)) => {
            Err(SpecError::Range { place: place.to_owned(), what, value, range })
        }
        _ => Ok(()),
    }
}

impl FromStr for Stat {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refused = || SpecError::Stat(text.to_owned());
        match text.trim() {
            "mean" => Ok(Self::Mean),
            "median" => Ok(Self::Quantile(0.5)),
            text => {
                let digits = text.strip_prefix('p').ok_or_else(refused)?;
                let percent: f64 = digits.parse().map_err(|_| refused())?;
                let inside = percent > 0.0 && percent < 100.0;
                if inside { Ok(Self::Quantile(percent / 100.0)) } else { Err(refused()) }
            }
        }
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("mean"),
            // Rounded, because 0.57 · 100 is 56.99999999999999.
            Self::Quantile(q) => write!(f, "p{}", (q * 1e8).round() / 1e6),
        }
    }
}

const METHODS: [(MethodName, &str); 9] = [
    (MethodName::Wilson, "wilson"),
    (MethodName::ClopperPearson, "clopper-pearson"),
    (MethodName::Newcombe, "newcombe"),
    (MethodName::AgrestiMin, "agresti-min"),
    (MethodName::T, "t"),
    (MethodName::Bca, "bca"),
    (MethodName::Percentile, "percentile"),
    (MethodName::Clustered, "clustered"),
    (MethodName::OrderStatistics, "order-statistics"),
];

impl FromStr for MethodName {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = METHODS.iter().find(|(_, name)| *name == text.trim());
        known.map(|(method, _)| *method).ok_or_else(|| SpecError::Method(text.to_owned()))
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = METHODS.iter().find(|(method, _)| method == self);
        f.pad(known.expect("the table lists every method").1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(check: CheckSpec) -> GateSpec {
        GateSpec { checks: vec![check], ..GateSpec::default() }
    }

    fn check() -> CheckSpec {
        let name = "accuracy".to_owned();
        CheckSpec { name, metric: "correct".to_owned(), min: Some(0.9), ..CheckSpec::default() }
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        assert_eq!(gate(check()).validate(), Ok(()));
        let message = |spec: GateSpec| spec.validate().expect_err("refused").to_string();
        assert_eq!(
            message(gate(CheckSpec { margin: Some(-0.1), ..check() })),
            "check `accuracy`: margin is -0.1, which is not 0 or more"
        );
        assert!(message(gate(CheckSpec { min: None, ..check() })).contains("demands nothing"));
        assert!(message(gate(CheckSpec { max: Some(0.5), ..check() })).contains("at least min"));
        assert!(message(gate(CheckSpec { min: Some(f64::NAN), ..check() })).contains("finite"));
        assert!(message(GateSpec { alpha: 0.7, ..gate(check()) }).contains("alpha"));
        let twice = GateSpec { checks: vec![check(), check()], ..GateSpec::default() };
        assert!(message(twice).contains("two checks"));
        assert!(message(GateSpec::default()).contains("no checks"));
    }

    #[test]
    fn names_are_read_and_written() {
        for (text, q) in [("p95", 0.95), ("p99.9", 0.999), ("p57", 0.57)] {
            let stat: Stat = text.parse().expect("a percentile");
            assert!(matches!(stat, Stat::Quantile(value) if (value - q).abs() < 1e-12));
            assert_eq!(stat.to_string(), text);
        }
        assert!("p100".parse::<Stat>().is_err() && "p".parse::<Stat>().is_err());
        for (method, name) in METHODS {
            assert_eq!(name.parse(), Ok(method));
            assert_eq!(method.to_string(), name);
        }
    }
}
