//! Requests on their way: paths, headers, bodies, shares, and a swap under load.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Backend, Env, SOON, revision, route, text, with_status};
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use runyard_gateway::{Gateway, Options};
use runyard_transport::task;
use runyard_types::ProjectName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn the_replica_sees_the_request_without_the_prefix_and_with_its_origin() {
    let backend = Backend::start(|_, request| async move {
        let headers = request.headers();
        let get = |name: &str| headers.get(name).map_or("-", |v| v.to_str().expect("text"));
        let seen = format!(
            "{} {} for={} prefix={} host={} private={} id={}",
            request.method(),
            request.uri(),
            get("x-forwarded-for"),
            get("x-forwarded-prefix"),
            get("x-forwarded-host") == get("host"),
            get("x-private"),
            get("x-request-id"),
        );
        with_status(418, &seen)
    })
    .await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let request = Request::get(env.uri("/digits/v2/models?x=1&y=%20"))
        .header("connection", "x-private")
        .header("x-private", "1")
        .header("x-request-id", "abc")
        .body(Full::default())
        .expect("a request");
    let answer = env.send(request).await;
    assert_eq!(answer.status, 418);
    assert_eq!(
        answer.body,
        "GET /v2/models?x=1&y=%20 for=127.0.0.1 prefix=/digits host=true private=- id=abc"
    );
    assert_eq!(
        (&answer.headers["x-request-id"], &answer.headers["x-runyard-revision"]),
        (&http::HeaderValue::from_static("abc"), &http::HeaderValue::from_static("1"))
    );
}

#[tokio::test]
async fn what_is_not_served_is_named_with_what_is() {
    let env = Env::start().await;
    assert_eq!(env.get("/digits/x").await.status, 404);
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[])])]);
    let answer = env.get("/digit/x").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("no deployment `digit`"), "{}", answer.body);
    assert!(answer.body.contains("\"deployments\":[\"digits\"]"), "{}", answer.body);
    let answer = env.get("/digits/x").await;
    assert_eq!((answer.status, &answer.headers["retry-after"]), (503, &"1".parse().expect("1")));
    assert!(answer.body.contains("revision 1: no replica is placed yet"), "{}", answer.body);
}

#[tokio::test]
async fn projects_may_share_a_deployments_name() {
    let (mine, yours) = (Backend::saying("mine").await, Backend::saying("yours").await);
    let env = Env::start().await;
    let one = route(1, vec![revision(1, 1_000, &[mine.address])]);
    let mut two = route(2, vec![revision(2, 1_000, &[yours.address])]);
    two.project = ProjectName::new("other").expect("a name");
    env.gateway.set_routes(vec![one, two]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    let answer = env.get("/digits/").await;
    assert!(answer.status == 300 && answer.body.contains("default or other"), "{}", answer.body);
    for (project, status, says) in [("other", 200, "yours"), ("third", 404, "no deployment")] {
        let request = Request::get(env.uri("/digits/")).header("x-runyard-project", project);
        let answer = env.send(request.body(Full::default()).expect("a request")).await;
        assert!(answer.status == status && answer.body.contains(says), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_stream_comes_through_as_it_is_written() {
    // The second part is written only after the user has seen the first.
    let (seen, may_go_on) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |_, _| {
        let mut may_go_on = may_go_on.clone();
        async move {
            let first = futures::stream::once(async { "data: one\n\n" });
            let second = futures::stream::once(async move {
                may_go_on.wait_for(|seen| *seen).await.expect("the test lives");
                "data: two\n\n"
            });
            let frames = first.chain(second).map(|t| Ok(Frame::data(Bytes::from(t))));
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(StreamBody::new(frames).boxed_unsync())
                .expect("an answer")
        }
    })
    .await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let request = Request::get(env.uri("/digits/sse")).body(Full::default()).expect("a request");
    let mut answer = env.client.request(request).await.expect("an answer");
    let first = answer.frame().await.expect("a frame").expect("a good one");
    assert_eq!(first.into_data().expect("data"), "data: one\n\n");
    assert_eq!(env.report(1).in_flight, 1);
    seen.send_replace(true);
    let rest = answer.collect().await.expect("the rest").to_bytes();
    assert_eq!(rest, "data: two\n\n");
    env.until(1, "over", |report| report.in_flight == 0).await;
}

#[tokio::test]
async fn a_request_body_streams_and_may_be_long() {
    let backend = Backend::start(|_, request| async move {
        let bytes = request.collect().await.expect("a whole body").to_bytes();
        with_status(200, &format!("{} {}", bytes.len(), bytes.iter().all(|b| *b == 7)))
    })
    .await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let body = Full::from(vec![7; 5_000_000]);
    let request = Request::post(env.uri("/digits/")).body(body).expect("a request");
    assert_eq!(env.send(request).await.body, "5000000 true");
}

#[tokio::test]
async fn a_websocket_is_handed_through() {
    let backend = Backend::start(|_, mut request| async move {
        assert_eq!(request.headers()["upgrade"], "echo");
        let upgrade = hyper::upgrade::on(&mut request);
        task::spawn("echo", async move {
            let mut io = TokioIo::new(upgrade.await.expect("an upgrade"));
            let mut buffer = [0; 64];
            while let Ok(read @ 1..) = io.read(&mut buffer).await {
                io.write_all(&buffer[..read]).await.expect("room");
            }
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(text(""))
            .expect("an answer")
    })
    .await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let mut stream = TcpStream::connect(env.gateway.address()).await.expect("a connection");
    let head = "GET /digits/ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("room");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a head"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    for word in ["ping", "pong"] {
        stream.write_all(word.as_bytes()).await.expect("room");
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.expect("an echo");
        assert_eq!(&back, word.as_bytes());
    }
    assert_eq!(env.report(1).in_flight, 1);
    drop(stream);
    env.until(1, "over", |report| report.in_flight == 0).await;
}

#[tokio::test]
async fn http2_without_tls_is_spoken_too() {
    let backend = Backend::saying("hello").await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let uri = env.uri("/digits/").parse().expect("a URI");
    let answer = client.get(uri).await.expect("an answer");
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.collect().await.expect("a body").to_bytes(), "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_that_arrives_is_the_weight() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let env = Env::start().await;
    let revisions = vec![revision(1, 800, &[old.address]), revision(2, 200, &[new.address])];
    env.gateway.set_routes(vec![route(1, revisions)]);
    env.until_ready(1).await;
    env.until_ready(2).await;
    let n = 4_000;
    let requests = futures::stream::iter(0..n).map(|_| env.get("/digits/"));
    let bad = requests.buffer_unordered(16).filter(|a| futures::future::ready(a.status != 200));
    assert_eq!(bad.count().await, 0);
    // Four in a million runs lie outside 4.6 standard deviations.
    let band = 4.6 * (f64::from(n) * 0.2 * 0.8).sqrt();
    assert!((new.count() as f64 - f64::from(n) * 0.2).abs() <= band, "{} of {n}", new.count());
    assert_eq!(old.count() + new.count(), n as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_revisions_are_swapped() {
    // The old replica takes its time, so that requests are in flight at each swap.
    let slow = |says: &'static str| {
        Backend::start(move |n, _| async move {
            tokio::time::sleep(Duration::from_millis(n % 4)).await;
            with_status(200, says)
        })
    };
    let env = Arc::new(Env::start().await);
    let first = slow("1").await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[first.address])])]);
    env.until_ready(1).await;
    let (stop, failed, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let users: Vec<_> = (0..8)
        .map(|_| {
            let (env, stop) = (Arc::clone(&env), Arc::clone(&stop));
            let (failed, sent) = (Arc::clone(&failed), Arc::clone(&sent));
            task::spawn("user", async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = env.post("/digits/predict", "{}").await;
                    sent.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(answer.status != 200), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut old = first;
    for number in 2..12 {
        let new = slow("n").await;
        let both = |weight| {
            vec![
                revision(number - 1, 1_000 - weight, &[old.address]),
                revision(number, weight, &[new.address]),
            ]
        };
        env.gateway.set_routes(vec![route(number - 1, both(300))]);
        env.until_ready(number).await;
        env.gateway.set_routes(vec![route(number - 1, both(1_000))]);
        env.gateway.set_routes(vec![route(number, vec![revision(number, 1_000, &[new.address])])]);
        // The daemon stops a replica when it has drained, and not before.
        let start = Instant::now();
        while env.gateway.reports().iter().any(|r| r.revision == number - 1 && !r.drained) {
            assert!(start.elapsed() < SOON, "revision {} does not drain", number - 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        old.kill();
        old = new;
    }
    stop.store(true, Ordering::Relaxed);
    for user in users {
        user.await.expect("the user does not panic");
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 100, "only {sent} requests");
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {sent}");
}

#[tokio::test]
async fn a_removed_revision_finishes_what_it_began() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let old = Backend::start(move |_, _| {
        let mut gone = gone.clone();
        async move {
            gone.wait_for(|go| *go).await.expect("the test lives");
            with_status(200, "old")
        }
    })
    .await;
    let new = Backend::saying("new").await;
    let env = Arc::new(Env::start().await);
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[old.address])])]);
    env.until_ready(1).await;
    let asking = task::spawn("user", {
        let env = Arc::clone(&env);
        async move { env.get("/digits/").await.body }
    });
    env.until(1, "in flight", |report| report.in_flight == 1).await;
    let revisions = vec![revision(1, 0, &[old.address]), revision(2, 1_000, &[new.address])];
    env.gateway.set_routes(vec![route(1, revisions)]);
    env.until_ready(2).await;
    env.gateway.set_routes(vec![route(2, vec![revision(2, 1_000, &[new.address])])]);
    assert_eq!(env.get("/digits/").await.body, "new");
    let report = env.report(1);
    assert!(!report.drained && report.in_flight == 1, "{report:?}");
    go.send_replace(true);
    assert_eq!(asking.await.expect("no panic"), "old");
    env.until(1, "drained", |report| report.drained).await;
    env.gateway.set_routes(vec![route(2, vec![revision(2, 1_000, &[new.address])])]);
    assert!(env.gateway.reports().iter().all(|report| report.revision == 2));
}

#[tokio::test]
async fn shutdown_lets_running_requests_end() {
    let backend = Backend::start(|_, _| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        with_status(200, "late")
    })
    .await;
    let env = Env::start().await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let uri = env.uri("/digits/").parse().expect("a URI");
    let client = env.client.clone();
    let asking = task::spawn("user", async move { client.get(uri).await.map(|a| a.status()) });
    env.until(1, "in flight", |report| report.in_flight == 1).await;
    env.gateway.shutdown(SOON).await;
    assert_eq!(asking.await.expect("no panic").expect("an answer"), 200);
}

#[tokio::test]
async fn a38_who_connects_and_says_little_is_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options =
        Options::new("127.0.0.1:0".parse().expect("an address"), folder.path().into());
    options.head_within = Duration::from_millis(150);
    let gateway = Gateway::start(options).await.expect("a gateway");
    for says in ["", "P", "GET /digits/ HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(gateway.address()).await.expect("a connection");
        stream.write_all(says.as_bytes()).await.expect("room");
        let mut rest = Vec::new();
        let end = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{says:?} held its connection");
    }
}

#[tokio::test]
async fn a38_connections_beyond_the_limit_wait_and_are_served_later() {
    let backend = Backend::saying("hello").await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut options =
        Options::new("127.0.0.1:0".parse().expect("an address"), folder.path().into());
    (options.connections_max, options.head_within) = (2, Duration::from_millis(300));
    let gateway = Gateway::start(options).await.expect("a gateway");
    gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    let hold = || async { TcpStream::connect(gateway.address()).await.expect("a connection") };
    let _idle = (hold().await, hold().await);
    let uri: http::Uri = format!("http://{}/digits/", gateway.address()).parse().expect("a URI");
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<Full<Bytes>>();
    let answer = tokio::time::timeout(SOON, client.get(uri)).await.expect("in time");
    assert_eq!(answer.expect("an answer").status(), 200);
}

/// Answers what it got, when all of it is there.
async fn echo() -> Backend {
    Backend::start(|_, request| async move {
        match request.into_body().collect().await {
            Ok(body) => Response::new(text(body.to_bytes())),
            Err(_) => with_status(400, ""),
        }
    })
    .await
}

async fn hurried(within: Duration) -> Env {
    let folder = tempfile::tempdir().expect("a folder");
    Env::start_with(folder, |options| Options { answer_within: within, ..options }).await
}

#[tokio::test]
async fn a_body_that_trickles_is_no_fault_of_the_replica() {
    let within = Duration::from_millis(400);
    let (backend, env) = (echo().await, hurried(within).await);
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let mut stream = TcpStream::connect(env.gateway.address()).await.expect("a connection");
    let head =
        "POST /digits/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 20\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let start = Instant::now();
    for _ in 0..20 {
        tokio::time::sleep(within / 8).await;
        stream.write_all(b"x").await.expect("sent");
    }
    assert!(start.elapsed() > within * 2);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let report = env.report(1);
    assert_eq!((report.requests, report.errors), (1, 0));
}

#[tokio::test]
async fn a_body_that_stops_half_way_is_its_senders_fault() {
    let (backend, env) = (echo().await, hurried(Duration::from_millis(300)).await);
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let mut stream = TcpStream::connect(env.gateway.address()).await.expect("a connection");
    let head =
        "POST /digits/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 20\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("nothing came of the request's body"), "{answer}");
    let report = env.until(1, "at rest", |report| report.in_flight == 0).await;
    assert_eq!(report.errors, 0, "{report:?}");
}

#[tokio::test]
async fn a_replica_that_does_not_answer_what_it_got_has_failed() {
    let backend = Backend::start(|_, request| async move {
        let _ = request.into_body().collect().await;
        std::future::pending().await
    })
    .await;
    let env = hurried(Duration::from_millis(300)).await;
    env.gateway.set_routes(vec![route(1, vec![revision(1, 1_000, &[backend.address])])]);
    env.until_ready(1).await;
    let answer = env.post("/digits/", "{}").await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert_eq!(env.report(1).errors, 1);
}
