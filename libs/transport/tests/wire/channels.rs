//! Channels: several addresses, tokens, connections that break or fall silent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use runyard_proto::agent::JoinRequest;
use runyard_proto::agent::enrol_client::EnrolClient;
use runyard_transport::retry::{Verdict, classify, request};
use runyard_transport::token::UserToken;
use runyard_transport::{AuthInterceptor, DialError, Target, Trust, connect_user, task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::group::{Group, who};

#[derive(Clone, Copy, PartialEq)]
enum Line {
    Up,
    Silent,
    Cut,
}

/// A line between client and server that can fall silent or break.
async fn line_to(server: SocketAddr) -> (SocketAddr, watch::Sender<Line>) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("bound");
    let (state, seen) = watch::channel(Line::Up);
    task::spawn("line", async move {
        loop {
            let (client, _) = tcp.accept().await.expect("a client");
            let server = TcpStream::connect(server).await.expect("the server is there");
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            task::spawn("line-up", carry(client_read, server_write, seen.clone()));
            task::spawn("line-down", carry(server_read, client_write, seen.clone()));
        }
    });
    (addr, state)
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Line>,
) {
    let mut buffer = [0; 16 << 10];
    loop {
        let now = *state.borrow_and_update();
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            read = from.read(&mut buffer), if now == Line::Up => match read {
                Ok(count) if count > 0 => {
                    if to.write_all(&buffer[..count]).await.is_err() { return }
                }
                _ => return,
            },
        }
        if *state.borrow() == Line::Cut {
            return;
        }
    }
}

#[tokio::test]
async fn the_next_address_is_tried_and_all_failures_are_named() {
    let group = Group::start().await;
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let dead = unused.local_addr().expect("bound").to_string();
    drop(unused);
    let trust = || Trust::Pin(group.ca.pin());
    let both = [dead.clone(), group.addr.to_string()];
    let channel = connect_user(&both, trust()).await.expect("the second answers");
    assert_eq!(who(channel).await.expect("answered"), "anonymous");

    let error = connect_user(std::slice::from_ref(&dead), trust()).await.expect_err("dead");
    assert!(matches!(error, DialError::Connect { .. }), "{error:?}");
    let error =
        connect_user(&[dead.clone(), "127.0.0.1:1".into()], trust()).await.expect_err("dead");
    let text = error.to_string();
    assert!(text.contains(&dead) && text.contains("127.0.0.1:1"), "{text}");
    assert!(matches!(connect_user(&[], trust()).await, Err(DialError::NoAddress)));
}

#[tokio::test]
async fn a_silent_address_costs_its_timeout_only() {
    let group = Group::start().await;
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addresses = [mute.local_addr().expect("bound").to_string(), group.addr.to_string()];
    let target = Target::user(&addresses, Trust::Pin(group.ca.pin()))
        .expect("usable")
        .connect_timeout(Duration::from_millis(300));
    let channel = target.connect().await.expect("the second answers");
    assert_eq!(who(channel).await.expect("answered"), "anonymous");
    let alone = Target::user(&addresses[..1], Trust::Pin(group.ca.pin()))
        .expect("usable")
        .connect_timeout(Duration::from_millis(300));
    assert!(matches!(alone.dial().await, Err(DialError::Timeout { .. })));
}

#[tokio::test]
async fn calls_carry_the_token() {
    let group = Group::start().await;
    let token = UserToken::generate();
    let trust = Trust::Ca(group.ca.certificate().clone());
    let channel = connect_user(&group.addresses(), trust).await.expect("connected");
    let mut client = EnrolClient::with_interceptor(channel.clone(), AuthInterceptor::new(&token));
    let answer = client.join(JoinRequest::default()).await.expect("answered").into_inner();
    assert_eq!(answer.node, token.id.as_str());
    let mut client = EnrolClient::with_interceptor(channel, AuthInterceptor::none());
    let answer = client.join(JoinRequest::default()).await.expect("answered").into_inner();
    assert_eq!(answer.node, "");
}

fn hang() -> JoinRequest {
    JoinRequest { node: "hang".into(), ..JoinRequest::default() }
}

#[tokio::test]
async fn a_call_is_given_up_at_its_deadline() {
    let group = Group::start().await;
    let trust = Trust::Pin(group.ca.pin());
    let channel = connect_user(&group.addresses(), trust).await.expect("connected");
    let begun = Instant::now();
    let call = EnrolClient::new(channel).join(request(hang(), Duration::from_millis(200))).await;
    let status = call.expect_err("cut");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(classify(&status), Verdict::Final, "{status:?}");
}

#[tokio::test]
async fn a_broken_connection_is_worth_a_retry_and_replaced() {
    let group = Group::start().await;
    let (addr, line) = line_to(group.addr).await;
    let trust = Trust::Pin(group.ca.pin());
    let channel = connect_user(&[addr.to_string()], trust).await.expect("connected");
    let call = task::spawn("call", {
        let channel = channel.clone();
        async move { EnrolClient::new(channel).join(hang()).await }
    });
    assert_eq!(who(channel.clone()).await.expect("answered"), "anonymous");
    line.send(Line::Cut).expect("the line is there");
    let status = call.await.expect("no panic").expect_err("broken");
    assert_eq!(classify(&status), Verdict::Retry { after: None }, "{status:?}");
    line.send(Line::Up).expect("the line is there");
    assert_eq!(who(channel).await.expect("a new connection"), "anonymous");
}

#[tokio::test]
async fn f15_a_silent_connection_is_given_up_within_five_seconds() {
    let group = Group::start().await;
    let (addr, line) = line_to(group.addr).await;
    let trust = Trust::Pin(group.ca.pin());
    let channel = connect_user(&[addr.to_string()], trust).await.expect("connected");
    assert_eq!(who(channel.clone()).await.expect("answered"), "anonymous");
    line.send(Line::Silent).expect("the line is there");
    let begun = Instant::now();
    let status = EnrolClient::new(channel).join(hang()).await.expect_err("silent");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(classify(&status), Verdict::Retry { after: None }, "{status:?}");
}

#[tokio::test]
async fn a_lazy_channel_tells_at_its_first_call() {
    let group = Group::start().await;
    let other = Group::start().await;
    let target = Target::user(&group.addresses(), Trust::Pin(other.ca.pin())).expect("usable");
    let status = who(target.lazy()).await.expect_err("another group's");
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("another group"), "{status:?}");
}
