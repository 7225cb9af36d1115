//! A40: TLS 1.3 or nothing.

use std::sync::Arc;

use runyard_proto::USER_SERVER_NAME;
use runyard_transport::{DialError, Trust, connect_user, task};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::group::Group;

fn client_of(
    group: &Group,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(group.ca.certificate().clone()).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("ring has it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

#[tokio::test]
async fn a40_tls_1_2_is_refused() {
    let group = Group::start().await;
    let new = client_of(&group, &rustls::version::TLS13);
    group.foreign_connect(USER_SERVER_NAME, new).await.expect("1.3 is spoken");
    let old = client_of(&group, &rustls::version::TLS12);
    let error = group.foreign_connect(USER_SERVER_NAME, old).await.expect_err("refused");
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
}

#[tokio::test]
async fn a40_plain_http_and_h2c_are_refused_and_told_why() {
    let group = Group::start().await;
    for plain in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect(group.addr).await.expect("connected");
        stream.write_all(plain).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("closed in order");
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(body.contains("use https"), "{answer}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    }
    let mut stream = TcpStream::connect(group.addr).await.expect("connected");
    stream.write_all(&[0; 64]).await.expect("sent");
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"), "noise gets an alert at most");
}

#[tokio::test]
async fn a40_a_plain_server_is_recognised() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("bound").to_string();
    task::spawn("plain-server", async move {
        let (mut stream, _) = tcp.accept().await.expect("a client");
        let mut buffer = [0; 1_024];
        drop(stream.read(&mut buffer).await);
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
    });
    let group = Group::start().await;
    let error = connect_user(&[addr], Trust::Pin(group.ca.pin())).await.expect_err("refused");
    assert!(matches!(error, DialError::NotTls { .. }), "{error:?}");
}
