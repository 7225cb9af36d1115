use super::*;

fn look() -> Look {
    Look { now_ms: 100_000, wide: false, width: None, color: false }
}

#[test]
fn reasons_count_their_nodes() {
    let reason = |reason: &str, nodes, holder: &str| v1::Reason {
        reason: reason.into(),
        nodes,
        examples: vec!["gpu-01".into()],
        holders: if holder.is_empty() { Vec::new() } else { vec![holder.into()] },
    };
    let answer = v1::WhyResponse {
        task: "digits-1/train".into(),
        state: "queued".into(),
        sentence: "0 of 9 nodes can take it".into(),
        nodes_total: 9,
        reasons: vec![
            reason("both GPUs are busy", 7, "churn-3/train.1:0"),
            reason("cordoned (new fan)", 2, ""),
        ],
        position: 3,
        cheapest_change: "2 GPUs in place of 4".into(),
        ..Default::default()
    };
    let why = Whys(vec![Why { answer, last_lines: Vec::new() }]);
    insta::assert_snapshot!(why.text(&look()).expect("text"));
}

#[test]
fn a_failure_shows_its_exit_and_its_last_lines() {
    let answer = v1::WhyResponse {
        task: "digits-1/train".into(),
        state: "failed".into(),
        sentence: "it failed: exit code 3\nits one attempt, on gpu-01: exit code 3 after 12s"
            .into(),
        attempt: "digits-1/train.1".into(),
        log: "digits-1/train.1:0".into(),
        next: "runyard logs digits-1/train".into(),
        ..Default::default()
    };
    let last_lines = vec!["Traceback".into(), "ValueError: \u{1b}[31mbad".into()];
    let whys = Whys(vec![Why { answer, last_lines }]);
    insta::assert_snapshot!(whys.text(&look()).expect("text"));
    let json = whys.json().expect("json");
    assert_eq!(json["items"][0]["last_lines"][0], "Traceback");
}

#[test]
fn a_version_tells_where_it_comes_from() {
    let event = |at_ms, message: &str, subject: &str| v1::Event {
        at_ms,
        message: message.into(),
        subject: subject.into(),
        ..Default::default()
    };
    let record = r#"{"format":1,"checks":[{"name":"accuracy","verdict":"pass","difference":0.0123,
        "interval":[-0.004,0.0286],"margin":0.02,"n":899,"details":{"b":3}}]}"#;
    let lineage = lineage::Lineage(v1::LineageResponse {
        model: "digits".into(),
        version: 2,
        aliases: vec!["champion".into()],
        run: "digits-2".into(),
        git: Some(v1::Git {
            commit: "0123456789abcdef".into(),
            branch: "main".into(),
            author: "Ada <ada@example.org>".into(),
            subject: "search C".into(),
            ..Default::default()
        }),
        principal: "ada".into(),
        code_root: "ab".repeat(32),
        data: vec![v1::DataInput {
            stage: "prepare".into(),
            name: "raw".into(),
            source: "file:data/raw.csv".into(),
            root: "cd".repeat(32),
        }],
        evaluation_root: "ef".repeat(32),
        evaluation_rows: 899,
        gate_task: "digits-2/gate".into(),
        gate_record: "01".repeat(32),
        gate_json: record.into(),
        events: vec![event(1_000, "promoted to champion", "digits@2"), event(2_000, "", "digits")],
        status: "serving".into(),
        ..Default::default()
    });
    insta::assert_snapshot!(lineage.text(&look()).expect("text"));
}
