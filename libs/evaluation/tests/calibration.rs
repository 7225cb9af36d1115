//! Simulated evaluations: errors of the gates' methods at their stated levels.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use runyard_evaluation::stats::{
    Bootstrap, ClusteredMean, Interval, MeanSummary, PairedCounts, RatioOfSums, Resamples,
    mcnemar_mde, mean_mde,
};

struct Random(ChaCha8Rng);

impl Random {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A pair of models with the given shares of one-sided successes, 80 % of the rest both right.
    fn pair(&mut self, n: u64, only_candidate: f64, only_champion: f64) -> PairedCounts {
        PairedCounts::of((0..n).map(|_| {
            let u = self.uniform();
            if u < only_candidate {
                (true, false)
            } else if u < only_candidate + only_champion {
                (false, true)
            } else {
                let both = self.uniform() < 0.8;
                (both, both)
            }
        }))
    }
}

/// How many simulations to run: a few seconds' worth, times RUNYARD_TEST_SCALE.
fn runs(base: u32) -> u32 {
    let scale = std::env::var("RUNYARD_TEST_SCALE").ok().and_then(|text| text.parse().ok());
    (f64::from(base) * scale.unwrap_or(1.0_f64)) as u32
}

/// The largest count that a true rate `p` explains, at three standard errors.
fn at_most(p: f64, runs: u32) -> u32 {
    let runs = f64::from(runs);
    (runs * p + 3.0 * (runs * p * (1.0 - p)).sqrt()).floor() as u32
}

#[test]
fn equal_models_are_rarely_called_worse() {
    let mut random = Random::new(1);
    let runs = runs(1000);
    for n in [50, 200, 1000] {
        let (mut newcombe, mut mid_p) = (0, 0);
        for _ in 0..runs {
            let counts = random.pair(n, 0.05, 0.05);
            newcombe += u32::from(counts.newcombe(0.05).high < 0.0);
            mid_p += u32::from(counts.mcnemar().mid_p <= 0.05);
        }
        assert!(newcombe <= at_most(0.05, runs), "newcombe, n {n}: {newcombe} of {runs}");
        assert!(mid_p <= at_most(0.05, runs), "mid-p, n {n}: {mid_p} of {runs}");
    }
}

#[test]
fn a_model_at_the_margin_rarely_passes() {
    // The false promotion: the candidate is worse by exactly the margin of 2 points.
    let runs = runs(1000);
    let mut random = Random::new(2);
    for n in [200, 899] {
        let passed = (0..runs)
            .filter(|_| random.pair(n, 0.04, 0.06).newcombe(0.05).low > -0.02)
            .count() as u32;
        assert!(passed <= at_most(0.05, runs), "n {n}: {passed} of {runs}");
    }
}

#[test]
fn numbers_of_equal_models_are_rarely_called_worse() {
    let runs = runs(300);
    let mut random = Random::new(3);
    let (mut by_t, mut by_bca) = (0, 0);
    for run in 0..runs {
        let differences: Vec<f64> = (0..100).map(|_| random.normal()).collect();
        let summary = MeanSummary::of(&differences).expect("values");
        by_t += u32::from(summary.t_interval(0.05).expect("variance").high < 0.0);
        let resamples = Resamples::Seeded { seed: u64::from(run), count: 999 };
        let bootstrap = Bootstrap::of(&RatioOfSums::mean(differences), resamples);
        by_bca += u32::from(bootstrap.interval(0.05).interval.high < 0.0);
    }
    assert!(by_t <= at_most(0.05, runs), "t: {by_t} of {runs}");
    // 999 resamples are fewer than a gate takes; with 399 of 60 values the rate was 5.4 to 5.8 %.
    assert!(by_bca <= at_most(0.05, runs), "bca: {by_bca} of {runs}");
}

#[test]
fn intervals_cover_what_they_say() {
    let runs = runs(2000);
    let mut random = Random::new(4);
    let covers = |interval: Interval, truth: f64| interval.low <= truth && truth <= interval.high;
    let (mut newcombe, mut clustered) = (0, 0);
    for _ in 0..runs {
        newcombe += u32::from(covers(random.pair(150, 0.08, 0.12).newcombe(0.025), -0.04));
        let mut values = Vec::new();
        for _ in 0..30 {
            let shift = random.normal();
            values.extend((0..5).map(|_| shift + 0.5 * random.normal()));
        }
        let groups: Vec<usize> = (0..150).map(|i| i / 5).collect();
        let mean = ClusteredMean::of(&values, &groups, 30).expect("clusters");
        clustered += u32::from(covers(mean.interval(0.025), 0.0));
    }
    for (name, count) in [("newcombe", newcombe), ("clustered", clustered)] {
        let coverage = f64::from(count) / f64::from(runs);
        assert!((0.93..=0.97).contains(&coverage), "{name}: {coverage}");
    }
}

#[test]
fn the_printed_difference_is_found_four_times_in_five() {
    let runs = runs(1500);
    // Two points, and three standard errors of the simulation.
    let tolerance = 0.02 + 3.0 * (0.16 / f64::from(runs)).sqrt();
    let mut random = Random::new(5);
    for n in [500, 1000] {
        let delta = mcnemar_mde(n, 0.1, 0.05, 0.8).expect("found");
        let found = (0..runs)
            .filter(|_| {
                let counts = random.pair(n, (0.1 - delta) / 2.0, (0.1 + delta) / 2.0);
                counts.mcnemar().mid_p <= 0.05
            })
            .count();
        let power = found as f64 / f64::from(runs);
        assert!((power - 0.8).abs() <= tolerance, "mcnemar, n {n}: {power}");
    }
    let n = 100;
    let delta = mean_mde(1.0 / f64::from(n).sqrt(), f64::from(n) - 1.0, 0.05, 0.8);
    let found = (0..runs)
        .filter(|_| {
            let values: Vec<f64> = (0..n).map(|_| random.normal() + delta).collect();
            let summary = MeanSummary::of(&values).expect("values");
            summary.t_test(0.0).expect("variance").p <= 0.05
        })
        .count();
    let power = found as f64 / f64::from(runs);
    assert!((power - 0.8).abs() <= tolerance, "t: {power}");
}
