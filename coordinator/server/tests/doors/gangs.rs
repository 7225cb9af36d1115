//! What a node says of its workers, where others are concerned.

use runyard_proto::agent::enrol_client::EnrolClient;
use runyard_proto::agent::{Exit, JoinRequest, Phase, Result as WorkerResult, WorkerReport};
use runyard_proto::v1::{GetRunRequest, ListTokensRequest, SubmitRequest};
use runyard_transport::AgentKey;
use runyard_transport::token::JoinToken;
use tonic::Code;

use crate::group::{Group, Session, hello, report, wait_for};

async fn submit(group: &Group, pipeline: &str) {
    let request = SubmitRequest {
        idempotency_key: ulid::Ulid::generate().to_string(),
        pipeline: pipeline.into(),
        ..SubmitRequest::default()
    };
    group.runs(&group.admin).submit(request).await.expect("submitted");
}

fn ended(key: &str, cause: &str, reason: &str, ended_ms: u64) -> WorkerReport {
    let exit = Exit { code: Some(3), ended_ms, ..Exit::default() };
    let result =
        WorkerResult { succeeded: cause.is_empty(), cause: cause.into(), reason: reason.into() };
    WorkerReport { exit: Some(exit), result: Some(result), ..report(key, Phase::Released) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_ends_by_the_worker_that_failed_not_by_one_that_was_stopped() {
    let group = Group::start().await;
    let mut sessions = Vec::new();
    for node in ["node-1", "node-2"] {
        let identity = group.join(node).await;
        let session = Session::open(group.agent(&identity), hello(node, 1, 1)).await;
        sessions.push(session.expect("open"));
    }
    submit(
        &group,
        "version: 1\nname: gang\nstages:\n  a: { run: 'true', nodes: 2, cache: false }\n",
    )
    .await;
    let mut keys = Vec::new();
    for session in &mut sessions {
        let set = session.desired(|set| !set.workers.is_empty()).await;
        keys.push(set.workers[0].key.clone());
    }
    for phase in [Phase::Prepared, Phase::Running] {
        for (session, key) in sessions.iter().zip(&keys) {
            session.report(report(key, phase)).await;
        }
        for session in &mut sessions {
            session
                .desired(|set| {
                    set.workers.iter().all(|w| w.go && (w.started || phase == Phase::Prepared))
                })
                .await;
        }
    }
    sessions[0].report(ended(&keys[0], "failure", "exit status 3", 2_000)).await;
    let set = sessions[1].desired(|set| !set.tombstones.is_empty()).await;
    assert!(set.tombstones[0].reason.contains("exit status 3"), "{set:?}");
    // By its own clock, which is behind, it ended first.
    sessions[1].report(ended(&keys[1], "cancelled", "asked to stop", 1_000)).await;
    wait_for("the end", async || match group.run_state("gang-1").await {
        state if state == "failed" => Ok(()),
        state => Err(state),
    })
    .await;
    let request = GetRunRequest { project: String::new(), run: "gang-1".into() };
    let run = group.runs(&group.admin).get(request).await.expect("the run").into_inner();
    let attempt = &run.stages[0].tasks[0].attempts[0];
    assert_eq!((attempt.outcome.as_str(), attempt.reason.as_str()), ("failure", "exit status 3"));
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_strange_worker_does_not_cost_the_others_their_reports() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let mut session =
        Session::open(group.agent(&identity), hello("node-1", 1, 1)).await.expect("open");
    submit(&group, "version: 1\nname: one\nstages:\n  a: { run: 'true', cache: false }\n").await;
    let key = "one-1/a.1:0";
    session.desired(|set| set.workers.iter().any(|worker| worker.key == key)).await;
    let strange = [
        report("", Phase::Running),
        report("no worker", Phase::Running),
        WorkerReport { project: "No Project".into(), ..report(key, Phase::Running) },
        report("one-1/a.7:0", Phase::Released),
    ];
    let mut reports = strange.to_vec();
    reports.push(ended(key, "", "", 1));
    session.report_all(reports).await;
    wait_for("the end", async || match group.run_state("one-1").await {
        state if state == "succeeded" => Ok(()),
        state => Err(state),
    })
    .await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_refused_costs_the_log_nothing() {
    let group = Group::start().await;
    let token: JoinToken = group.token("agent", "node-1", 0).await.parse().expect("a join token");
    // A list answers with the index of all that was acknowledged before.
    let applied = async || {
        let request = ListTokensRequest {};
        group.fleet(&group.admin).list_tokens(request).await.expect("a list").into_inner().index
    };
    let before = applied().await;
    let other: JoinToken = group.token("agent", "node-2", 0).await.parse().expect("a join token");
    assert_eq!(applied().await, before + 1, "a token is an entry");
    let key = AgentKey::generate().expect("a key");
    for (id, secret) in [
        (token.id.as_str(), other.secret.expose()),
        (other.id.as_str(), token.secret.expose()),
        ("rubbish", token.secret.expose()),
    ] {
        let request = JoinRequest {
            token_id: id.into(),
            token_secret: secret.into(),
            node: "node-1".into(),
            csr_der: key.signing_request().expect("a request").into(),
            version: "test".into(),
        };
        let mut enrol = EnrolClient::new(group.anybody().lazy());
        let refused = enrol.join(request).await.expect_err("refused");
        assert!(matches!(refused.code(), Code::PermissionDenied | Code::Unauthenticated));
    }
    assert_eq!(applied().await, before + 1);
    group.stop().await;
}
