//! Gates over real results: verdicts, reasons, records.

use runyard_evaluation::gate::{
    Against, CheckSpec, Correction, DecisionRecord, GateInput, GateSpec, Goal, IfNone, MethodName,
    OnFail, RecomputeError, RecordError, Side, SpecError, Stat, Verdict, decide,
};
use runyard_evaluation::results::{ErrorRows, Missing, ResultsOptions, parse};

/// The results of a model, as a csv file would give them.
fn side(label: &str, csv: &str) -> Side {
    side_with(label, csv, &ResultsOptions::default())
}

fn side_with(label: &str, csv: &str, options: &ResultsOptions) -> Side {
    let name = if csv.starts_with('{') { "metrics.json" } else { "rows.csv" };
    Side {
        label: label.to_owned(),
        model: format!("digest of {label}"),
        evaluation_key: "eval".to_owned(),
        results: parse(&[(name, csv.as_bytes())], options).expect("understood"),
    }
}

/// 0/1 results of `n` examples of which `wrong` says which are wrong.
fn rows(n: usize, wrong: impl Fn(usize) -> bool) -> String {
    let rows: String = (0..n)
        .map(|i| format!("e{i:04},{},{}\n", i % 10, if wrong(i) { 99 } else { i % 10 }))
        .collect();
    format!("id,y_true,y_pred\n{rows}")
}

fn numbers(n: usize, value: impl Fn(usize) -> f64) -> String {
    let rows: String = (0..n).map(|i| format!("e{i:04},{}\n", value(i))).collect();
    format!("id,ms\n{rows}")
}

fn accuracy() -> CheckSpec {
    CheckSpec { name: "accuracy".into(), metric: "correct".into(), ..CheckSpec::default() }
}

fn latency() -> CheckSpec {
    CheckSpec {
        name: "latency".into(),
        metric: "ms".into(),
        goal: Goal::Min,
        ..CheckSpec::default()
    }
}

fn gate(checks: impl IntoIterator<Item = CheckSpec>) -> GateSpec {
    GateSpec {
        checks: checks.into_iter().collect(),
        if_none: IfNone::Absolute,
        resamples: 1999,
        ..GateSpec::default()
    }
}

fn judge(spec: &GateSpec, candidate: &Side, champion: &Against) -> DecisionRecord {
    let anchor = Against::Nothing;
    let input = GateInput { spec, candidate, champion, anchor: &anchor, seed: 7, set_uses: 0 };
    decide(&input).expect("a valid rule")
}

fn reason(record: &DecisionRecord) -> &str {
    &record.reasons[0]
}

/// The demo's four models on 899 examples.
fn first() -> Side {
    side("digits@1", &rows(899, |i| i % 20 == 0))
}
fn better() -> Side {
    side("digits@2", &rows(899, |i| i % 60 == 0))
}
fn worse() -> Side {
    side("digits@3", &rows(899, |i| i % 7 == 0))
}
fn demo() -> GateSpec {
    gate([CheckSpec { min: Some(0.80), margin: Some(0.02), ..accuracy() }])
}

#[test]
fn the_first_model_is_judged_by_its_bound_alone() {
    let record = judge(&demo(), &first(), &Against::Nothing);
    assert_eq!(record.verdict, Verdict::Pass);
    let condition = &record.checks[0].conditions[0];
    assert_eq!(record.checks[0].conditions.len(), 1, "nothing to be compared with");
    assert_eq!(condition.method.as_deref(), Some("wilson/1"));
    assert!((condition.candidate.expect("there") - 854.0 / 899.0).abs() < 1e-12);
    assert!(condition.p_pass.expect("there") < 1e-6);
    assert!((condition.level - 0.9).abs() < 1e-12);
}

#[test]
fn a_better_model_passes_and_a_worse_one_is_shown_why_not() {
    let record = judge(&demo(), &better(), &Against::Model(first()));
    assert_eq!(record.verdict, Verdict::Pass, "{:?}", record.reasons);

    let record = judge(&demo(), &worse(), &Against::Model(better()));
    assert_eq!(record.verdict, Verdict::Fail);
    let text = record.render_text();
    for part in [
        "gate: fail  digits@3 against digits@2",
        "lower than the champion by more than the margin of 2.00 pt",
        "90 % interval",
        "899 examples",
        "newcombe-10/1",
        "mcnemar-mid-p/1 p < 0.0001",
        "smallest difference these examples could have shown",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let markdown = record.render_markdown();
    assert!(markdown.contains("| accuracy | 98.33 % | 85.65 % | -12.68 pt |"), "{markdown}");
    assert!(markdown.contains("899 examples could have shown a difference of"), "{markdown}");
}

#[test]
fn not_significantly_worse_is_no_pass() {
    // 50 examples and a candidate that is 4 points worse: no test finds it, and no margin is kept.
    let champion = Against::Model(side("a", &rows(50, |i| i < 2)));
    let candidate = side("b", &rows(50, |i| i < 4));
    let record =
        judge(&gate([CheckSpec { margin: Some(0.02), ..accuracy() }]), &candidate, &champion);
    assert_eq!(record.verdict, Verdict::Inconclusive);
    let condition = &record.checks[0].conditions[0];
    assert!(condition.test.as_ref().expect("a test").p > 0.05);
    assert!(condition.examples_needed.expect("an advice") > 50);
    assert!(reason(&record).contains("more examples would tell"), "{}", reason(&record));
}

#[test]
fn margin_zero_demands_better() {
    let spec = gate([CheckSpec { margin: Some(0.0), ..accuracy() }]);
    let against = Against::Model(first());
    assert_eq!(judge(&spec, &better(), &against).verdict, Verdict::Pass);
    assert_eq!(judge(&spec, &worse(), &against).verdict, Verdict::Fail);
    assert_eq!(judge(&spec, &first(), &against).verdict, Verdict::Inconclusive);
}

#[test]
fn examples_that_do_not_join_cannot_be_tested() {
    let part = |from: usize, to: usize| {
        let rows: String = (from..to).map(|i| format!("e{i:04},1,1\n")).collect();
        side("m", &format!("id,y_true,y_pred\n{rows}"))
    };
    let spec = gate([CheckSpec { margin: Some(0.02), ..accuracy() }]);
    let record =
        judge(&spec, &part(0, 93), &Against::Model(Side { label: "old".into(), ..part(7, 100) }));
    assert_eq!(record.verdict, Verdict::CannotTest);
    assert_eq!(
        reason(&record),
        "accuracy: the examples do not join: 7 only in m: e0000, e0001, e0002, e0003, e0004, …; \
         7 only in old: e0093, e0094, e0095, e0096, e0097, …"
    );
}

#[test]
fn other_targets_or_another_evaluation_cannot_be_tested() {
    let spec = gate([CheckSpec { margin: Some(0.02), ..accuracy() }]);
    let ours = side("m", "id,y_true,y_pred\na,1,1\nb,2,2\nc,3,1\n");
    let theirs = side("old", "id,y_true,y_pred\na,1,1\nb,5,2\nc,3,1\n");
    let record = judge(&spec, &ours, &Against::Model(theirs));
    assert_eq!(record.verdict, Verdict::CannotTest);
    assert_eq!(reason(&record), "accuracy: the targets of 1 examples differ between m and old: b");

    let stale = Side { evaluation_key: "older".into(), ..first() };
    let record = judge(&spec, &better(), &Against::Model(stale.clone()));
    assert!(reason(&record).contains("not judged by the same evaluation"), "{}", reason(&record));
    let stored = GateSpec { stored: true, ..spec };
    assert_eq!(judge(&stored, &better(), &Against::Model(stale)).verdict, Verdict::Pass);
}

#[test]
fn an_evaluation_set_of_one_cannot_be_tested() {
    let one = side("m", "id,y_true,y_pred\na,1,1\n");
    let record =
        judge(&gate([CheckSpec { min: Some(0.5), ..accuracy() }]), &one, &Against::Nothing);
    assert_eq!(record.verdict, Verdict::CannotTest);
    assert!(reason(&record).contains("an evaluation set of one example"));
    let spec = gate([CheckSpec { margin: Some(0.1), ..accuracy() }]);
    let record = judge(&spec, &one, &Against::Model(one.clone()));
    assert_eq!(record.verdict, Verdict::CannotTest);
}

#[test]
fn a7_nan_and_infinite_metrics_cannot_be_tested() {
    let bad =
        |text: &str| numbers(200, |i| i as f64).replace("e0007,7\n", &format!("e0007,{text}\n"));
    let spec = gate([CheckSpec { max: Some(1000.0), ..latency() }]);
    for text in ["NaN", "", "1e309", "-inf"] {
        let record = judge(&spec, &side("m", &bad(text)), &Against::Nothing);
        assert_eq!(record.verdict, Verdict::CannotTest, "{text}");
        assert!(reason(&record).contains("e0007"), "{}", reason(&record));
        let back = DecisionRecord::from_bytes(&record.to_bytes()).expect("its own bytes");
        assert_eq!(back, record);
    }
    let one_percent =
        ResultsOptions { missing: Missing::DropUpTo(0.01), ..ResultsOptions::default() };
    let record = judge(&spec, &side_with("m", &bad("NaN"), &one_percent), &Against::Nothing);
    assert_eq!(record.verdict, Verdict::Pass, "{:?}", record.reasons);
    assert_eq!(record.checks[0].conditions[0].left_out, 1);
    // An infinite value is not a missing one.
    let record = judge(&spec, &side_with("m", &bad("inf"), &one_percent), &Against::Nothing);
    assert_eq!(record.verdict, Verdict::CannotTest);
    let many = numbers(200, |i| if i < 5 { f64::NAN } else { i as f64 });
    let record = judge(&spec, &side_with("m", &many, &one_percent), &Against::Nothing);
    assert!(reason(&record).contains("5 of 200 examples"), "{}", reason(&record));
    let flat = side("m", "{\"ms\": NaN}");
    assert_eq!(judge(&spec, &flat, &Against::Nothing).verdict, Verdict::CannotTest);
}

#[test]
fn numbers_without_examples_serve_bounds_only() {
    let flat = side("m", "{\"correct\": 0.91}");
    let spec = gate([CheckSpec { min: Some(0.9), ..accuracy() }]);
    let record = judge(&spec, &flat, &Against::Nothing);
    assert_eq!(record.verdict, Verdict::Pass);
    assert!(record.render_text().contains("no interval"), "{}", record.render_text());
    let spec = gate([CheckSpec { margin: Some(0.02), ..accuracy() }]);
    let record = judge(&spec, &flat, &Against::Model(first()));
    assert_eq!(record.verdict, Verdict::CannotTest);
    assert!(reason(&record).contains("no per-example rows"));
    assert_eq!(reason(&record).lines().count(), 4, "three lines that give them");
}

#[test]
fn numeric_pairs_take_the_bootstrap_and_show_t_beside() {
    let noise = |i: usize| ((i * 7919) % 101) as f64 / 10.0;
    let champion = Against::Model(side("a", &numbers(300, |i| 20.0 + noise(i))));
    let spec = gate([CheckSpec { margin: Some(1.0), ..latency() }]);
    let faster = side("b", &numbers(300, |i| 19.5 + noise(i + 3) * 0.9));
    let record = judge(&spec, &faster, &champion);
    let condition = &record.checks[0].conditions[0];
    assert_eq!(record.verdict, Verdict::Pass, "{:?}", record.reasons);
    assert_eq!(condition.method.as_deref(), Some("bootstrap-bca/1"));
    assert_eq!(condition.resamples, Some(1999));
    let [low, _] = condition.t_interval.expect("beside");
    assert!((low - condition.low.expect("finite")).abs() < 0.1);
    assert!(condition.estimate.expect("there") < 0.0, "faster is a negative difference");
    // For `goal: min` a rise is a loss.
    let slower = side("c", &numbers(300, |i| 24.0 + noise(i + 3)));
    let record = judge(&spec, &slower, &champion);
    assert_eq!(record.verdict, Verdict::Fail);
    assert!(reason(&record).contains("higher than the champion"), "{}", reason(&record));
}

#[test]
fn equal_numbers_have_no_variance_to_judge_by() {
    let same = side("a", &numbers(50, |i| i as f64));
    let spec = gate([CheckSpec { margin: Some(1.0), ..latency() }]);
    let record = judge(&spec, &same, &Against::Model(same.clone()));
    assert_eq!(record.verdict, Verdict::CannotTest);
    assert!(reason(&record).contains("zero variance"));
}

#[test]
fn percentiles_take_order_statistics() {
    let p95 = CheckSpec { stat: Stat::Quantile(0.95), max: Some(300.0), ..latency() };
    let record =
        judge(&gate([p95.clone()]), &side("m", &numbers(300, |i| i as f64)), &Against::Nothing);
    let condition = &record.checks[0].conditions[0];
    assert_eq!(condition.method.as_deref(), Some("order-statistics/1"));
    assert_eq!(record.verdict, Verdict::Pass);
    // Fewer than 59 values give no upper bound for it.
    let record =
        judge(&gate([p95.clone()]), &side("m", &numbers(58, |i| i as f64)), &Against::Nothing);
    assert_eq!(record.verdict, Verdict::Inconclusive);
    assert_eq!(record.checks[0].conditions[0].high, None);
    assert!(record.render_text().contains("unbounded"));
    let pair = CheckSpec { max: None, margin: Some(20.0), ..p95 };
    let champion = Against::Model(side("a", &numbers(300, |i| (i * 7 % 300) as f64 + 5.0)));
    let record = judge(&gate([pair]), &side("m", &numbers(300, |i| i as f64)), &champion);
    assert_eq!(record.verdict, Verdict::Pass, "{:?}", record.reasons);
    assert_eq!(record.checks[0].conditions[0].method.as_deref(), Some("bootstrap-percentile/1"));
}

#[test]
fn groups_of_examples_widen_the_interval() {
    let grouped = |wrong: &dyn Fn(usize) -> bool| {
        let rows: String =
            (0..400).map(|i| format!("e{i},1,{},q{}\n", u8::from(!wrong(i)), i / 20)).collect();
        format!("id,y_true,y_pred,cluster_id\n{rows}")
    };
    let candidate = side("m", &grouped(&|i| (i / 20) % 5 == 0));
    let spec = gate([CheckSpec { min: Some(0.5), ..accuracy() }]);
    let record = judge(&spec, &candidate, &Against::Nothing);
    let condition = &record.checks[0].conditions[0];
    assert_eq!(condition.method.as_deref(), Some("clustered/1"));
    assert_eq!(condition.clusters, Some(20));
    let width = condition.high.expect("finite") - condition.low.expect("finite");
    assert!(width > 0.3, "20 clusters, not 400 examples: {width}");
    let named = CheckSpec { method: Some(MethodName::Wilson), min: Some(0.5), ..accuracy() };
    let record = judge(&gate([named]), &candidate, &Against::Nothing);
    assert!(reason(&record).contains("some belong together"), "{}", reason(&record));
}

#[test]
fn slices_are_judged_one_by_one_and_failures_are_corrected() {
    let sliced = |wrong: &dyn Fn(usize) -> bool| {
        let rows: String =
            (0..1000).map(|i| format!("e{i},1,{},c{}\n", u8::from(!wrong(i)), i % 10)).collect();
        format!("id,y_true,y_pred,country\n{rows}")
    };
    let champion = Against::Model(side("a", &sliced(&|i| i % 25 == 0)));
    let by = CheckSpec { by: Some("country".into()), margin: Some(0.02), ..accuracy() };
    // Country c3 loses 14 points: significant alone, and after Holm over ten countries no more.
    let candidate = side("b", &sliced(&|i| i % 25 == 0 || (i % 10 == 3 && i < 90)));
    let with = |correct| {
        let spec = GateSpec { correct, ..gate([by.clone()]) };
        judge(&spec, &candidate, &champion)
    };
    let verdict = |record: &DecisionRecord| {
        let conditions = &record.checks[0].conditions;
        assert_eq!(conditions.len(), 10);
        conditions.iter().find(|c| c.slice.as_deref() == Some("c3")).expect("c3").verdict
    };
    assert_eq!(verdict(&with(Correction::None)), Verdict::Fail);
    let corrected = with(Correction::Holm);
    assert_eq!(verdict(&corrected), Verdict::Inconclusive);
    assert!(
        corrected.reasons.iter().any(|r| r.contains("after Holm's correction")),
        "{:?}",
        corrected.reasons
    );
    let unknown = CheckSpec { by: Some("city".into()), margin: Some(0.02), ..accuracy() };
    let record = judge(&gate([unknown]), &candidate, &champion);
    assert!(reason(&record).contains("there are country"), "{}", reason(&record));
}

#[test]
fn a_check_that_only_warns_decides_nothing() {
    let warn =
        CheckSpec { name: "strict".into(), min: Some(0.999), on_fail: OnFail::Warn, ..accuracy() };
    let spec = gate([CheckSpec { min: Some(0.8), ..accuracy() }, warn.clone()]);
    let record = judge(&spec, &first(), &Against::Nothing);
    assert_eq!(record.verdict, Verdict::Pass);
    assert!(record.reasons[1].starts_with("warning: strict"), "{:?}", record.reasons);
    let record = judge(&gate([warn]), &first(), &Against::Nothing);
    assert_eq!(record.verdict, Verdict::CannotTest, "a gate in which nothing decides");
}

#[test]
fn a_missing_or_broken_champion_is_never_a_pass() {
    let spec = gate([CheckSpec { margin: Some(0.02), ..accuracy() }]);
    let record = judge(&spec, &first(), &Against::Nothing);
    assert_eq!(record.verdict, Verdict::CannotTest);
    assert!(reason(&record).contains("no check has a bound of its own"));
    let strict = GateSpec { if_none: IfNone::CannotTest, ..demo() };
    assert_eq!(judge(&strict, &first(), &Against::Nothing).verdict, Verdict::CannotTest);
    let broken = Against::Broken("KeyError: 'coef'".into());
    let record = judge(&demo(), &first(), &broken);
    assert_eq!(record.verdict, Verdict::CannotTest);
    assert!(reason(&record).contains("KeyError: 'coef'"));
}

#[test]
fn the_anchor_bounds_a_chain_of_small_losses() {
    let spec = GateSpec { anchor_margin: Some(0.02), ..demo() };
    let (candidate, champion) = (first(), Against::Model(first()));
    let judge = |anchor: Against| {
        let input = GateInput {
            spec: &spec,
            candidate: &candidate,
            champion: &champion,
            anchor: &anchor,
            seed: 1,
            set_uses: 3,
        };
        decide(&input).expect("a valid rule")
    };
    assert_eq!(judge(Against::Model(first())).verdict, Verdict::Pass);
    let record = judge(Against::Model(side("digits@0", &rows(899, |_| false))));
    assert_eq!(record.verdict, Verdict::Fail);
    assert!(reason(&record).contains("than the anchor by more than"), "{}", reason(&record));
    assert!(record.render_text().contains("has judged 3 times before"));
}

#[test]
fn zero_for_an_error_is_not_a_good_latency() {
    let text = "id,ms,error\na,5,\nb,,timeout\nc,7,\n";
    let spec = gate([CheckSpec { max: Some(30.0), ..latency() }]);
    let record = judge(&spec, &side("m", text), &Against::Nothing);
    assert_eq!(record.verdict, Verdict::CannotTest);
    assert!(reason(&record).contains("0 would be their best value"), "{}", reason(&record));
    let drop = ResultsOptions { error_rows: ErrorRows::Drop, ..ResultsOptions::default() };
    let record = judge(&spec, &side_with("m", text, &drop), &Against::Nothing);
    assert_eq!(record.checks[0].conditions[0].n, 2);
}

#[test]
fn a_record_is_recomputed_to_the_same_bytes() {
    let noise = |i: usize| ((i * 7919) % 101) as f64 / 3.0;
    let both = |shift: f64| {
        let rows: String = (0..300)
            .map(|i| format!("e{i},1,{},{}\n", u8::from(i % 9 != 0), noise(i) + shift))
            .collect();
        format!("id,y_true,y_pred,ms\n{rows}")
    };
    let (candidate, champion) = (side("b", &both(0.1)), side("a", &both(0.0)));
    let numeric = CheckSpec { max: Some(40.0), margin: None, ..latency() };
    let spec = gate([CheckSpec { min: Some(0.8), margin: Some(0.02), ..accuracy() }, numeric]);
    let champion = Against::Model(champion);
    let record = judge(&spec, &candidate, &champion);
    let bytes = record.to_bytes();
    let stored = DecisionRecord::from_bytes(&bytes).expect("its own bytes");
    assert_eq!(stored.to_bytes(), bytes, "reading loses nothing");
    let again =
        stored.recompute(&candidate, &champion, &Against::Nothing).expect("the same inputs");
    assert_eq!(again.to_bytes(), bytes);

    let tampered = side("b", &both(0.2));
    assert_eq!(
        stored.recompute(&tampered, &champion, &Against::Nothing),
        Err(RecomputeError::Other { which: "candidate", what: "the results' digest" })
    );
    assert!(stored.recompute(&candidate, &Against::Nothing, &Against::Nothing).is_err());
    let newer = String::from_utf8(bytes).expect("json").replace("{\"format\":1,", "{\"format\":9,");
    let error = DecisionRecord::from_bytes(newer.as_bytes()).expect_err("a newer one");
    assert!(matches!(error, RecordError::Newer { found: 9 }));
}

#[test]
fn one_more_check_moves_no_others_figures() {
    let candidate = side("b", &numbers(100, |i| (i * i % 37) as f64));
    let check = CheckSpec { max: Some(30.0), ..latency() };
    let more = CheckSpec { name: "another".into(), max: Some(20.0), ..latency() };
    let alone = judge(&gate([check.clone()]), &candidate, &Against::Nothing);
    let both = judge(&gate([more, check]), &candidate, &Against::Nothing);
    let ends = |record: &DecisionRecord, i: usize| {
        let condition = &record.checks[i].conditions[0];
        (condition.low, condition.high)
    };
    assert_eq!(ends(&alone, 0), ends(&both, 1));
}

#[test]
fn nonsense_rules_and_misfit_methods_are_named() {
    let input = |spec: &GateSpec| {
        let (candidate, nothing) = (first(), Against::Nothing);
        decide(&GateInput {
            spec,
            candidate: &candidate,
            champion: &nothing,
            anchor: &nothing,
            seed: 0,
            set_uses: 0,
        })
    };
    assert_eq!(input(&gate([])), Err(SpecError::NoChecks));
    let misfit = CheckSpec { method: Some(MethodName::Newcombe), min: Some(0.5), ..accuracy() };
    let record = judge(&gate([misfit]), &first(), &Against::Nothing);
    assert!(reason(&record).contains("the method newcombe needs pairs of 0/1 values"));
    let unknown = CheckSpec { metric: "f1".into(), min: Some(0.5), ..accuracy() };
    let record = judge(&gate([unknown]), &first(), &Against::Nothing);
    assert!(reason(&record).contains("no metric `f1`; they have"), "{}", reason(&record));
}

#[test]
fn what_users_wrote_cannot_forge_a_report() {
    let label = "m\u{1b}[31m|<script>\n# pwned";
    let candidate = side(label, &rows(100, |i| i % 3 == 0));
    let record = judge(&demo(), &candidate, &Against::Nothing);
    assert!(!record.render_text().contains('\u{1b}'));
    let markdown = record.render_markdown();
    assert!(!markdown.contains("<script>") && !markdown.contains("\n# pwned"), "{markdown}");
}
