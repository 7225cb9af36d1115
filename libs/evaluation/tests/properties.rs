//! What holds for any data.

use proptest::prelude::*;
use runyard_evaluation::results::{ResultsOptions, parse};
use runyard_evaluation::stats::{
    Bootstrap, Interval, PairedCounts, RatioOfSums, Resamples, clopper_pearson, holm, wilson,
};
use runyard_evaluation::watch::{ErrorRate, ErrorRatio};

fn counts() -> impl Strategy<Value = PairedCounts> {
    (0_u64..400, 0_u64..60, 0_u64..60, 1_u64..200).prop_map(|(both, b, c, neither)| PairedCounts {
        both,
        only_candidate: b,
        only_champion: c,
        neither,
    })
}

fn contains(outer: Interval, inner: Interval) -> bool {
    outer.low <= inner.low + 1e-12 && inner.high <= outer.high + 1e-12
}

proptest! {
    #[test]
    fn a_smaller_level_gives_a_wider_interval(counts in counts(), x in 0_u64..50, more in 1_u64..50) {
        let n = x + more;
        for (wide, narrow) in [(0.01, 0.05), (0.05, 0.2), (0.2, 0.49)] {
            prop_assert!(contains(wilson(x, n, wide), wilson(x, n, narrow)));
            prop_assert!(contains(clopper_pearson(x, n, wide), clopper_pearson(x, n, narrow)));
            prop_assert!(contains(counts.newcombe(wide), counts.newcombe(narrow)));
            prop_assert!(contains(counts.agresti_min(wide), counts.agresti_min(narrow)));
        }
    }

    #[test]
    fn intervals_hold_their_estimate_and_their_range(counts in counts()) {
        let interval = counts.newcombe(0.05);
        let difference = counts.difference();
        prop_assert!(interval.low <= difference && difference <= interval.high);
        prop_assert!(-1.0 <= interval.low && interval.high <= 1.0);
    }

    #[test]
    fn exchanged_models_mirror_everything(counts in counts()) {
        let mirrored = PairedCounts {
            only_candidate: counts.only_champion,
            only_champion: counts.only_candidate,
            ..counts
        };
        let (a, b) = (counts.newcombe(0.05), mirrored.newcombe(0.05).negated());
        prop_assert!((a.low - b.low).abs() < 1e-12 && (a.high - b.high).abs() < 1e-12);
        prop_assert_eq!(counts.mcnemar(), mirrored.mcnemar());
        prop_assert!(counts.mcnemar().mid_p <= counts.mcnemar().exact);
    }

    #[test]
    fn bootstrap_ends_are_in_order(values in prop::collection::vec(-1e6_f64..1e6, 2..40), seed: u64) {
        let resamples = Resamples::Seeded { seed, count: 200 };
        let bootstrap = Bootstrap::of(&RatioOfSums::mean(values.clone()), resamples);
        let interval = bootstrap.interval(0.05).interval;
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        prop_assert!(interval.low <= interval.high);
        prop_assert!(least - 1e-6 <= interval.low && interval.high <= most + 1e-6);
    }

    #[test]
    fn adjusted_p_never_shrinks(p in prop::collection::vec(0.0_f64..=1.0, 0..20)) {
        for (raw, adjusted) in p.iter().zip(holm(&p)) {
            prop_assert!(*raw <= adjusted && adjusted <= 1.0);
        }
    }

    #[test]
    fn no_bytes_bring_the_reader_down(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["r.csv", "r.jsonl", "r.json", "samples_t_2024-01-01.jsonl"] {
            let _ = parse(&[(name, bytes.as_slice())], &ResultsOptions::default());
        }
    }

    #[test]
    fn no_text_like_json_brings_the_reader_down(text in r#"[\[\]{}":,\\ \-0-9eNaInfity]{0,80}"#) {
        for name in ["r.jsonl", "r.json"] {
            let _ = parse(&[(name, text.as_bytes())], &ResultsOptions::default());
        }
    }

    #[test]
    fn evidence_is_a_finite_positive_number(
        weight in 0.001_f64..0.999,
        looks in prop::collection::vec((0_u64..50, 0_u64..50), 0..30),
    ) {
        let mut ratio = ErrorRatio::new(weight, 0.01).expect("a share");
        let mut rate = ErrorRate::new(weight, 0.01);
        for (canary, stable) in looks {
            ratio.observe_many(canary, stable);
            rate.observe(canary > stable);
            prop_assert!(!ratio.e_value().is_nan() && !rate.e_value().is_nan());
            prop_assert!(ratio.e_value() >= 0.0 && rate.e_value() >= 0.0);
        }
    }
}
