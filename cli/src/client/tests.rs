use std::time::Duration;

use tonic::{Code, Status};

use super::fake::{Fake, Script};
use super::*;
use crate::errors::{Exit, Kind};

fn run(name: &str, state: &str) -> v1::Run {
    v1::Run { name: name.into(), state: state.into(), ..Default::default() }
}

fn record(offset: u64, data: &str) -> Result<v1::LogRecord, Status> {
    let data = bytes::Bytes::copy_from_slice(data.as_bytes());
    Ok(v1::LogRecord { worker: "d-1/t.1:0".into(), offset, data, ..Default::default() })
}

#[tokio::test]
async fn a_submission_that_is_tried_again_keeps_its_key() {
    let failures = [Status::unavailable("no leader"), Status::unavailable("no leader")];
    let script = Script { submit_failures: failures.into(), ..Script::default() };
    let fake = Fake::start(script).await;
    let request = v1::SubmitRequest { idempotency_key: new_key(), ..Default::default() };
    let answer = fake.client.submit(request.clone()).await.expect("third time lucky");
    assert_eq!(answer.run, "d-1");
    let submissions = fake.script().submissions.clone();
    assert_eq!(submissions.len(), 3);
    assert!(submissions.iter().all(|one| one.idempotency_key == request.idempotency_key));
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let refused = Status::new(Code::InvalidArgument, "stage `train` asks for 8 GPUs");
    let script = Script { submit_failures: [refused].into(), ..Script::default() };
    let fake = Fake::start(script).await;
    let error = fake.client.submit(v1::SubmitRequest::default()).await.expect_err("is refused");
    assert_eq!(error.kind, Kind::Usage);
    assert!(error.message().contains("8 GPUs"));
    assert_eq!(fake.script().submissions.len(), 1);
}

#[tokio::test]
async fn the_token_goes_with_each_call() {
    let fake = Fake::start(Script::default()).await;
    let token = UserToken::generate();
    let client = Client::over(fake.client.channel.clone(), Some(&token), "default");
    client.submit(v1::SubmitRequest::default()).await.expect("works");
    assert_eq!(fake.script().authorization, [format!("Bearer {}", token.expose())]);
}

#[tokio::test]
async fn a_log_goes_on_where_it_broke() {
    let logs = [
        vec![record(0, "one\n"), record(4, "tw"), Err(Status::unavailable("failover"))],
        vec![Err(Status::unavailable("still none"))],
        vec![record(0, "one\ntwo\n"), record(8, "three\n")],
    ];
    let fake = Fake::start(Script { logs: logs.into(), ..Script::default() }).await;
    let mut log = fake.client.logs(v1::LogsRequest { target: "d-1".into(), ..Default::default() });
    let mut text = String::new();
    while let Some(record) = log.next().await.expect("survives breaks") {
        text.push_str(&String::from_utf8_lossy(&record.data));
    }
    assert_eq!(text, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn a_log_that_may_not_be_read_is_an_error_at_once() {
    let logs = [vec![Err(Status::permission_denied("needs the role viewer"))]];
    let fake = Fake::start(Script { logs: logs.into(), ..Script::default() }).await;
    let mut log = fake.client.logs(v1::LogsRequest::default());
    assert_eq!(log.next().await.expect_err("is refused").kind, Kind::Auth);
}

#[tokio::test]
async fn following_tells_states_and_log_and_ends() {
    let states = [run("d-1", "queued"), run("d-1", "running"), run("d-1", "succeeded")];
    let logs = [vec![record(0, "hello\n")]];
    let script = Script { states: states.into(), logs: logs.into(), ..Script::default() };
    let fake = Fake::start(script).await;
    let (mut seen, mut text) = (Vec::new(), String::new());
    let mut follow = fake.client.follow("d-1");
    while let Some(happening) = follow.next().await {
        match happening.expect("no error") {
            Happening::Run(run) => seen.push(run.state),
            Happening::Log(record) => text.push_str(&String::from_utf8_lossy(&record.data)),
        }
    }
    assert_eq!(seen, ["queued", "running", "succeeded"]);
    assert_eq!(text, "hello\n");
}

#[tokio::test]
async fn waiting_too_long_is_pending_and_an_end_is_an_exit_code() {
    let fake =
        Fake::start(Script { states: [run("d-1", "running")].into(), ..Script::default() }).await;
    let limit = Some(Duration::from_millis(200));
    let error = fake.client.wait("d-1", limit).await.expect_err("is not over");
    assert_eq!(error.kind, Kind::Pending);
    for (state, code) in
        [("succeeded", 0), ("failed", 1), ("error", 1), ("cancelled", 2), ("running", 8)]
    {
        assert_eq!(fake.client.exit_of(&run("d-1", state)).await.expect("known"), Exit(code));
    }
}

#[test]
fn gates_have_exit_codes_of_their_own() {
    let gate = |verdict: &str, decision: &str| {
        let (verdict, decision) = (verdict.into(), decision.into());
        gate_exit(&v1::GateView { verdict, decision, ..Default::default() }).0
    };
    assert_eq!(gate("pass", "promoted"), 0);
    assert_eq!(gate("fail", "rejected"), 7);
    assert_eq!(gate("cannot_test", "rejected"), 7);
    assert_eq!(gate("inconclusive", "rejected"), 9);
    assert_eq!(gate("inconclusive", "approved"), 0);
    assert_eq!(gate("inconclusive", "waiting"), 8);
    assert_eq!(gate("inconclusive", "refused"), 7, "a person said no");
}

#[tokio::test]
async fn names_last_and_prefixes() {
    let listed = |name: &str, uid: &str, created_ms| v1::Run {
        uid: uid.into(),
        created_ms,
        ..run(name, "succeeded")
    };
    let runs = vec![
        listed("d-3", "01KAAAAAAAAAAAAAAAAAAAAAA3", 30),
        listed("d-2", "01KBBBBBBBBBBBBBBBBBBBBBB2", 20),
        listed("d-1", "01KBBCCCCCCCCCCCCCCCCCCCC1", 10),
    ];
    let fake = Fake::start(Script { listed: runs, ..Script::default() }).await;
    let key =
        |text: &'static str| async { fake.client.target(text).await.map(|target| target.key()) };
    assert_eq!(key("d-9/train[3].2").await.expect("is a name"), "d-9/train[3].2");
    assert_eq!(key("@last/train").await.expect("there is one"), "d-3/train");
    assert_eq!(key("01kbbc").await.expect("is unique, on the second page"), "d-1");
    let several = key("01KBB").await.expect_err("is not unique");
    assert!(several.kind == Kind::Usage && several.render().contains("d-2, d-1"));
    assert_eq!(key("01KZ").await.expect_err("is none").kind, Kind::NotFound);
    assert_eq!(key("no run").await.expect_err("is none").kind, Kind::Usage);
    let (_, two) = fake.client.list(true, 2).await.expect("lists");
    assert_eq!(two.len(), 2);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let endpoint = tonic::transport::Endpoint::from_static("http://127.0.0.1:1");
    let client = Client::over(endpoint.connect_lazy(), None, "default");
    let answer: Result<v1::Run> = super::retry::within(Duration::from_millis(100), || {
        let mut runs = client.runs();
        async move { runs.get(v1::GetRunRequest::default()).await }
    })
    .await;
    assert_eq!(answer.expect_err("nobody is there").kind, Kind::Unreachable);
}

#[tokio::test]
async fn a_connection_trusts_its_group_only_and_tries_all_addresses() {
    let fake = Fake::start(Script::default()).await;
    let token = UserToken::generate();
    let connection = fake.over_tls(&token).await;
    let client = Client::connect(&connection, "default").await.expect("the second address answers");
    client.submit(v1::SubmitRequest::default()).await.expect("works");
    assert_eq!(fake.script().authorization, [format!("Bearer {}", token.expose())]);

    let now = std::time::SystemTime::now();
    let other = runyard_transport::ca::Ca::create("other", now).expect("a CA");
    let addresses = connection.addresses[1..].to_vec();
    let stranger = Connection { addresses, ca: other.certificate().clone(), ..connection };
    let error = Client::connect(&stranger, "default").await.expect_err("another group");
    assert_eq!(error.kind, Kind::Auth, "{}", error.render());
    assert_eq!(fake.script().authorization.len(), 1, "a19: the token was not sent");
}
