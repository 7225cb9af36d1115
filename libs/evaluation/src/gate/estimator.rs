//! Which method judges which data.

use super::sample::Sample;
use super::spec::{CheckSpec, MethodName, Stat};
use crate::stats::{
    Bootstrap, ClusteredMean, Interval, MeanSummary, PairedCounts, RatioOfSums, Resamples,
    clopper_pearson, normal_quantile_upper, quantile, quantile_interval, wilson,
};

/// An estimate that can give its interval at any level.
#[derive(Debug, Clone)]
pub(crate) enum Estimator {
    Wilson { successes: u64, n: u64 },
    ClopperPearson { successes: u64, n: u64 },
    Newcombe(PairedCounts),
    AgrestiMin(PairedCounts),
    T(MeanSummary),
    Clustered(ClusteredMean),
    Bca(Bootstrap),
    Percentile(Bootstrap),
    OrderStatistics { sorted: Vec<f64>, q: f64 },
}

impl Estimator {
    /// Chooses by the data, or takes the method that the check names if it fits them.
    pub(crate) fn choose(
        check: &CheckSpec,
        sample: &Sample,
        resamples: Resamples<'_>,
    ) -> Result<Self, String> {
        let method = match check.method {
            None => automatic(check, sample),
            Some(method) => method,
        };
        fits(method, check, sample)?;
        let judged = sample.judged();
        let summary = MeanSummary::of(&judged).ok_or("no example is left to judge")?;
        let successes = || judged.iter().filter(|value| **value == 1.0).count() as u64;
        let n = judged.len() as u64;
        let spread = |what: &str| {
            if summary.sd > 0.0 {
                return Ok(());
            }
            Err(format!(
                "zero variance: {what} is {} for every one of {n} examples, which gives no interval",
                summary.mean
            ))
        };
        let what = if sample.other.is_some() { "the difference" } else { "the value" };
        let counts = || sample.counts().ok_or_else(|| misfit(method, check, "pairs of 0 and 1"));
        Ok(match method {
            MethodName::Wilson => Self::Wilson { successes: successes(), n },
            MethodName::ClopperPearson => Self::ClopperPearson { successes: successes(), n },
            MethodName::Newcombe => Self::Newcombe(counts()?),
            MethodName::AgrestiMin => Self::AgrestiMin(counts()?),
            MethodName::T => {
                spread(what)?;
                Self::T(summary)
            }
            MethodName::Clustered => {
                let (groups, count) = sample.clusters.clone().unwrap_or_default();
                if count < 2 {
                    return Err("fewer than two clusters".to_owned());
                }
                spread(what)?;
                let mean = ClusteredMean::of(&judged, &groups, count);
                let mean = mean.filter(|mean| mean.se > 0.0);
                Self::Clustered(mean.ok_or("zero variance between the clusters")?)
            }
            MethodName::Bca | MethodName::Percentile => {
                if let Stat::Mean = check.stat {
                    spread(what)?;
                }
                let bootstrap = bootstrap(check, sample, judged, resamples)?;
                if bootstrap.se() == 0.0 {
                    return Err(format!("zero variance: {what} is the same in every resample"));
                }
                if method == MethodName::Bca {
                    Self::Bca(bootstrap)
                } else {
                    Self::Percentile(bootstrap)
                }
            }
            MethodName::OrderStatistics => {
                let Stat::Quantile(q) = check.stat else {
                    return Err(misfit(method, check, "a quantile"));
                };
                let mut sorted = judged;
                sorted.sort_unstable_by(f64::total_cmp);
                Self::OrderStatistics { sorted, q }
            }
        })
    }

    /// The estimate.
    pub(crate) fn estimate(&self) -> f64 {
        match self {
            Self::Wilson { successes, n } | Self::ClopperPearson { successes, n } => {
                *successes as f64 / *n as f64
            }
            Self::Newcombe(counts) | Self::AgrestiMin(counts) => counts.difference(),
            Self::T(summary) => summary.mean,
            Self::Clustered(mean) => mean.mean,
            Self::Bca(bootstrap) | Self::Percentile(bootstrap) => bootstrap.estimate(),
            Self::OrderStatistics { sorted, q } => quantile(sorted, *q),
        }
    }

    /// The interval that leaves `tail` outside at each end.
    pub(crate) fn interval(&self, tail: f64) -> Interval {
        match self {
            Self::Wilson { successes, n } => wilson(*successes, *n, tail),
            Self::ClopperPearson { successes, n } => clopper_pearson(*successes, *n, tail),
            Self::Newcombe(counts) => counts.newcombe(tail),
            Self::AgrestiMin(counts) => counts.agresti_min(tail),
            Self::T(summary) => {
                summary.t_interval(tail).expect("`choose` refuses a sample without variance")
            }
            Self::Clustered(mean) => mean.interval(tail),
            Self::Bca(bootstrap) => bootstrap.interval(tail).interval,
            Self::Percentile(bootstrap) => bootstrap.percentile(tail),
            Self::OrderStatistics { sorted, q } => quantile_interval(sorted, *q, tail),
        }
    }

    /// The method's name with its version, as the record has it.
    pub(crate) fn method(&self, tail: f64) -> &'static str {
        match self {
            Self::Wilson { .. } => "wilson/1",
            Self::ClopperPearson { .. } => "clopper-pearson/1",
            Self::Newcombe(_) => "newcombe-10/1",
            Self::AgrestiMin(_) => "agresti-min/1",
            Self::T(_) => "t/1",
            Self::Clustered(_) => "clustered/1",
            Self::Bca(bootstrap) if bootstrap.interval(tail).accelerated => "bootstrap-bca/1",
            Self::Bca(_) => "bootstrap-percentile/1 (bca does not exist here)",
            Self::Percentile(_) => "bootstrap-percentile/1",
            Self::OrderStatistics { .. } => "order-statistics/1",
        }
    }

    /// A standard error; for methods without one, what their interval's width amounts to.
    pub(crate) fn se(&self, tail: f64) -> f64 {
        match self {
            Self::T(summary) => summary.se(),
            Self::Clustered(mean) => mean.se,
            Self::Bca(bootstrap) | Self::Percentile(bootstrap) => bootstrap.se(),
            Self::Wilson { .. }
            | Self::ClopperPearson { .. }
            | Self::Newcombe(_)
            | Self::AgrestiMin(_)
            | Self::OrderStatistics { .. } => {
                self.interval(tail).half_width() / normal_quantile_upper(tail)
            }
        }
    }

    /// The smallest level that the method can tell from 0.
    pub(crate) fn level_min(&self) -> f64 {
        match self {
            Self::Bca(bootstrap) | Self::Percentile(bootstrap) => {
                1.0 / (bootstrap.replicates() as f64 + 1.0)
            }
            _ => 1e-9,
        }
    }
}

fn automatic(check: &CheckSpec, sample: &Sample) -> MethodName {
    let paired = sample.other.is_some();
    match check.stat {
        Stat::Quantile(_) if paired => MethodName::Percentile,
        Stat::Quantile(_) => MethodName::OrderStatistics,
        Stat::Mean if sample.weights.is_some() => MethodName::Bca,
        Stat::Mean if sample.clusters.is_some() => MethodName::Clustered,
        Stat::Mean if sample.binary && paired => MethodName::Newcombe,
        Stat::Mean if sample.binary => MethodName::Wilson,
        Stat::Mean => MethodName::Bca,
    }
}

fn fits(method: MethodName, check: &CheckSpec, sample: &Sample) -> Result<(), String> {
    use MethodName::{
        AgrestiMin, Bca, ClopperPearson, Clustered, Newcombe, OrderStatistics, Percentile, T,
        Wilson,
    };
    let needs = |what: &str| Err(misfit(method, check, what));
    let is_mean = check.stat == Stat::Mean;
    let paired = sample.other.is_some();
    let resampled = matches!(method, Bca | Percentile);
    match method {
        Wilson | ClopperPearson if paired || !sample.binary => {
            return needs("0/1 values of one model");
        }
        Newcombe | AgrestiMin if !paired || !sample.binary => return needs("pairs of 0/1 values"),
        Clustered if sample.clusters.is_none() => return needs("a cluster_id with groups"),
        OrderStatistics if is_mean || paired => return needs("a quantile of one model"),
        Wilson | ClopperPearson | Newcombe | AgrestiMin | T | Clustered if !is_mean => {
            return needs("`stat: mean`");
        }
        Bca if !is_mean => return needs("`stat: mean`; a quantile takes `percentile`"),
        Percentile if !is_mean && !paired => return needs("a pair; else take `order-statistics`"),
        _ => {}
    }
    if sample.weights.is_some() && !(resampled && is_mean) {
        return needs("examples of equal weight");
    }
    let knows_clusters = method == Clustered || (resampled && is_mean);
    if sample.clusters.is_some() && !knows_clusters {
        return needs("independent examples, and cluster_id says that some belong together");
    }
    Ok(())
}

fn misfit(method: MethodName, check: &CheckSpec, what: &str) -> String {
    format!("`{}` of `{}`: the method {method} needs {what}", check.stat, check.metric)
}

fn bootstrap(
    check: &CheckSpec,
    sample: &Sample,
    judged: Vec<f64>,
    resamples: Resamples<'_>,
) -> Result<Bootstrap, String> {
    if let (Stat::Quantile(q), Some(other)) = (check.stat, &sample.other) {
        return Ok(Bootstrap::of_quantile_difference(&sample.candidate, other, q, resamples));
    }
    let statistic = match (&sample.weights, &sample.clusters) {
        (None, None) => RatioOfSums::mean(judged),
        (weights, clusters) => {
            let n = judged.len();
            let weights = weights.clone().unwrap_or_else(|| vec![1.0; n]);
            let (groups, count) = clusters.clone().unwrap_or_else(|| ((0..n).collect(), n));
            if count < 2 {
                return Err("fewer than two clusters".to_owned());
            }
            let (mut top, mut bottom) = (vec![0.0; count], vec![0.0; count]);
            for ((value, weight), group) in judged.iter().zip(&weights).zip(&groups) {
                top[*group] += value * weight;
                bottom[*group] += weight;
            }
            RatioOfSums::ratio(top, bottom)
        }
    };
    Ok(Bootstrap::of(&statistic, resamples))
}
