//! One condition: estimate, interval, verdict.

use super::estimator::Estimator;
use super::format;
use super::record::{ConditionKind, ConditionRecord, TestRecord};
use super::sample::{Sample, Slice};
use super::seed::child;
use super::spec::{CheckSpec, Goal, Stat};
use super::verdict::Verdict;
use crate::results::{FlatMetrics, Table};
use crate::stats::{
    ClusteredMean, Interval, MeanSummary, Resamples, mcnemar_mde, mean_mde, normal_quantile_upper,
    quantile, sign_flip,
};

/// The power of all planning figures.
const POWER: f64 = 0.80;
/// Fewer pairs than this, or more skewed ones, are tested by sign flips.
const T_PAIRS_MIN: usize = 30;
const T_SKEWNESS_MAX: f64 = 1.0;

/// A bound, and what is needed to judge it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) check: &'a CheckSpec,
    pub(crate) kind: ConditionKind,
    pub(crate) bound: f64,
    pub(crate) alpha: f64,
    pub(crate) seed: u64,
    pub(crate) resamples: u32,
}

impl Question<'_> {
    /// The answer when there is none.
    pub(crate) fn cannot(&self, slice: Option<&str>, reason: String) -> ConditionRecord {
        ConditionRecord {
            kind: self.kind,
            slice: slice.map(str::to_owned),
            bound: self.bound,
            verdict: Verdict::CannotTest,
            is_share: false,
            n: 0,
            left_out: 0,
            clusters: None,
            candidate: None,
            champion: None,
            estimate: None,
            low: None,
            high: None,
            level: 1.0 - 2.0 * self.alpha,
            method: None,
            t_interval: None,
            resamples: None,
            discordant: None,
            test: None,
            p_pass: None,
            p_fail: None,
            p_fail_adjusted: None,
            detectable: None,
            examples_needed: None,
            reason,
        }
    }

    /// Judges a number without its examples: the bare value decides, and the record says so.
    pub(crate) fn of_number(&self, flat: &FlatMetrics) -> ConditionRecord {
        let name = &self.check.metric;
        if self.check.stat != Stat::Mean || self.check.by.is_some() {
            let reason = format!("`{name}` has no per-example rows, which `stat` and `by` need");
            return self.cannot(None, reason);
        }
        if flat.not_finite.contains(name) {
            return self.cannot(None, format!("`{name}` is NaN or infinite"));
        }
        let Some(value) = flat.values.get(name).copied() else {
            let known: Vec<&str> = flat.values.keys().map(String::as_str).collect();
            let reason = format!("there is no metric `{name}`; there are {}", known.join(", "));
            return self.cannot(None, reason);
        };
        let holds = match self.kind {
            ConditionKind::Min => value >= self.bound,
            _ => value <= self.bound,
        };
        let (verdict, relation) = if holds { (Verdict::Pass, "") } else { (Verdict::Fail, "not ") };
        let side = if self.kind == ConditionKind::Min { "at least" } else { "at most" };
        let reason = format!(
            "{} is {relation}{side} {} (no interval: a number without its examples)",
            format::value(value, false),
            format::value(self.bound, false)
        );
        ConditionRecord {
            verdict,
            candidate: Some(value),
            estimate: Some(value),
            ..self.cannot(None, reason)
        }
    }

    /// Judges rows, alone or against another model's.
    pub(crate) fn of_rows(
        &self,
        table: &Table,
        other: Option<&Table>,
        slice: Slice<'_>,
    ) -> ConditionRecord {
        let value = slice.map(|(_, value)| value);
        let answer = Sample::of(self.check, table, other, slice).and_then(|sample| {
            let seed = self.stream(value);
            let resamples = Resamples::Seeded { seed, count: self.resamples };
            let estimator = Estimator::choose(self.check, &sample, resamples)?;
            Ok((sample, estimator))
        });
        match answer {
            Ok((sample, estimator)) => self.record(&sample, &estimator, value),
            Err(reason) => self.cannot(value, reason),
        }
    }

    fn stream(&self, slice: Option<&str>) -> u64 {
        let kind = match self.kind {
            ConditionKind::Min => "min",
            ConditionKind::Max => "max",
            ConditionKind::Margin => "margin",
            ConditionKind::AnchorMargin => "anchor",
        };
        child(self.seed, &[&self.check.name, kind, slice.unwrap_or("")])
    }

    fn record(
        &self,
        sample: &Sample,
        estimator: &Estimator,
        slice: Option<&str>,
    ) -> ConditionRecord {
        let interval = estimator.interval(self.alpha);
        let verdict = if self.holds(interval) {
            Verdict::Pass
        } else if self.is_broken(interval) {
            Verdict::Fail
        } else {
            Verdict::Inconclusive
        };
        let is_share = sample.binary && self.check.stat == Stat::Mean;
        let finite = |end: f64| end.is_finite().then_some(end);
        let level = |decided: &dyn Fn(Interval) -> bool| {
            smallest_level(estimator.level_min(), |tail| decided(estimator.interval(tail)))
        };
        let counts = sample.counts().filter(|_| is_share);
        let mut record = ConditionRecord {
            verdict,
            is_share,
            n: sample.n() as u64,
            left_out: sample.left_out as u64,
            clusters: sample.clusters.as_ref().map(|(_, count)| *count as u64),
            candidate: Some(self.value(&sample.candidate, sample.weights.as_deref())),
            champion: sample.other.as_ref().map(|v| self.value(v, sample.weights.as_deref())),
            estimate: Some(estimator.estimate()),
            low: finite(interval.low),
            high: finite(interval.high),
            method: Some(estimator.method(self.alpha).to_owned()),
            t_interval: self.t_interval(sample, estimator),
            resamples: match estimator {
                Estimator::Bca(b) | Estimator::Percentile(b) => Some(b.replicates() as u64),
                _ => None,
            },
            discordant: counts.map(|counts| [counts.only_candidate, counts.only_champion]),
            test: self.test(sample, slice),
            p_pass: Some(level(&|interval| self.holds(interval))),
            p_fail: Some(level(&|interval| self.is_broken(interval))),
            detectable: self.detectable(sample, estimator),
            examples_needed: (verdict == Verdict::Inconclusive)
                .then(|| self.examples_needed(sample.n(), estimator))
                .flatten(),
            ..self.cannot(slice, String::new())
        };
        record.reason = super::text::reason(&record, self.check.goal);
        record
    }

    /// Whether the interval lies wholly on the good side.
    fn holds(&self, interval: Interval) -> bool {
        match self.kind {
            ConditionKind::Min => interval.low >= self.bound,
            ConditionKind::Max => interval.high <= self.bound,
            ConditionKind::Margin | ConditionKind::AnchorMargin => {
                self.gain(interval).low > -self.bound
            }
        }
    }

    /// Whether the interval lies wholly on the bad side.
    fn is_broken(&self, interval: Interval) -> bool {
        match self.kind {
            ConditionKind::Min => interval.high < self.bound,
            ConditionKind::Max => interval.low > self.bound,
            ConditionKind::Margin | ConditionKind::AnchorMargin => {
                self.gain(interval).high < -self.bound
            }
        }
    }

    /// The interval of a difference with its sign such that more is better.
    fn gain(&self, interval: Interval) -> Interval {
        match self.check.goal {
            Goal::Max => interval,
            Goal::Min => interval.negated(),
        }
    }

    fn value(&self, values: &[f64], weights: Option<&[f64]>) -> f64 {
        match (self.check.stat, weights) {
            (Stat::Quantile(q), _) => {
                let mut sorted = values.to_vec();
                sorted.sort_unstable_by(f64::total_cmp);
                quantile(&sorted, q)
            }
            (Stat::Mean, None) => values.iter().sum::<f64>() / values.len() as f64,
            (Stat::Mean, Some(weights)) => {
                let total: f64 = weights.iter().sum();
                values.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>() / total
            }
        }
    }

    /// Student's interval beside a bootstrap of a plain mean.
    fn t_interval(&self, sample: &Sample, estimator: &Estimator) -> Option<[f64; 2]> {
        let is_bootstrap = matches!(estimator, Estimator::Bca(_) | Estimator::Percentile(_));
        let plain = sample.weights.is_none() && sample.clusters.is_none();
        if !(is_bootstrap && plain && self.check.stat == Stat::Mean) {
            return None;
        }
        let interval = MeanSummary::of(&sample.judged())?.t_interval(self.alpha)?;
        Some([interval.low, interval.high])
    }

    /// The test of no difference that goes with the data.
    fn test(&self, sample: &Sample, slice: Option<&str>) -> Option<TestRecord> {
        let record = |name: &str, p: f64| Some(TestRecord { name: name.to_owned(), p });
        if sample.other.is_none() || self.check.stat != Stat::Mean || sample.weights.is_some() {
            return None;
        }
        let differences = sample.judged();
        if let Some((groups, count)) = &sample.clusters {
            return record("clustered-t/1", ClusteredMean::of(&differences, groups, *count)?.p()?);
        }
        if let Some(counts) = sample.counts() {
            return record("mcnemar-mid-p/1", counts.mcnemar().mid_p);
        }
        let summary = MeanSummary::of(&differences)?;
        if summary.n < T_PAIRS_MIN || summary.skewness.abs() > T_SKEWNESS_MAX {
            let flip = sign_flip(&differences, self.resamples, self.stream(slice) ^ 1);
            return record(if flip.exact { "sign-flip-exact/1" } else { "sign-flip/1" }, flip.p);
        }
        record("paired-t/1", summary.t_test(0.0)?.p)
    }

    fn detectable(&self, sample: &Sample, estimator: &Estimator) -> Option<f64> {
        if matches!(estimator, Estimator::OrderStatistics { .. }) {
            return None;
        }
        if let (Estimator::Newcombe(counts) | Estimator::AgrestiMin(counts), true) =
            (estimator, sample.other.is_some())
        {
            let discordance = counts.discordant() as f64 / counts.n() as f64;
            return mcnemar_mde(counts.n(), discordance, self.alpha, POWER);
        }
        let (se, df) = match estimator {
            Estimator::Clustered(mean) => (mean.se, mean.clusters as f64 - 1.0),
            Estimator::Wilson { n, .. } | Estimator::ClopperPearson { n, .. }
                if self.bound > 0.0 && self.bound < 1.0 =>
            {
                ((self.bound * (1.0 - self.bound) / *n as f64).sqrt(), f64::INFINITY)
            }
            other => (other.se(self.alpha), sample.n() as f64 - 1.0),
        };
        // One end of the interval meets a bound, either end a difference.
        let level = if sample.other.is_some() { self.alpha } else { 2.0 * self.alpha };
        let mde = mean_mde(se, df, level, POWER);
        mde.is_finite().then_some(mde)
    }

    fn examples_needed(&self, n: usize, estimator: &Estimator) -> Option<u64> {
        let bound = match (self.kind, self.check.goal) {
            (ConditionKind::Min | ConditionKind::Max, _) => self.bound,
            (_, Goal::Max) => -self.bound,
            (_, Goal::Min) => self.bound,
        };
        let distance = (estimator.estimate() - bound).abs();
        let z = normal_quantile_upper(self.alpha) + normal_quantile_upper(1.0 - POWER);
        let ratio = z * estimator.se(self.alpha) / distance;
        let needed = (n as f64 * ratio * ratio).ceil();
        // Beyond this the estimate sits on the bound, and no number of examples is an advice.
        (needed.is_finite() && needed < 1e9).then(|| (needed as u64).max(n as u64 + 1))
    }
}

/// The smallest level at which an interval decides, by bisection; 1 when it does not at 0.5.
fn smallest_level(least: f64, decides: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (least, 0.5);
    if !decides(high) {
        return 1.0;
    }
    if decides(low) {
        return low;
    }
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if decides(middle) { high = middle } else { low = middle }
    }
    high
}
