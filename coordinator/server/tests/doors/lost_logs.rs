//! F34: logs that an agent no longer has are closed with the cut in them.

use std::time::Duration;

use runyard_blobs::Remote;
use runyard_blobs::segment::{Record, SegmentWriter};
use runyard_proto::agent::{
    Channel, Exit, Phase, Result as WorkerResult, SealRequest, WorkerReport,
};
use runyard_proto::v1::{GetRunRequest, LogRecord, LogsRequest, SubmitRequest};
use runyard_transport::{AgentIdentity, Target};
use runyard_types::ProjectName;
use tokio_stream::StreamExt;

use crate::group::{Group, Session, hello, report, wait_for};

const KEY: &str = "one-1/a.1:0";
/// What was sealed before the loss.
const HEAD: &[u8] = b"the first line\n";
/// Where the log of a worker with an exit ends.
const END: u64 = 350;

/// A worker of node-1 that ended and of whose log only [`HEAD`] is in the store.
async fn ended(group: &Group, identity: &AgentIdentity, exit: Option<Exit>) {
    let mut session =
        Session::open(group.agent(identity), hello("node-1", 1, 1)).await.expect("open");
    let submission = SubmitRequest {
        idempotency_key: ulid::Ulid::generate().to_string(),
        pipeline: "version: 1\nname: one\nstages:\n  a:\n    run: echo a\n    cache: false\n"
            .into(),
        ..SubmitRequest::default()
    };
    group.runs(&group.admin).submit(submission).await.expect("submitted");
    session.desired(|set| set.workers.iter().any(|worker| worker.key == KEY)).await;
    session.report(report(KEY, Phase::Running)).await;
    session.desired(|set| set.workers.iter().any(|worker| worker.started)).await;
    seal_head(group, identity).await;
    let result =
        WorkerResult { succeeded: false, cause: "failure".into(), reason: "exit status 1".into() };
    session
        .report(WorkerReport {
            log_end: if exit.is_some() { END } else { 0 },
            exit,
            result: Some(result),
            ..report(KEY, Phase::Released)
        })
        .await;
    wait_for("the end of the run", async || match state(group).await {
        (run, logs) if run == "failed" && logs == "sealing" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn seal_head(group: &Group, identity: &AgentIdentity) {
    let mut writer = SegmentWriter::new(0).expect("a segment");
    let record = Record { offset: 0, at_ms: 1, stderr: false, data: HEAD.into(), cut_bytes: 0 };
    writer.push(&record).expect("it follows");
    let segment = writer.finish().expect("a segment");
    let channel = Target::agent(&group.addresses(), identity).expect("a target").lazy();
    let remote = Remote::new(channel, ProjectName::default_project());
    let digest = remote.put_blob(segment).await.expect("stored");
    let request = SealRequest {
        project: "default".into(),
        worker: KEY.into(),
        channel: Channel::Log as i32,
        to: HEAD.len() as u64,
        segment: digest.as_bytes().to_vec().into(),
        lines: 1,
        ..SealRequest::default()
    };
    group.agent(identity).seal(request).await.expect("sealed");
}

/// The run's state, and how its only task's log stands.
async fn state(group: &Group) -> (String, String) {
    let request = GetRunRequest { project: String::new(), run: "one-1".into() };
    let run = group.runs(&group.admin).get(request).await.expect("the run").into_inner();
    (run.state, run.stages[0].tasks[0].logs.clone())
}

async fn sealed(group: &Group) -> Vec<LogRecord> {
    wait_for("the log to be sealed", async || match state(group).await {
        (_, logs) if logs == "sealed" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let request = LogsRequest { target: "one-1".into(), follow: true, ..LogsRequest::default() };
    let logs = group.runs(&group.admin).logs(request).await.expect("logs").into_inner();
    logs.map(|record| record.expect("a record")).collect().await
}

fn exit() -> Exit {
    Exit { code: Some(1), ..Exit::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_a_log_that_its_agent_lost_is_sealed_with_the_cut_and_its_length() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    ended(&group, &identity, Some(exit())).await;
    // A copy of its directory, without the worker, has the session for a moment; then the agent is back.
    let copy = Session::open(group.agent(&identity), hello("node-1", 2, 2)).await.expect("open");
    let mut keeps = hello("node-1", 1, 3);
    keeps.workers = vec![report(KEY, Phase::Publishing)];
    let kept = Session::open(group.agent(&identity), keeps).await.expect("open");
    // Longer than a session must last before anything is given up.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert_eq!(state(&group).await.1, "sealing", "its spool may hold the rest");
    drop((copy, kept));
    // Its directory was wiped: nothing is named any more.
    let _wiped = Session::open(group.agent(&identity), hello("node-1", 4, 4)).await.expect("open");
    let records = sealed(&group).await;
    let shown: Vec<_> =
        records.iter().map(|one| (one.offset, one.data.len(), one.cut_bytes, one.end)).collect();
    let head = HEAD.len() as u64;
    let expected = [(0, HEAD.len(), 0, false), (head, 0, END - head, false), (END, 0, 0, true)];
    assert_eq!(shown, expected);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f34_a_lost_log_of_unknown_length_ends_with_a_line_that_says_so() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    ended(&group, &identity, None).await;
    let _wiped = Session::open(group.agent(&identity), hello("node-1", 2, 2)).await.expect("open");
    let records = sealed(&group).await;
    let text: Vec<u8> = records.iter().flat_map(|one| one.data.to_vec()).collect();
    let text = String::from_utf8(text).expect("text");
    let rest = text.strip_prefix("the first line\n").expect("what was sealed stays");
    assert_eq!(
        rest,
        "runyard: what this worker wrote from byte 15 on is lost; node node-1 no longer has it\n"
    );
    assert!(records.last().is_some_and(|one| one.end), "{records:?}");
    group.stop().await;
}
