//! F42: certificates of agents are renewed for the key that joined, also when they are over.

use std::time::{Duration, SystemTime};

use runyard_proto::agent::{HeartbeatRequest, RenewRequest};
use runyard_transport::AgentKey;
use runyard_transport::ca::AGENT_LIFETIME;
use tonic::Code;

use crate::group::{Group, Session, hello};

fn renewal(csr_der: Vec<u8>) -> RenewRequest {
    RenewRequest { csr_der: csr_der.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_a_known_key_renews_though_its_certificate_is_over_and_may_do_nothing_else() {
    let group = Group::start().await;
    let joined = group.join("node-1").await;
    let over = group.certificate(&joined, SystemTime::now() - AGENT_LIFETIME * 2, AGENT_LIFETIME);
    let mut agent = group.agent(&over);
    let beat = agent.heartbeat(HeartbeatRequest::default()).await.expect_err("over");
    assert_eq!(beat.code(), Code::Unauthenticated, "{beat:?}");
    assert!(beat.message().contains("node-1") && beat.message().contains("renewed"), "{beat:?}");
    let session = Session::open(agent.clone(), hello("node-1", 1, 1)).await.err().expect("over");
    assert_eq!(session.code(), Code::Unauthenticated, "{session:?}");

    let request = over.signing_request().expect("a request");
    let answer = agent.renew(renewal(request)).await.expect("renewed").into_inner();
    assert_eq!(answer.ca_der.as_ref(), group.ca.certificate().as_ref());
    let renewed = over.with_certificate(answer.certificate_der.to_vec().into()).expect("it fits");
    let left = renewed.validity().expect("dates").not_after_ms;
    assert!(left > joined.validity().expect("dates").not_after_ms - 60_000);
    Session::open(group.agent(&renewed), hello("node-1", 1, 1)).await.expect("let in again");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_only_the_key_that_joined_renews() {
    let group = Group::start().await;
    let joined = group.join("node-1").await;
    // Another key in the request, by the right connection.
    let other = AgentKey::generate().expect("a key").signing_request().expect("a request");
    let refused = group.agent(&joined).renew(renewal(other)).await.expect_err("another key");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(refused.message().contains("another key"), "{refused:?}");
    // A node that the group signed once and does not know (it was restored from an older state).
    let stranger = AgentKey::generate().expect("a key");
    let request = stranger.signing_request().expect("a request");
    let name = "node-9".parse().expect("a name");
    let signed = group.ca.sign_agent(&request, &name, SystemTime::now()).expect("signed");
    let stranger = stranger
        .with_certificate(signed.certificate, group.ca.certificate().clone())
        .expect("it fits");
    let refused = group.agent(&stranger).renew(renewal(request)).await.expect_err("unknown");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(refused.message().contains("not part of this group"), "{refused:?}");
    let junk = group.agent(&joined).renew(renewal(vec![1, 2, 3])).await.expect_err("junk");
    assert_eq!(junk.code(), Code::InvalidArgument, "{junk:?}");
    // Without a certificate at all.
    let mut nobody = runyard_proto::agent::agent_client::AgentClient::new(group.anybody().lazy());
    let request = joined.signing_request().expect("a request");
    let refused = nobody.renew(renewal(request)).await.expect_err("nobody");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f42_a_session_ends_with_the_certificate_that_opened_it() {
    let group = Group::start().await;
    let joined = group.join("node-1").await;
    let short = group.certificate(&joined, SystemTime::now(), Duration::from_secs(3));
    let agent = group.agent(&short);
    let mut session = Session::open(agent.clone(), hello("node-1", 1, 1)).await.expect("let in");
    let status = session.ended().await.expect("it says why");
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().contains("certificate ended"), "{status:?}");
    // The same connection, which outlives its certificate.
    let mut agent = agent;
    let beat = agent.heartbeat(HeartbeatRequest::default()).await.expect_err("over");
    assert_eq!(beat.code(), Code::Unauthenticated, "{beat:?}");
    let request = short.signing_request().expect("a request");
    agent.renew(renewal(request)).await.expect("but it may renew");
    group.stop().await;
}
