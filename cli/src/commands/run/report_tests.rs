use super::*;

fn run() -> v1::Run {
    let task = |key: &str, state: &str| v1::Task {
        key: key.into(),
        state: state.into(),
        started_ms: 1_000,
        ended_ms: 3_000,
        ..Default::default()
    };
    let stage = |name: &str, kind: &str, task: v1::Task| v1::Stage {
        name: name.into(),
        kind: kind.into(),
        state: task.state.clone(),
        tasks: vec![task],
        ..Default::default()
    };
    let prepare = v1::Task {
        cached: true,
        cache_reason: "same code, data and parameters as digits-1".into(),
        ..task("digits-2/prepare", "succeeded")
    };
    let train = v1::Task {
        outputs: vec![v1::Output {
            name: "model".into(),
            root: "ab".repeat(32),
            bytes: 1_500_000,
            files: 1,
            ..Default::default()
        }],
        metrics: [("val/acc".to_owned(), 0.91234)].into_iter().collect(),
        ..task("digits-2/train", "succeeded")
    };
    let gate = v1::Task {
        reason: "rejected: accuracy fell | <b>@team</b>".into(),
        ..task("digits-2/gate", "failed")
    };
    v1::Run {
        name: "digits-2".into(),
        state: "failed".into(),
        reason: "gate rejected the candidate".into(),
        started_ms: 1_000,
        ended_ms: 61_000,
        device_ms: 30_000,
        cpu_ms: 90_000,
        code_root: "cd".repeat(32),
        params: [("lr".to_owned(), "0.1".to_owned())].into_iter().collect(),
        git: Some(v1::Git {
            commit: "0123456789abcdef".into(),
            branch: "main".into(),
            subject: "try *harder* #12".into(),
            ..Default::default()
        }),
        stages: vec![
            stage("prepare", "task", prepare),
            stage("train", "task", train),
            stage("gate", "gate", gate),
        ],
        ..Default::default()
    }
}

fn report() -> Report {
    let gate = v1::GateView {
        task: "digits-2/gate".into(),
        verdict: "fail".into(),
        decision: "rejected".into(),
        record: "01".repeat(32),
        markdown: "| Metric | Champion | Candidate | Difference | 90 % interval | Margin | Verdict |\n\
                   |---|---|---|---|---|---|---|\n| correct | 0.966 | 0.890 | -0.076 | [-0.095, -0.058] | 0.02 | fail |\n"
            .into(),
        text: "accuracy: fail".into(),
        ..Default::default()
    };
    Report { run: run(), gates: vec![gate], ends: Vec::new() }
}

#[test]
fn the_report_of_a_pull_request() {
    let look = Look { now_ms: 70_000, wide: false, width: None, color: false };
    insta::assert_snapshot!(report().markdown(&look).expect("markdown"));
}

#[test]
fn json_has_the_run_and_its_gates() {
    let value = report().json().expect("json");
    assert_eq!(value["api_version"], "runyard.v1");
    assert_eq!(value["name"], "digits-2");
    assert_eq!(value["gates"][0]["decision"], "rejected");
}
