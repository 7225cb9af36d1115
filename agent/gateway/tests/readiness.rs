//! No user's request before a revision is ready; one that never is.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Backend, Env, revision, route, with_status};
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_revision_that_never_gets_ready_gets_no_request_and_is_reported_failed() {
    let old = Backend::saying("old").await;
    let sick = Backend::start(|_, request| async move {
        assert_eq!(request.uri().path(), "/health", "a user's request reached it");
        with_status(503, "loading")
    })
    .await;
    let env = Env::start().await;
    let mut new = revision(2, 1_000, &[sick.address]);
    new.ready.path = "/health".into();
    new.ready.within_ms = 400;
    let start = Instant::now();
    env.gateway.set_routes(vec![route(1, vec![revision(1, 0, &[old.address]), new])]);
    env.until_ready(1).await;
    let mut changes = env.gateway.changes();
    let report = loop {
        assert_eq!(env.get("/digits/").await.body, "old");
        let report = env.report(2);
        if report.failed {
            break report;
        }
        assert!(start.elapsed() < Duration::from_millis(1_400), "not reported in time: {report:?}");
        let _ = tokio::time::timeout(Duration::from_millis(10), changes.changed()).await;
    };
    assert!(!report.ready && report.requests == 0, "{report:?}");
    assert_eq!(
        report.detail,
        "not ready within 400ms: digits@2/replica[0]: GET /health answered 503"
    );
    // It stays failed, whatever it says later.
    assert_eq!(env.get("/digits/").await.body, "old");
}

#[tokio::test]
async fn a_revision_that_is_not_there_yet_leaves_the_old_one_serving() {
    let old = Backend::saying("old").await;
    let env = Env::start().await;
    env.gateway
        .set_routes(vec![route(1, vec![revision(1, 0, &[old.address]), revision(2, 1_000, &[])])]);
    env.until_ready(1).await;
    assert_eq!(env.get("/digits/").await.body, "old");
    // Placed, but nothing listens yet.
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let revisions = vec![revision(1, 0, &[old.address]), revision(2, 1_000, &[address])];
    env.gateway.set_routes(vec![route(1, revisions)]);
    env.until(2, "tried", |report| report.detail.contains("refused")).await;
    assert_eq!(env.get("/digits/").await.body, "old");
    assert_eq!(env.report(2).requests, 0);
}

#[tokio::test]
async fn all_replicas_must_be_ready_before_the_first_request() {
    let healthy = Arc::new(AtomicBool::new(false));
    let (good, is_healthy) = (Backend::saying("new").await, Arc::clone(&healthy));
    let slow = Backend::start(move |_, _| {
        let status = if is_healthy.load(Ordering::Relaxed) { 200 } else { 503 };
        async move { with_status(status, "new") }
    })
    .await;
    let old = Backend::saying("old").await;
    let env = Env::start().await;
    let mut new = revision(2, 1_000, &[good.address, slow.address]);
    new.ready.path = "/health".into();
    env.gateway.set_routes(vec![route(1, vec![revision(1, 0, &[old.address]), new])]);
    env.until_ready(1).await;
    env.until(2, "probed", |report| report.detail.contains("503")).await;
    assert_eq!(env.get("/digits/").await.body, "old");
    healthy.store(true, Ordering::Relaxed);
    env.until_ready(2).await;
    assert_eq!(env.get("/digits/").await.body, "new");
}

#[tokio::test]
async fn warm_up_requests_come_first_and_must_be_answered_as_expected() {
    let backend = Backend::start(|number, request| async move {
        let path = request.uri().path().to_owned();
        let kind = request.headers().get("content-type").cloned();
        let body = request.collect().await.expect("a body").to_bytes();
        match (number, path.as_str()) {
            (1 | 3, "/predict") => {
                assert_eq!(
                    (kind.as_ref().map(|k| k.as_bytes()), &body[..]),
                    (Some(&b"application/json"[..]), &b"{\"x\":[1]}"[..])
                );
                // The first try of the warm-up fails, and is made again from the start.
                with_status(if number == 1 { 500 } else { 200 }, "")
            }
            (2 | 4, "/odd") => with_status(404, ""),
            (2, "/predict") => with_status(200, ""),
            (3, "/odd") => with_status(404, ""),
            (_, "/user") => with_status(200, "after the warm-up"),
            other => panic!("unexpected request {other:?}"),
        }
    })
    .await;
    let env = Env::start().await;
    let mut new = revision(1, 1_000, &[backend.address]);
    new.ready.warm_up =
        b"{\"path\":\"/predict\",\"body\":{\"x\":[1]}}\n{\"path\":\"/odd\",\"expect_status\":404}\n".to_vec();
    env.gateway.set_routes(vec![route(1, vec![new])]);
    env.until(1, "refused once", |r| r.ready || r.detail.contains("answered 500, not 2xx")).await;
    env.until_ready(1).await;
    assert_eq!(backend.count(), 3);
    assert_eq!(env.get("/digits/user").await.body, "after the warm-up");
}

#[tokio::test]
async fn an_unreadable_warm_up_fails_the_revision_with_its_line() {
    let backend = Backend::saying("new").await;
    let env = Env::start().await;
    let mut new = revision(1, 1_000, &[backend.address]);
    new.ready.within_ms = 100;
    new.ready.warm_up = b"{\"path\":\"/\"}\nnonsense".to_vec();
    env.gateway.set_routes(vec![route(1, vec![new])]);
    let report = env.until(1, "failed", |report| report.failed).await;
    assert!(report.detail.contains("line 2 of the warm-up"), "{}", report.detail);
    assert_eq!(env.get("/digits/").await.status, 503);
}
