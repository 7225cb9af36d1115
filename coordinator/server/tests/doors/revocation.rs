//! A23: a revoked or expired token ends the open streams of gRPC within a second.

use std::time::{Duration, Instant};

use runyard_proto::v1::{
    EventsRequest, LogsRequest, RevokeTokenRequest, StatusRequest, SubmitRequest,
};
use runyard_transport::token::UserToken;
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};

use crate::group::{DEADLINE, Group};

/// Within a second, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(3);

/// What ends the stream; messages before it are passed over.
async fn end<T>(stream: &mut Streaming<T>) -> Status {
    let wait = async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(status)) => return status,
                None => panic!("it ended as if all were well"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the stream is open still")
}

async fn open(
    group: &Group,
    token: &UserToken,
) -> (Streaming<runyard_proto::v1::Event>, Streaming<runyard_proto::v1::LogRecord>) {
    let follow = EventsRequest { follow: true, ..EventsRequest::default() };
    let mut events = group.runs(token).events(follow).await.expect("events").into_inner();
    events.next().await.expect("open").expect("an event");
    let submission = SubmitRequest {
        idempotency_key: ulid::Ulid::generate().to_string(),
        pipeline: "version: 1\nname: one\nstages:\n  a:\n    run: echo a\n".into(),
        ..SubmitRequest::default()
    };
    let run = group.runs(token).submit(submission).await.expect("submitted").into_inner().run;
    let follow = LogsRequest { target: run, follow: true, ..LogsRequest::default() };
    let logs = group.runs(token).logs(follow).await.expect("logs").into_inner();
    (events, logs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a23_a_revoked_token_ends_its_open_streams_within_a_second() {
    let group = Group::start().await;
    let token: UserToken = group.token("user", "ada", 0).await.parse().expect("a token");
    let (mut events, mut logs) = open(&group, &token).await;
    let (mut others, _logs) = open(&group, &group.admin).await;
    // Open for longer than a look takes, so that it is the revocation that ends them.
    let quiet = tokio::time::timeout(Duration::from_millis(1_200), logs.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");

    let request = RevokeTokenRequest { id: token.id.as_str().into() };
    group.fleet(&group.admin).revoke_token(request).await.expect("revoked");
    let begun = Instant::now();
    for status in [end(&mut events).await, end(&mut logs).await] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        assert!(status.message().contains("revoked"), "{status:?}");
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let refused = group.fleet(&token).status(StatusRequest {}).await.expect_err("revoked");
    assert_eq!(refused.code(), Code::Unauthenticated);
    // Other people's streams go on: the revocation itself is an event.
    let revoked = async {
        while let Some(event) = others.next().await {
            if event.expect("open").subject == token.id.as_str() {
                return;
            }
        }
        panic!("the admin's stream ended");
    };
    tokio::time::timeout(DEADLINE, revoked).await.expect("the event comes");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a23_a_token_that_expires_ends_its_open_streams() {
    let group = Group::start().await;
    let token: UserToken = group.token("user", "ada", 2_000).await.parse().expect("a token");
    let begun = Instant::now();
    let (mut events, mut logs) = open(&group, &token).await;
    for status in [end(&mut events).await, end(&mut logs).await] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        assert!(status.message().contains("expired"), "{status:?}");
    }
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(1_500) && took < Duration::from_secs(2) + SOON,
        "{took:?}"
    );
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a23_an_upload_under_way_ends_with_its_token() {
    use runyard_proto::v1::UploadPackRequest;
    use runyard_proto::v1::blobs_client::BlobsClient;
    use runyard_transport::AuthInterceptor;
    use tokio_stream::wrappers::ReceiverStream;

    let group = Group::start().await;
    let token: UserToken = group.token("user", "ada", 0).await.parse().expect("a token");
    let (send, receive) = tokio::sync::mpsc::channel(4);
    let first = UploadPackRequest {
        project: "default".into(),
        pack: vec![7; 32].into(),
        size_bytes: 1 << 20,
        offset: 0,
        data: vec![0; 1 << 10].into(),
        ..UploadPackRequest::default()
    };
    send.send(first).await.expect("room");
    let mut blobs =
        BlobsClient::with_interceptor(group.anybody().lazy(), AuthInterceptor::new(&token));
    let upload = runyard_transport::task::spawn("upload", async move {
        blobs.upload_pack(ReceiverStream::new(receive)).await
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!upload.is_finished(), "it waits for more");
    let request = RevokeTokenRequest { id: token.id.as_str().into() };
    group.fleet(&group.admin).revoke_token(request).await.expect("revoked");
    let begun = Instant::now();
    let status = upload.await.expect("no panic").expect_err("cut");
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    group.stop().await;
}
