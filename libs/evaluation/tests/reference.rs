//! Values of scipy and statsmodels (tests/reference/generate.py), to 1e-9.

use runyard_evaluation::stats::{
    Bootstrap, ClusteredMean, Interval, MeanSummary, PairedCounts, RatioOfSums, Resamples,
    benjamini_hochberg, clopper_pearson, holm, normal_quantile_upper, quantile, quantile_interval,
    sign_flip, student_quantile_upper, wilson,
};
use serde_json::Value;

fn cases(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("reference/reference.json")).expect("json");
    all[section].as_array().expect("a list of cases").clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(number).collect()
}

#[track_caller]
fn close(got: f64, expected: f64, what: &str) {
    let error = (got - expected).abs();
    assert!(error <= 1e-9 * expected.abs().max(1.0), "{what}: {got} is not {expected}");
}

#[track_caller]
fn same(got: Interval, expected: &Value, what: &str) {
    close(got.low, number(&expected[0]), what);
    close(got.high, number(&expected[1]), what);
}

#[test]
fn proportions() {
    for case in cases("proportions") {
        let count = |key: &str| case[key].as_u64().expect("a count");
        let (x, n, tail) = (count("x"), count("n"), number(&case["tail"]));
        same(wilson(x, n, tail), &case["wilson"], &format!("wilson {x}/{n} {tail}"));
        let exact = clopper_pearson(x, n, tail);
        same(exact, &case["clopper_pearson"], &format!("clopper-pearson {x}/{n} {tail}"));
    }
}

#[test]
fn pairs_of_zero_and_one() {
    for case in cases("paired") {
        let cell = |i: usize| case["table"][i].as_u64().expect("a count");
        let counts = PairedCounts {
            both: cell(0),
            only_candidate: cell(1),
            only_champion: cell(2),
            neither: cell(3),
        };
        let what = case["table"].to_string();
        close(counts.mcnemar().exact, number(&case["exact"]), &what);
        close(counts.mcnemar().mid_p, number(&case["mid_p"]), &what);
        for expected in case["intervals"].as_array().expect("intervals") {
            let tail = number(&expected["tail"]);
            same(counts.newcombe(tail), &expected["newcombe"], &what);
            same(counts.agresti_min(tail), &expected["agresti_min"], &what);
        }
    }
}

#[test]
fn paired_t() {
    for case in cases("t_tests") {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let differences: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
        let summary = MeanSummary::of(&differences).expect("values");
        let test = summary.t_test(0.0).expect("variance");
        close(test.t, number(&case["t"]), "t");
        close(test.p, number(&case["p"]), "p");
        close(summary.skewness, number(&case["skewness"]), "skewness");
        for expected in case["intervals"].as_array().expect("intervals") {
            let interval = summary.t_interval(number(&expected["tail"])).expect("variance");
            same(interval, &expected["interval"], "t interval");
        }
    }
}

#[test]
fn bootstrap_on_given_resamples() {
    for case in cases("bootstraps") {
        let rows: Vec<Vec<u32>> =
            serde_json::from_value(case["indices"].clone()).expect("a matrix of indices");
        let statistic = RatioOfSums::mean(numbers(&case["x"]));
        let bootstrap = Bootstrap::of(&statistic, Resamples::Given(&rows));
        for expected in case["intervals"].as_array().expect("intervals") {
            let tail = number(&expected["tail"]);
            let outcome = bootstrap.interval(tail);
            assert!(outcome.accelerated);
            same(outcome.interval, &expected["bca"], "bca");
            same(bootstrap.percentile(tail), &expected["percentile"], "percentile");
        }
    }
}

#[test]
fn sign_flips() {
    for case in cases("sign_flips") {
        let outcome = sign_flip(&numbers(&case["d"]), 0, 0);
        assert!(outcome.exact);
        close(outcome.p, number(&case["p"]), "sign flip");
    }
}

#[test]
fn adjusted_p() {
    for case in cases("multiplicity") {
        let p = numbers(&case["p"]);
        for (got, key) in [(holm(&p), "holm"), (benjamini_hochberg(&p), "bh")] {
            for (got, expected) in got.iter().zip(numbers(&case[key])) {
                close(*got, expected, key);
            }
        }
    }
}

#[test]
fn clustered_means() {
    for case in cases("clusters") {
        let groups: Vec<usize> = serde_json::from_value(case["groups"].clone()).expect("groups");
        let clusters = case["clusters"].as_u64().expect("a count") as usize;
        let mean = ClusteredMean::of(&numbers(&case["x"]), &groups, clusters).expect("two groups");
        close(mean.mean, number(&case["mean"]), "mean");
        close(mean.se, number(&case["se"]), "clustered error");
        for expected in case["intervals"].as_array().expect("intervals") {
            same(mean.interval(number(&expected["tail"])), &expected["interval"], "clustered");
        }
    }
}

#[test]
fn quantiles_and_their_order_statistics() {
    for case in cases("quantiles") {
        let mut sorted = numbers(&case["x"]);
        sorted.sort_by(f64::total_cmp);
        let q = number(&case["q"]);
        close(quantile(&sorted, q), number(&case["value"]), "type 7");
        for expected in case["intervals"].as_array().expect("intervals") {
            let interval = quantile_interval(&sorted, q, number(&expected["tail"]));
            let end = |key: &str, beyond: f64| expected[key].as_f64().unwrap_or(beyond);
            assert_eq!(interval.low, end("low", f64::NEG_INFINITY));
            assert_eq!(interval.high, end("high", f64::INFINITY));
        }
    }
}

#[test]
fn quantiles_of_distributions() {
    let all: Value = serde_json::from_str(include_str!("reference/reference.json")).expect("json");
    let quantiles = &all["distribution_quantiles"];
    for case in quantiles["normal"].as_array().expect("cases") {
        close(normal_quantile_upper(number(&case[0])), number(&case[1]), "normal");
    }
    for case in quantiles["student"].as_array().expect("cases") {
        let got = student_quantile_upper(number(&case[0]), number(&case[1]));
        close(got, number(&case[2]), &format!("student {} {}", case[0], case[1]));
    }
}
