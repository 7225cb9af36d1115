//! The watch, the way back, and what the user sees of it.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use common::{Backend, Env, revision, route, with_status};
use http::Request;
use http_body_util::Full;
use runyard_gateway::{Gateway, Options, Route};
use runyard_transport::task;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// 500 to every fifth request.
async fn faulty() -> Backend {
    Backend::start(|n, _| async move {
        if n % 5 == 0 { with_status(500, "broken") } else { with_status(200, "new") }
    })
    .await
}

fn canary(old: SocketAddr, new: SocketAddr, weight: u32) -> Route {
    route(1, vec![revision(1, 1_000 - weight, &[old]), revision(2, weight, &[new])])
}

#[tokio::test]
async fn a_faulty_canary_is_rolled_back_and_stays_so_after_a_restart() {
    let (old, new) = (Backend::saying("old").await, faulty().await);
    let env = Env::start().await;
    env.gateway.set_routes(vec![canary(old.address, new.address, 200)]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    let (mut sent, mut errors) = (0, 0);
    while env.report(2).errors < 4 {
        errors += u64::from(env.post("/digits/predict", "{}").await.status == 500);
        sent += 1;
        assert!(sent < 1_000, "not noticed after {sent} requests");
    }
    let report = env.until(2, "rolled back", |report| report.rolled_back).await;
    assert_eq!((report.affected, errors), (4, 4));
    assert!(report.e_value >= 100.0 || report.reason.contains("evidence"), "{report:?}");
    assert!(report.reason.starts_with("4 of 4 errors came from it at 20.0 %"), "{}", report.reason);
    // The pointer is swapped: not one more request gets there.
    let at_rollback = new.count();
    for _ in 0..50 {
        assert_eq!(env.get("/digits/").await.body, "old");
    }
    assert_eq!(new.count(), at_rollback);

    // A new process on the same folder, and a leader that still says 20 %, or that it serves.
    let Env { gateway, folder, .. } = env;
    gateway.shutdown(common::SOON).await;
    let env = Env::start_in(folder).await;
    let mut behind = canary(old.address, new.address, 200);
    behind.serving = 2;
    for route in [canary(old.address, new.address, 1_000), behind] {
        env.gateway.set_routes(vec![route]);
        env.until_ready(1).await;
        env.until_ready(2).await;
        for _ in 0..50 {
            assert_eq!(env.get("/digits/").await.body, "old");
        }
    }
    assert_eq!(new.count(), at_rollback);
    let report = env.report(2);
    assert!(report.rolled_back && report.affected == 4, "{report:?}");

    // The next revision is judged for itself.
    let next = Backend::saying("next").await;
    let revisions = vec![
        revision(1, 0, &[old.address]),
        revision(2, 0, &[new.address]),
        revision(3, 1_000, &[next.address]),
    ];
    env.gateway.set_routes(vec![route(1, revisions)]);
    env.until_ready(3).await;
    assert_eq!(env.get("/digits/").await.body, "next");
}

#[tokio::test]
async fn alone_a_revision_is_held_to_its_predecessors_rate() {
    let (old, new) = (Backend::saying("old").await, faulty().await);
    let env = Env::start().await;
    let mut route = canary(old.address, new.address, 1_000);
    (route.revisions[1].baseline_requests, route.revisions[1].baseline_errors) = (10_000, 30);
    env.gateway.set_routes(vec![route]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    for sent in 0.. {
        assert!(sent < 2_000, "not noticed after {sent} requests");
        if env.get("/digits/").await.body == "old" {
            break;
        }
    }
    let report = env.until(2, "rolled back", |report| report.rolled_back).await;
    assert!(report.reason.contains("while it served alone; at most 1.0 %"), "{}", report.reason);
}

#[tokio::test]
async fn once_promoted_a_revision_is_watched_alone_for_as_long_as_the_old_one_is_warm() {
    let (old, new) = (
        Backend::saying("old").await,
        Backend::start(|n, _| async move {
            // Bad from its hundredth request on: long after it got everything.
            if n >= 100 { with_status(500, "broken") } else { with_status(200, "new") }
        })
        .await,
    );
    let env = Env::start().await;
    env.gateway.set_routes(vec![canary(old.address, new.address, 200)]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    for _ in 0..50 {
        assert_eq!(env.get("/digits/").await.status, 200);
    }
    // The leader promotes it; the old one stays warm, and is what to go back to.
    env.gateway.set_routes(vec![canary(old.address, new.address, 1_000)]);
    let mut sent = 0;
    while !env.report(2).rolled_back {
        let said = env.get("/digits/").await;
        assert!(said.status == 500 || said.body == "new" || env.report(2).errors > 0);
        sent += 1;
        assert!(sent < 1_000, "never rolled back: {:?}", env.report(2));
    }
    let report = env.report(2);
    assert!(report.reason.contains("while it served alone"), "{}", report.reason);
    assert!(report.affected <= 30, "{report:?}");
    // The leader has not heard of it, or is away: what it says is behind the latch.
    let mut behind = canary(old.address, new.address, 1_000);
    behind.serving = 2;
    env.gateway.set_routes(vec![behind]);
    for _ in 0..20 {
        assert_eq!(env.get("/digits/").await.body, "old");
    }
}

#[tokio::test]
async fn when_the_old_one_is_no_longer_warm_the_watch_still_counts_but_takes_nothing_away() {
    let new = faulty().await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(2, vec![revision(2, 1_000, &[new.address])])]);
    env.until_ready(2).await;
    for _ in 0..200 {
        env.get("/digits/").await;
    }
    let report = env.report(2);
    assert!(!report.rolled_back && report.e_value >= 100.0, "{report:?}");
    assert_eq!(new.count(), 200);
}

#[tokio::test]
async fn a_rate_that_was_the_old_ones_as_well_is_no_reason_to_go_back() {
    // One in ten of each; the coordinator has not counted the old one's yet, the gateway has.
    let tenth = |says: &'static str| {
        Backend::start(move |n, _| async move {
            if n % 10 == 0 { with_status(500, "broken") } else { with_status(200, says) }
        })
    };
    let (old, new) = (tenth("old").await, tenth("new").await);
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[old.address])])]);
    env.until_ready(1).await;
    for _ in 0..300 {
        env.get("/digits/").await;
    }
    env.gateway.set_routes(vec![canary(old.address, new.address, 1_000)]);
    env.until_ready(2).await;
    for _ in 0..300 {
        env.get("/digits/").await;
    }
    let report = env.report(2);
    assert!(!report.rolled_back && report.requests >= 290 && report.errors >= 29, "{report:?}");
}

#[tokio::test]
async fn alone_another_replica_of_the_same_revision_is_tried_before_the_old_one() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let dying = Backend::saying("dying").await;
    let env = Env::start().await;
    let revisions =
        vec![revision(1, 0, &[old.address]), revision(2, 1_000, &[new.address, dying.address])];
    env.gateway.set_routes(vec![route(1, revisions)]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    dying.kill();
    for _ in 0..30 {
        assert_eq!(env.get("/digits/").await.body, "new");
    }
}

#[tokio::test]
async fn a_revision_that_cannot_be_reached_is_replaced_by_the_warm_one_until_it_is_back() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let env = Env::start().await;
    env.gateway.set_routes(vec![canary(old.address, new.address, 1_000)]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    assert_eq!(env.get("/digits/").await.body, "new");
    new.kill();
    for _ in 0..5 {
        assert_eq!(env.get("/digits/").await.body, "old");
    }
    assert!(!env.report(2).rolled_back, "one restart is no error rate: {:?}", env.report(2));
    // Placed again elsewhere.
    let again = Backend::saying("again").await;
    env.gateway.set_routes(vec![canary(old.address, again.address, 1_000)]);
    env.until_ready(2).await;
    assert_eq!(env.get("/digits/").await.body, "again");
    // Where the old one is gone meanwhile, one that is in doubt is better than none.
    old.kill();
    again.kill();
    let answer = env.get("/digits/").await;
    assert_eq!(answer.status, 502, "{}", answer.body);
}

#[tokio::test]
async fn without_a_revision_to_go_back_to_nothing_is_taken_away() {
    let new = faulty().await;
    let env = Env::start().await;
    env.gateway
        .set_routes(vec![route(1, vec![revision(1, 0, &[]), revision(2, 1_000, &[new.address])])]);
    env.until_ready(2).await;
    for _ in 0..500 {
        env.get("/digits/").await;
    }
    let report = env.report(2);
    assert!(!report.rolled_back && report.e_value >= 100.0, "{report:?}");
    assert_eq!(new.count(), 500);
}

#[tokio::test]
async fn errors_are_5xx_and_the_header_but_not_429() {
    let backend = Backend::start(|_, request| async move {
        match request.uri().path() {
            "/busy" => with_status(429, ""),
            "/bad" => {
                let mut answer = with_status(200, "");
                answer.headers_mut().insert("x-runyard-error", "1".parse().expect("1"));
                answer
            }
            _ => with_status(502, ""),
        }
    })
    .await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    for (path, status, errors) in [("/busy", 429, 0), ("/bad", 200, 1), ("/fail", 502, 2)] {
        assert_eq!(env.get(&format!("/digits{path}")).await.status, status);
        env.until(1, "counted", |report| report.errors == errors).await;
    }
    assert_eq!(env.report(1).latency.iter().sum::<u64>(), 3);
}

#[tokio::test]
async fn what_a_dying_canary_leaves_unanswered_the_old_revision_answers() {
    // It takes a request and breaks the connection before a byte of an answer.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let broken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&broken);
    task::spawn("dying", async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let count = Arc::clone(&count);
            task::spawn("dying connection", async move {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                if buffer[..read].starts_with(b"GET /ready") {
                    let answer =
                        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
                } else {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let old = Backend::start(|_, request| async move {
        let body = http_body_util::BodyExt::collect(request).await.expect("a body").to_bytes();
        with_status(200, &format!("old {}", String::from_utf8_lossy(&body)))
    })
    .await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![canary(old.address, address, 500)]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    let mut sent = 0;
    while !env.report(2).rolled_back {
        let request = Request::put(env.uri("/digits/x")).body(Full::from("body"));
        let answer = env.send(request.expect("a request")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "old body"));
        sent += 1;
        assert!(sent < 5_000, "never rolled back: {:?}", env.report(2));
    }
    let report = env.report(2);
    assert!(broken.load(Ordering::Relaxed) >= 4 && report.errors == report.rescued, "{report:?}");
    assert_eq!(report.affected, 0);
}

#[tokio::test]
async fn a_post_is_repeated_only_if_it_was_never_sent_or_has_a_key() {
    let old = Backend::saying("old").await;
    let new = Backend::start(|_, _| async { with_status(503, "overloaded") }).await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![canary(old.address, new.address, 1_000)]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    assert_eq!(env.post("/digits/", "{}").await.status, 503);
    let request = Request::post(env.uri("/digits/")).header("idempotency-key", "k");
    assert_eq!(env.send(request.body(Full::from("{}")).expect("a request")).await.body, "old");
    assert_eq!(env.get("/digits/").await.body, "old");
    new.kill();
    // Refused connections carried nothing, so even a bare POST goes on; the idle connections that broke
    // are found by then.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    for _ in 0..5 {
        assert_eq!(env.post("/digits/", "{}").await.body, "old");
    }
}

#[tokio::test]
async fn bad_feedback_rolls_back_a_model_that_answers_200() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let env = Env::start().await;
    env.gateway.set_routes(vec![canary(old.address, new.address, 300)]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    let mut sent = 0;
    while !env.report(2).rolled_back {
        let answer = env.get("/digits/").await;
        let id = answer.headers["x-request-id"].to_str().expect("text");
        let score = if answer.body == "new" { "-1" } else { "1" };
        let said = format!("{{\"request_id\":\"{id}\",\"score\":{score}}}");
        let taken = env.post("/digits/-/feedback", &said).await;
        assert_eq!(taken.status, 200, "{}", taken.body);
        let again = env.post("/digits/-/feedback", &said).await;
        assert_eq!(again.status, 404, "one answer, one feedback");
        sent += 1;
        assert!(sent < 1_000, "never rolled back: {:?}", env.report(2));
    }
}

#[tokio::test]
async fn a34_pages_of_other_sites_can_give_no_feedback() {
    let old = Backend::saying("old").await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[old.address])])]);
    env.until_ready(1).await;
    let ask = |kind: &'static str, site: &'static str, body: &'static str| {
        Request::post(env.uri("/digits/-/feedback"))
            .header("content-type", kind)
            .header("sec-fetch-site", site)
            .body(Full::<Bytes>::from(body))
            .expect("a request")
    };
    let good = "{\"request_id\":\"x\",\"score\":1}";
    for (request, status) in [
        (ask("text/plain", "none", good), 415),
        (ask("application/json", "cross-site", good), 403),
        (ask("application/json", "none", "{\"request_id\":\"x\"}"), 400),
        (ask("application/json", "none", "{\"request_id\":\"x\",\"score\":\"NaN\"}"), 400),
        (ask("application/json; charset=utf-8", "same-origin", good), 404),
    ] {
        let answer = env.send(request).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    assert_eq!(env.get("/digits/-/feedback").await.status, 405);
    assert_eq!(old.count(), 0, "the replica saw feedback");
}

#[tokio::test]
async fn a_taken_port_and_a_broken_record_are_said_at_the_start() {
    let env = Env::start().await;
    let taken = Options::new(env.gateway.address(), env.folder.path().join("other"));
    let error = Gateway::start(taken).await.expect_err("the port is taken").to_string();
    assert!(error.contains(&env.gateway.address().to_string()), "{error}");
    let folder = env.folder.path().join("broken");
    fs_err::create_dir(&folder).expect("a folder");
    fs_err::write(folder.join("latches.json"), "{").expect("a file");
    let options = Options::new("127.0.0.1:0".parse().expect("an address"), folder);
    let error = Gateway::start(options).await.expect_err("unreadable").to_string();
    assert!(error.contains("latches.json") && error.contains("restore it"), "{error}");
}
