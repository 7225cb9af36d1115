//! The example of the contract is refused for exactly what is not built; the digits example works.

mod common;

use std::collections::BTreeMap;

use common::{clean, codes};
use runyard_pipeline::{
    Canary, IfNone, ModelAt, Pipeline, PythonSource, Selection, Source, StageKind,
};
use runyard_types::{ByteSize, DurationMs, Name};

const CHURN: &str = include_str!("files/churn.yaml");
const DIGITS: &str = include_str!("files/digits.yaml");

#[test]
fn the_contracts_example_is_refused_for_what_is_not_built_and_nothing_else() {
    assert_eq!(
        codes(CHURN),
        [
            "RY0901", // triggers
            "RY0501", // epochs is in no command: a warning
            "RY0902", // secrets
            "RY0903", // concurrency
            "RY0908", // dataset://
            "RY0910", // checkpoint
            "RY0911", // anchor
            "RY0913", // three steps of a rollout
        ]
    );
}

#[test]
fn the_digits_example_parses_whole() {
    let pipeline = clean(DIGITS);
    let names: Vec<_> = pipeline.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["prepare", "train", "eval", "gate", "serve"]);
    let needs = |name: &str| {
        let stage = pipeline.stage(name).expect("a stage");
        stage.needs.iter().map(|need| need.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(needs("train"), ["prepare"]);
    assert_eq!(needs("gate"), ["eval", "train"]);
    assert_eq!(needs("serve"), ["gate"]);

    let train = pipeline.stage("train").expect("train");
    assert_eq!(train.resources.gpu.count, 1);
    assert_eq!(train.resources.memory, ByteSize(2_000_000_000));
    assert_eq!(train.timeout, Some(DurationMs(600_000)));
    assert!(train.cache);
    let python = train.python.as_ref().expect("the default environment");
    assert_eq!(python.source, PythonSource::Requirements("requirements.txt".into()));
    let data = &train.inputs[&Name::new("data").expect("a name")];
    assert_eq!(data.at.as_deref(), Some("data"));
    assert!(matches!(&data.source, Source::Output { stage, .. } if stage.as_str() == "prepare"));

    let eval = pipeline.stage("eval").expect("eval");
    assert_eq!(eval.kind, StageKind::Evaluation);
    assert_eq!(eval.evaluates.len(), 1);
    assert_eq!(
        eval.input_variables().values().next().map(String::as_str),
        Some("RUNYARD_INPUT_MODEL")
    );

    let StageKind::Gate(gate) = &pipeline.stage("gate").expect("gate").kind else {
        panic!("a gate")
    };
    let against = gate.against.as_ref().expect("a comparison");
    assert_eq!(against.if_none, IfNone::Absolute);
    assert!(matches!(&against.model.at, ModelAt::Alias(alias) if alias.as_str() == "champion"));
    let check = gate.checks.values().next().expect("a check");
    assert_eq!((check.min, check.margin, check.alpha), (Some(0.85), Some(0.02), 0.05));

    let StageKind::Deploy(deploy) = &pipeline.stage("serve").expect("serve").kind else {
        panic!("a deployment")
    };
    let canary = Canary { weight_permille: 200, hold: DurationMs(5_000) };
    assert_eq!(deploy.canary, Some(canary));
    assert_eq!(deploy.ready.within, DurationMs(60_000));
}

#[test]
fn what_runs_keep_survives_json_and_is_canonical() {
    let pipeline = clean(DIGITS);
    let text = pipeline.to_canonical_json();
    let again: Pipeline = serde_json::from_str(&text).expect("its own JSON");
    assert_eq!(again, pipeline);
    assert_eq!(again.to_canonical_json(), text);
    // Comments, order of keys and style are no part of the pipeline.
    let restyled = DIGITS.replace("{ data: data/ }", "{data: ./data}  # a comment");
    assert_eq!(clean(&restyled).to_canonical_json(), text);
    let changed = DIGITS.replace("min: 0.85", "min: 0.86");
    assert_ne!(clean(&changed).to_canonical_json(), text);
}

#[test]
fn parameters_are_typed_checked_and_named_in_errors() {
    let pipeline = clean(DIGITS);
    let values = pipeline.resolve_params([("fraction", "1e-1")]).expect("a float");
    let env = runyard_pipeline::params_env(&values);
    let expected = [("RUNYARD_PARAM_FRACTION", "0.1"), ("RUNYARD_PARAM_MODEL", "logistic")];
    assert_eq!(
        env,
        BTreeMap::from(expected.map(|(name, value)| (name.to_owned(), value.to_owned())))
    );
    let errors = |given: &[(&str, &str)]| {
        let found = pipeline.resolve_params(given.iter().copied()).expect_err("an error");
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(errors(&[("modle", "x"), ("fraction", "much"), ("model", "tree")]), @r#"
    there is no parameter `modle`; did you mean `model`?
    parameter `fraction`: `much` is no float (a finite number such as 0.1 or 1e-5)
    parameter `model`: `tree` is none of `logistic`, `forest`
    "#);
    insta::assert_snapshot!(errors(&[("fraction", "2"), ("fraction", "0")]), @r#"
    parameter `fraction` is given twice
    parameter `fraction`: 0.0 is below the minimum 0.01
    "#);
    insta::assert_snapshot!(errors(&[("fraction", "0.001")]), @r#"parameter `fraction`: 0.001 is below the minimum 0.01"#);
}

#[test]
fn stages_are_selected_with_their_needs_or_dependants_or_alone() {
    let pipeline = clean(DIGITS);
    let select = |stages: &[&str], from: &[&str], only: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let selection = Selection { stages: owned(stages), from: owned(from), only: owned(only) };
        match pipeline.select(&selection) {
            Ok(names) => names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error: {error}"),
        }
    };
    assert_eq!(select(&[], &[], &[]), "eval gate prepare serve train");
    assert_eq!(select(&["eval"], &[], &[]), "eval prepare train");
    assert_eq!(select(&[], &["eval"], &[]), "eval gate serve");
    assert_eq!(select(&["gate"], &["eval"], &[]), "eval gate");
    assert_eq!(select(&[], &[], &["eval", "serve"]), "eval serve");
    assert_eq!(
        select(&["evla"], &[], &[]),
        "error: there is no stage `evla`; did you mean `eval`?"
    );
    assert!(select(&["eval"], &[], &["gate"]).starts_with("error: `--only`"));
    let between = pipeline.stages_between("train", "gate").expect("connected");
    assert_eq!(between.iter().map(|n| n.as_str()).collect::<Vec<_>>(), ["eval", "gate", "train"]);
    assert!(pipeline.stages_between("gate", "train").is_err());
}
