use super::*;

fn run() -> v1::Run {
    let worker = v1::Worker {
        key: "d-1/train[1].2:0".into(),
        node: "gpu-01".into(),
        exit_code: Some(1),
        memory_peak_bytes: 2_000_000_000,
        log_bytes: 1_234,
        devices: vec!["GPU-0".into()],
        ..Default::default()
    };
    let attempt = |number: u32, outcome: &str, workers: Vec<v1::Worker>| v1::Attempt {
        key: format!("d-1/train[1].{number}"),
        state: "finished".into(),
        outcome: outcome.into(),
        reason: "exit status 1".into(),
        workers,
        started_ms: 1_000,
        ended_ms: 5_000,
        released: number == 1,
        ..Default::default()
    };
    let task = |index: u32, state: &str| v1::Task {
        key: format!("d-1/train[{index}]"),
        label: format!("seed={index}"),
        state: state.into(),
        started_ms: 1_000,
        ended_ms: 5_000,
        metrics: [("loss".to_owned(), 0.25)].into_iter().collect(),
        ..Default::default()
    };
    let failed = v1::Task {
        attempts: vec![attempt(1, "failure", Vec::new()), attempt(2, "failure", vec![worker])],
        reason: "exit status 1".into(),
        ..task(1, "failed")
    };
    let stage = v1::Stage {
        name: "train".into(),
        kind: "task".into(),
        state: "failed".into(),
        tasks: vec![task(0, "succeeded"), failed],
        ..Default::default()
    };
    v1::Run {
        name: "d-1".into(),
        state: "failed".into(),
        created_ms: 500,
        started_ms: 1_000,
        ended_ms: 5_000,
        principal: "ada".into(),
        stages: vec![stage],
        ..Default::default()
    }
}

fn look() -> Look {
    Look { now_ms: 10_000, wide: false, width: None, color: false }
}

#[test]
fn a_run_with_its_tasks() {
    insta::assert_snapshot!(RunView::new(run()).text(&look()).expect("text"));
}

#[test]
fn a_task_shows_its_attempts_and_workers() {
    let target = Target { run: "d-1".into(), rest: "train[1]".into() };
    let view = RunView::part(run(), &target).expect("is there");
    assert_eq!(view.names(), ["d-1/train[1]"]);
    insta::assert_snapshot!(view.text(&look()).expect("text"));
}

#[test]
fn a_part_that_is_not_there_is_not_found() {
    let target = Target { run: "d-1".into(), rest: "eval".into() };
    assert_eq!(
        RunView::part(run(), &target).expect_err("no eval").kind,
        crate::errors::Kind::NotFound
    );
}
