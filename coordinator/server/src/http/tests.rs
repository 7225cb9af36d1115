//! The routes as browsers and scripts meet them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use runyard_types::NodeName;
use tokio_util::sync::CancellationToken;

use super::testing::{Answered, HOST, Stage};
use super::{metrics, page};

const EVIL: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

/// What a page of `origin` can make a browser with our cookie send.
fn browser(
    method: &str,
    path: &str,
    host: &str,
    origin: Option<&str>,
    cookie: &str,
) -> Request<Body> {
    let mut request =
        Request::builder().method(method).uri(path).header("host", host).header("cookie", cookie);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.body(Body::empty()).expect("a request")
}

#[test]
fn a33_the_page_makes_no_markup_out_of_text() {
    // Assembled, so that this list is not found by itself.
    for sink in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "srcdoc",
        "eval(",
        "Function(",
        "javascript:",
        "setAttribute(",
        "setHTML",
        "http://",
        "https://",
        "import(",
    ] {
        assert!(!page::SCRIPT.contains(sink), "page.js uses {sink}");
    }
    let lower = page::HTML.to_lowercase();
    assert_eq!(lower.matches("<script").count(), 1);
    assert!(
        lower.contains("<script src=\"page.js\" defer></script>"),
        "the only script is our file"
    );
    for sink in ["<style", " style=", "javascript:", "//", "<iframe", "<base", "<object"] {
        assert!(!lower.replace("<!doctype html>", "").contains(sink), "index.html has {sink}");
    }
    for handler in lower.split(" on").skip(1) {
        assert!(
            !handler.trim_start_matches(|c: char| c.is_ascii_alphabetic()).starts_with('='),
            "on{handler}"
        );
    }
    assert!(
        !page::STYLE.contains("url(") && !page::STYLE.contains("@import"),
        "styles load nothing"
    );
    assert!(page::SCRIPT.contains("document.createTextNode(clean(String(child)))"));
    let sum = page::HTML.len() + page::SCRIPT.len() + page::STYLE.len();
    assert!(sum < 64 << 10, "the page has {sum} bytes");
}

#[tokio::test]
async fn a33_hostile_names_come_as_json_under_a_strict_policy() {
    let stage = Stage::new().await;
    let run = stage.submit(EVIL).await;
    let answer = stage.get(&format!("/api/v1/runs/{run}")).await;
    assert_eq!(answer.json()["git"]["subject"], EVIL, "nothing is lost, only never run");
    let missing = stage.get("/api/v1/runs/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(missing.status, 404);
    assert!(missing.json()["error"]["message"].as_str().expect("a text").contains("<script>"));
    let page = stage.get("/").await;
    for answer in [
        &answer,
        &missing,
        &page,
        &stage.get("/page.js").await,
        &stage.get("/nowhere").await,
        &stage.get("/api/v1/runs?x=1").await,
    ] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        let policy = answer.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "no other origin may read");
    }
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
}

#[tokio::test]
async fn a34_foreign_hosts_and_origins_are_refused_even_with_the_cookie() {
    let stage = Stage::new().await;
    let cookie = format!("__Host-runyard={}", stage.token);
    let ask = async |method, path, host, origin| {
        Answered::of(stage.send(browser(method, path, host, origin, &cookie)).await).await.status
    };
    assert_eq!(ask("GET", "/api/v1/runs", HOST, None).await, 200);
    assert_eq!(ask("GET", "/api/v1/runs", HOST, Some("https://gpu.example:7443")).await, 200);
    for path in [
        "/",
        "/page.js",
        "/api/v1/runs",
        "/api/v1/events/stream",
        "/api/v1/logs/digits-1",
        "/metrics",
    ] {
        assert_eq!(ask("GET", path, "evil.example:7443", None).await, 403, "rebinding to {path}");
        assert_eq!(
            ask("GET", path, HOST, Some("https://evil.example")).await,
            403,
            "{path} from elsewhere"
        );
    }
    for path in ["/login", "/logout"] {
        assert_eq!(ask("POST", path, HOST, Some("https://evil.example")).await, 403);
        assert_eq!(ask("POST", path, HOST, Some("null")).await, 403);
        assert_eq!(ask("POST", path, HOST, None).await, 403);
    }
    assert_eq!(ask("GET", "/healthz", "10.1.2.3", None).await, 200, "probes come by address");
}

#[tokio::test]
async fn a34_a_login_is_a_cookie_that_scripts_and_other_sites_never_have() {
    let stage = Stage::new().await;
    let login = async |body: String| {
        let request = Request::post("/login")
            .header("host", HOST)
            .header("origin", format!("https://{HOST}"))
            .header("content-type", "application/json");
        Answered::of(stage.send(request.body(Body::from(body)).expect("a request")).await).await
    };
    for wrong in [
        "runyard_0123456789abcdef_0123456789abcdef0123456789abcdef01234567",
        "",
        "x; Domain=evil",
        "a\\r\\nb: c",
    ] {
        let answer = login(format!("{{\"token\":\"{wrong}\"}}")).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, ""), "{wrong}");
    }
    assert_eq!(login("x".repeat(5_000)).await.status, 413);
    let answer = login(format!("{{\"token\":\" {}\\n\"}}", stage.token)).await;
    assert_eq!((answer.status, &answer.json()["principal"]), (200, &serde_json::json!("ada")));
    assert!(!answer.text.contains(&stage.token));
    let cookie = answer.header("set-cookie").to_owned();
    let mut parts = cookie.split("; ");
    let pair = parts.next().expect("the cookie").to_owned();
    assert!(pair.starts_with("__Host-runyard="), "{pair}");
    let flags: BTreeSet<_> = parts.collect();
    assert_eq!(
        flags,
        BTreeSet::from(["Path=/", "Max-Age=43200", "Secure", "HttpOnly", "SameSite=Strict"])
    );

    let status = async |cookie: &str| {
        Answered::of(stage.send(browser("GET", "/api/v1/status", HOST, None, cookie)).await)
            .await
            .status
    };
    assert_eq!(status(&pair).await, 200);
    assert_eq!(status("").await, 401);
    let out = Answered::of(
        stage.send(browser("POST", "/logout", HOST, Some("https://gpu.example:7443"), &pair)).await,
    )
    .await;
    assert!(out.header("set-cookie").starts_with("__Host-runyard=; Path=/; Max-Age=0;"), "{out:?}");
    stage.revoke().await;
    assert_eq!(status(&pair).await, 401, "a revoked token ends the session");
}

#[tokio::test]
async fn lists_say_their_version_and_index_and_refuse_in_json() {
    let stage = Stage::new().await;
    let run = stage.submit("a change").await;
    for (path, field) in [
        ("/api/v1/runs?all=true", "runs"),
        ("/api/v1/nodes", "nodes"),
        ("/api/v1/models", "models"),
        ("/api/v1/deployments", "deployments"),
        ("/api/v1/events?last=10", "events"),
    ] {
        let list = stage.get(path).await.json();
        assert_eq!(list["api_version"], "runyard.v1", "{field}");
        assert!(list["index"].as_u64().expect("a number") > 0, "{field}: {list}");
        assert!(list["items"].is_array(), "{field}");
    }
    let shown = stage.get(&format!("/api/v1/runs/{run}")).await.json();
    assert!(shown["created_ms"].is_u64(), "times are numbers: {shown}");
    assert_eq!(stage.get("/api/v1/runs/digits-99").await.json()["error"]["code"], "not_found");
    assert_eq!(stage.get("/api/v1/events?from=x").await.status, 400);
    assert_eq!(stage.get("/healthz").await.text, "ok\n");
    let ready = stage.get("/readyz").await;
    assert_eq!((ready.status, ready.text.as_str()), (200, "ok\n"));
    let grpc = Request::post("/runyard.v1.Later/Call")
        .header("content-type", "application/grpc")
        .header("host", HOST);
    let answer = Answered::of(stage.send(grpc.body(Body::empty()).expect("a request")).await).await;
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (200, "12"),
        "a newer client is told in its own words"
    );
}

#[tokio::test]
async fn the_read_model_answers_searches_once_it_follows() {
    let stage = Stage::new().await;
    let run = stage.submit("a change").await;
    let early = stage.get("/api/v1/runs?state=queued").await;
    assert_eq!(
        (early.status, &early.json()["error"]["code"]),
        (503, &serde_json::json!("unavailable"))
    );
    let stop = CancellationToken::new();
    let following = runyard_transport::task::spawn(
        "read-model",
        crate::readmodel::follow(stage.core.clone(), stop.clone()),
    );
    let path = format!("/api/v1/events?subject={run}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let found = loop {
        let answer = stage.get(&path).await;
        if answer.status == 200
            && answer.json()["items"].as_array().is_some_and(|items| !items.is_empty())
        {
            break answer.json();
        }
        assert!(tokio::time::Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(found["items"][0]["kind"], "run.submitted");
    assert_eq!(
        stage.get(&format!("{path}&from={}", found["next"].as_str().expect("a text"))).await.json()
            ["items"],
        serde_json::json!([])
    );
    let runs = stage.get("/api/v1/runs?state=queued&pipeline=digits").await.json();
    assert_eq!(runs["items"][0]["name"], run.as_str());
    assert_eq!(stage.get("/api/v1/runs?state=failed").await.json()["items"], serde_json::json!([]));
    stop.cancel();
    following.await.expect("it stops in order");
}

#[tokio::test]
async fn streams_give_new_events_with_numbers_and_end_with_the_token() {
    let stage = Stage::new().await;
    let from = stage.core.truth.view().index;
    stage.submit(EVIL).await;
    let request = Request::get("/api/v1/events/stream")
        .header("host", HOST)
        .header("cookie", format!("__Host-runyard={}", stage.token))
        .header("last-event-id", format!("{from}.{}", u32::MAX));
    let response = stage.send(request.body(Body::empty()).expect("a request")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut text = String::new();
    // Of the whole: comments that keep the stream alive come for ever.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !text.contains("event: bookmark") {
        let frame = tokio::time::timeout_at(deadline, body.frame())
            .await
            .expect("in time")
            .expect("more")
            .expect("sound");
        text += &String::from_utf8_lossy(&frame.into_data().expect("data"));
    }
    assert!(text.contains("\"kind\":\"run.submitted\"") && text.contains("id: "), "{text}");
    stage.revoke().await;
    while let Some(frame) =
        tokio::time::timeout_at(deadline, body.frame()).await.expect("the stream ends in time")
    {
        text += &String::from_utf8_lossy(&frame.expect("sound").into_data().unwrap_or_default());
    }
    assert!(text.contains("event: failed"), "a revoked token ends the stream: {text}");
}

#[tokio::test]
async fn metrics_need_a_token_and_are_sound_prometheus() {
    let stage = Stage::new().await;
    stage.submit("a change").await;
    add_node(&stage).await;
    let request =
        Request::get("/metrics").header("host", HOST).body(Body::empty()).expect("a request");
    assert_eq!(Answered::of(stage.send(request).await).await.status, 401);
    let answer = stage.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.text, metrics::text(&stage.core), "the same each time while nothing changes");
    let samples = lint(&answer.text);
    let value = |name: &str| {
        samples.get(name).copied().unwrap_or_else(|| panic!("no {name} in\n{}", answer.text))
    };
    assert!((value("runyard_runs{state=\"queued\"}") - 1.0).abs() < 1e-9);
    assert!(value("runyard_runs{state=\"failed\"}").abs() < 1e-9);
    assert!(value("runyard_raft_term") >= 1.0);
    assert!(value("runyard_raft_applied_index") >= 2.0);
    assert!((value("runyard_raft_leader") - 1.0).abs() < 1e-9);
    assert!((value("runyard_nodes{liveness=\"ready\",eligibility=\"open\"}") - 1.0).abs() < 1e-9);
    assert!((value("runyard_gpus{state=\"free\",model=\"NVIDIA \\\"X\\\"\"}") - 2.0).abs() < 1e-9);
    assert!(
        (value("runyard_gpu_utilization_ratio{node=\"box\",gpu=\"0\",uuid=\"GPU-0\"}") - 0.5).abs()
            < 1e-9
    );
    assert!(
        (value(
            "runyard_gpu_temperature_celsius{node=\"box\",gpu=\"0\",uuid=\"GPU-0\",sensor=\"gpu\"}"
        ) - 41.0)
            .abs()
            < 1e-9
    );
    let silent = "runyard_gpu_utilization_ratio{node=\"box\",gpu=\"1\"";
    assert!(!answer.text.contains(silent), "what a device does not tell has no sample");
    assert!(answer.text.contains("runyard_build_info{version=\""));
}

/// A node with two devices, one of which tells little.
async fn add_node(stage: &Stage) {
    use runyard_state::entity::{NodeDevice, TokenKind};
    use runyard_state::{Command, CreateToken, JoinNode, NodeHello};
    use runyard_types::{ByteSize, CpuMilli, Digest};
    let name = NodeName::new("box").expect("a name");
    let token = runyard_transport::token::JoinToken::generate(stage.core.group.ca.pin());
    let id = token.id.as_str().to_owned();
    let (hash, ttl) = (token.hash(), Some(runyard_types::DurationMs(60_000)));
    let create = CreateToken {
        id: id.clone(),
        kind: TokenKind::AgentJoin,
        name: "".to_owned(),
        hash,
        ttl,
        principal: "test".to_owned(),
    };
    stage.propose(Command::CreateToken(create)).await;
    let join = JoinNode {
        name: name.clone(),
        fingerprint: Digest::of(b"key"),
        token: id,
        secret_hash: hash,
    };
    stage.propose(Command::JoinNode(join)).await;
    let device = |index: u32| NodeDevice {
        index,
        uuid: format!("GPU-{index}"),
        model: "NVIDIA \"X\"".to_owned(),
        memory: ByteSize(80 << 30),
        simulated: false,
        unhealthy: None,
    };
    let hello = NodeHello {
        name: name.clone(),
        boot_id: "boot".to_owned(),
        session_counter: 1,
        version: "0.1.0".to_owned(),
        cpu: CpuMilli(8_000),
        memory: ByteSize(64 << 30),
        devices: vec![device(0), device(1)],
        labels: BTreeMap::new(),
        networks: Vec::new(),
        isolation: "process".to_owned(),
        address: "10.0.0.2".to_owned(),
        gateway: String::new(),
        platform: "linux".to_owned(),
        mounts: Vec::new(),
        chains: true,
        workers: Vec::new(),
    };
    stage.propose(Command::NodeHello(Box::new(hello))).await;
    let (send, _) = tokio::sync::mpsc::channel(1);
    stage.core.live.open_session(&name, send);
    let live = |index: u32, last| runyard_proto::v1::Device {
        index,
        uuid: format!("GPU-{index}"),
        model: "NVIDIA \"X\"".to_owned(),
        memory_bytes: 80 << 30,
        last: Some(last),
        ..Default::default()
    };
    let full = runyard_proto::v1::DeviceSample {
        at_ms: 1,
        utilization_ratio: Some(0.5),
        memory_used_bytes: Some(1 << 30),
        temperature_celsius: Some(41.0),
        power_watts: Some(300.0),
    };
    let little = runyard_proto::v1::DeviceSample {
        at_ms: 1,
        memory_used_bytes: Some(0),
        ..Default::default()
    };
    stage.core.live.set_devices(&name, vec![live(0, full), live(1, little)]);
}

/// The rules of `promtool check metrics` and of the text format; gives the samples.
fn lint(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut current, mut kind) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help text");
            assert!(!help.is_empty() && families.insert(name.to_owned()), "{line}: once each");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, word) = rest.split_once(' ').expect("a type");
            assert_eq!(name, current, "the type follows its help");
            kind = word.to_owned();
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            for bad in [
                "_milli", "_ms", "_percent", "_mb", "_kb", "gauge", "counter", "_count", "_sum",
                "_bucket",
            ] {
                assert!(!name.contains(bad), "{name}: {bad}");
            }
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            assert_eq!(name, current, "samples stand under their family");
            assert!(!kind.is_empty());
            let value = value.parse().expect("a number");
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    samples
}
