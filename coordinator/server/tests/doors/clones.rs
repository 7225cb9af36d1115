//! F29: one identity, two processes.

use std::time::Duration;

use runyard_proto::agent::{HeartbeatRequest, Phase, Result as Outcome, WorkerReport};
use runyard_proto::v1::SubmitRequest;
use tonic::Code;

use crate::group::{Group, Session, hello, report, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn f29_a_cloned_agent_is_named_and_cordoned_and_nothing_is_stopped() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let mut first =
        Session::open(group.agent(&identity), hello("node-1", 0xa, 1)).await.expect("open");
    let submission = SubmitRequest {
        idempotency_key: ulid::Ulid::generate().to_string(),
        pipeline: "version: 1\nname: one\nstages:\n  a:\n    run: sleep 60\n    cache: false\n"
            .into(),
        ..SubmitRequest::default()
    };
    group.runs(&group.admin).submit(submission).await.expect("submitted");
    let key = "one-1/a.1:0";
    first.desired(|set| set.workers.iter().any(|worker| worker.key == key)).await;
    first.report(report(key, Phase::Running)).await;
    first.desired(|set| set.workers.iter().any(|worker| worker.started)).await;

    // A copy of its directory, on another connection; then both again.
    let mut open = vec![first];
    for (counter, nonce) in [(2, 0xb), (3, 0xa)] {
        let session = Session::open(group.agent(&identity), hello("node-1", nonce, counter)).await;
        open.push(session.expect("the higher counter takes over"));
        let eligibility = group.node("node-1").await.eligibility;
        assert_eq!(eligibility, "open", "a change of processes alone is no clone");
    }
    let last = Session::open(group.agent(&identity), hello("node-1", 0xb, 4)).await.expect("open");
    open.push(last);
    let node = group.node("node-1").await;
    assert_eq!(node.eligibility, "cordoned");
    let events = group.events("node-1").await;
    let named: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "node.eligibility")
        .map(|e| &e.message)
        .collect();
    assert_eq!(named.len(), 1, "{events:?}");
    for part in ["000000000000000a", "000000000000000b", "127.0.0.1", "boot-10", "boot-11"] {
        assert!(named[0].contains(part), "`{part}` is missing in {}", named[0]);
    }
    // The newest session has the node; its set still wants the worker and stops nothing.
    let last = open.last_mut().expect("one is open");
    let set = last.desired(|set| !set.workers.is_empty()).await;
    assert!(set.workers.iter().any(|worker| worker.key == key && worker.started), "{set:?}");
    assert!(set.tombstones.is_empty(), "{set:?}");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f29_a_higher_session_counter_takes_over_and_a_lower_one_does_not() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let agent = group.agent(&identity);
    let beat = async |session: &Session| {
        let request = HeartbeatRequest {
            node: "node-1".into(),
            session: session.id.clone(),
            ..HeartbeatRequest::default()
        };
        agent.clone().heartbeat(request).await.expect("answered").into_inner().known
    };
    let old = Session::open(agent.clone(), hello("node-1", 1, 7)).await.expect("open");
    assert!(beat(&old).await);
    // A restart: another process, a higher counter.
    let new = Session::open(agent.clone(), hello("node-1", 2, 8)).await.expect("it takes over");
    assert!(beat(&new).await && !beat(&old).await, "the old one learns it by its heartbeat");
    let late = Session::open(agent.clone(), hello("node-1", 1, 7)).await.err().expect("too old");
    assert_eq!(late.code(), Code::FailedPrecondition, "{late:?}");
    assert!(late.message().contains("older than 8"), "{late:?}");
    assert!(beat(&new).await, "a refused one takes nothing over");
    assert_eq!(group.node("node-1").await.eligibility, "open");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f29_what_a_copy_says_of_workers_is_not_believed_while_the_original_lives() {
    let group = Group::start().await;
    let identity = group.join("node-1").await;
    let mut original =
        Session::open(group.agent(&identity), hello("node-1", 1, 1)).await.expect("open");
    let submission = SubmitRequest {
        idempotency_key: ulid::Ulid::generate().to_string(),
        pipeline: "version: 1\nname: one\nstages:\n  a:\n    run: sleep 60\n    cache: false\n"
            .into(),
        ..SubmitRequest::default()
    };
    group.runs(&group.admin).submit(submission).await.expect("submitted");
    let key = "one-1/a.1:0";
    original.desired(|set| set.workers.iter().any(|worker| worker.key == key)).await;
    original.report(report(key, Phase::Running)).await;
    original.desired(|set| set.workers.iter().any(|worker| worker.started)).await;
    // The copy finds the worker's folder and no shim that lives.
    let dead = || WorkerReport {
        result: Some(Outcome {
            succeeded: false,
            cause: "failure".into(),
            reason: "found dead".into(),
        }),
        ..report(key, Phase::Released)
    };
    let copy = Session::open(group.agent(&identity), hello("node-1", 2, 2)).await.expect("open");
    copy.report(dead()).await;
    // The original learns of it by its heartbeat.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    drop(original);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut again = hello("node-1", 1, 3);
    again.workers = vec![report(key, Phase::Running)];
    let mut original = Session::open(group.agent(&identity), again).await.expect("open");
    original.desired(|set| set.workers.iter().any(|worker| worker.started)).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(group.run_state("one-1").await, "running", "the copy was believed");

    // Once the original is gone for good, whoever has its identity is the node.
    drop((original, copy));
    let copy = Session::open(group.agent(&identity), hello("node-1", 2, 4)).await.expect("open");
    copy.report(dead()).await;
    wait_for("the run to end", async || match group.run_state("one-1").await {
        state if state == "failed" => Ok(()),
        state => Err(state),
    })
    .await;
    group.stop().await;
}
