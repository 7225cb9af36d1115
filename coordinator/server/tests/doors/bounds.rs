//! What is too large is refused, split or ended by name; nothing goes round for ever.

use std::collections::BTreeMap;

use runyard_proto::agent::{Exit, Phase, Result as WorkerResult, WorkerReport};
use runyard_proto::v1::{GetRunRequest, Run, SubmitRequest};
use tonic::{Code, Status};

use crate::group::{Group, Session, hello, report, wait_for};

fn submission(pipeline: &str) -> SubmitRequest {
    SubmitRequest {
        idempotency_key: ulid::Ulid::generate().to_string(),
        pipeline: pipeline.into(),
        ..SubmitRequest::default()
    }
}

async fn submit(group: &Group, request: SubmitRequest) -> Result<String, Status> {
    Ok(group.runs(&group.admin).submit(request).await?.into_inner().run)
}

async fn run(group: &Group, name: &str) -> Run {
    let request = GetRunRequest { project: String::new(), run: name.into() };
    group.runs(&group.admin).get(request).await.expect("the run").into_inner()
}

async fn wait_state(group: &Group, name: &str, state: &str) {
    wait_for("the end of the run", async || match run(group, name).await.state {
        now if now == state => Ok(()),
        now => Err(now),
    })
    .await;
}

/// The end of a worker that leaves a value of so many bytes.
fn leaving(key: &str, bytes: usize) -> WorkerReport {
    WorkerReport {
        exit: Some(Exit { code: Some(0), ..Exit::default() }),
        result: Some(WorkerResult { succeeded: true, ..WorkerResult::default() }),
        values: BTreeMap::from([("big".to_owned(), "x".repeat(bytes))]),
        ..report(key, Phase::Released)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_too_large_ends_its_attempt_and_is_named() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let mut session =
        Session::open(group.agent(&identity), hello("node-1", 1, 1)).await.expect("open");
    let one = "version: 1\nname: one\nstages:\n  a: { run: 'true', cache: false }\n";
    let name = submit(&group, submission(one)).await.expect("submitted");
    let key = "one-1/a.1:0";
    session.desired(|set| set.workers.iter().any(|worker| worker.key == key)).await;
    session.report(report(key, Phase::Running)).await;
    session.report(leaving(key, 2 << 20)).await;
    wait_state(&group, &name, "failed").await;
    let task = run(&group, &name).await.stages[0].tasks[0].clone();
    assert!(task.reason.contains("its values ($RUNYARD_OUTPUT): 20971"), "{}", task.reason);
    // Its devices are back: nothing holds the node.
    wait_for("the release", async || match group.node("node-1").await.workers {
        workers if workers.is_empty() => Ok(()),
        workers => Err(format!("{workers:?}")),
    })
    .await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_workers_leave_is_split_over_entries() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let mut session =
        Session::open(group.agent(&identity), hello("node-1", 1, 1)).await.expect("open");
    let many = "version: 1\nname: many\nstages:\n  a:\n    run: 'true'\n    cache: false\n    resources: { cpu: 0.5 }\n    matrix: { axes: { n: [0, 1, 2, 3, 4, 5, 6, 7] } }\n";
    let name = submit(&group, submission(many)).await.expect("submitted");
    let set = session.desired(|set| set.workers.len() == 8).await;
    // Together more than an entry takes, each within its limit.
    let reports = set.workers.iter().map(|worker| leaving(&worker.key, 200_000)).collect();
    session.report_all(reports).await;
    wait_state(&group, &name, "succeeded").await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a12_what_no_worker_could_be_told_is_refused_at_the_door_with_its_place() {
    let group = Group::start().await;
    let refused = async |request| submit(&group, request).await.expect_err("refused");
    let long = "x".repeat(300 << 10);
    let stage = |name: &str, what: &str| {
        format!(
            "version: 1\nname: big\nstages:\n  small: {{ run: 'true' }}\n  {name}: {{ {what} }}\n"
        )
    };
    for (what, word) in [
        (format!("run: 'true', env: {{ BIG: {long} }}"), "env"),
        (format!("run: 'echo {long}'"), "command"),
    ] {
        let status = refused(submission(&stage("large", &what))).await;
        assert_eq!(status.code(), Code::InvalidArgument);
        let text = status.message();
        assert!(text.contains("stage large") || text.contains("large"), "{text:.300}");
        assert!(text.contains(word) && text.len() < 4_000, "{text:.300}");
    }
    for priority in [1_001, -1_001, i32::MAX, i32::MIN] {
        let request = SubmitRequest { priority, ..submission(&stage("b", "run: 'true'")) };
        let status = refused(request).await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("-1000 to 1000"), "{}", status.message());
    }
    let request = SubmitRequest { priority: -1_000, ..submission(&stage("b", "run: 'true'")) };
    submit(&group, request).await.expect("within bounds");
    group.stop().await;
}
