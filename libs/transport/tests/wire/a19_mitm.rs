//! A19: a join through somebody else's server stops before the token is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use runyard_transport::ca::Ca;
use runyard_transport::token::JoinToken;
use runyard_transport::{DialError, TlsIdentity, Trust, connect_user, fetch_ca, task};
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::group::{Group, who};

/// Shows any chain with any key, whether they fit or not.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A server in the middle; it reports whether a client finished a handshake with it, without which
/// no byte of a request can have been read.
async fn in_the_middle(identity: TlsIdentity) -> (SocketAddr, oneshot::Receiver<bool>) {
    let key = any_supported_type(&identity.key).expect("a key");
    let shown = Arc::new(CertifiedKey::new(identity.chain, key));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(shown)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = tcp.local_addr().expect("bound");
    let (report, reported) = oneshot::channel();
    task::spawn("in-the-middle", async move {
        let (stream, _) = tcp.accept().await.expect("a client");
        let accepted = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        let _ = report.send(accepted.is_ok());
    });
    (addr, reported)
}

fn evil() -> Ca {
    // It even calls itself like the right one.
    Ca::create("test", SystemTime::now()).expect("a CA")
}

#[tokio::test]
async fn a19_the_right_server_gives_its_ca() {
    let group = Group::start().await;
    let token: JoinToken = JoinToken::generate(group.ca.pin()).expose().parse().expect("a token");
    let ca = fetch_ca(&group.addresses(), token.pin).await.expect("fetched");
    assert_eq!(&ca, group.ca.certificate());
    let channel = connect_user(&group.addresses(), Trust::Ca(ca)).await.expect("connected");
    assert_eq!(who(channel).await.expect("answered"), "anonymous");
}

#[tokio::test]
async fn a19_another_ca_is_refused_before_anything_is_sent() {
    let mine = evil();
    let identity = evil().issue_server(&[], SystemTime::now()).expect("issued");
    let (addr, finished) = in_the_middle(identity).await;
    let error = fetch_ca(&[addr.to_string()], mine.pin()).await.expect_err("refused");
    assert!(matches!(error, DialError::OtherGroup { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&mine.pin().to_string()) && text.contains("nothing was sent"), "{text}");
    assert!(!finished.await.expect("reported"), "the handshake never ended");
}

#[tokio::test]
async fn a19_the_right_ca_behind_a_strange_leaf_is_refused() {
    let mine = evil();
    let mut identity = evil().issue_server(&[], SystemTime::now()).expect("issued");
    // The CA's certificate is public: anybody can send it along.
    identity.chain[1] = mine.certificate().clone();
    let (addr, finished) = in_the_middle(identity).await;
    let error = fetch_ca(&[addr.to_string()], mine.pin()).await.expect_err("refused");
    assert!(matches!(error, DialError::Certificate { .. }), "{error:?}");
    assert!(!finished.await.expect("reported"));
}

#[tokio::test]
async fn a19_the_right_chain_without_its_key_is_refused() {
    let mine = evil();
    let honest = mine.issue_server(&[], SystemTime::now()).expect("issued");
    let other = evil().issue_server(&[], SystemTime::now()).expect("issued");
    let identity = TlsIdentity { key: other.key, ..honest };
    let (addr, finished) = in_the_middle(identity).await;
    let error = fetch_ca(&[addr.to_string()], mine.pin()).await.expect_err("refused");
    assert!(matches!(error, DialError::Certificate { .. } | DialError::Tls { .. }), "{error:?}");
    assert!(!finished.await.expect("reported"));
}

#[tokio::test]
async fn a19_a_known_ca_is_held_to_as_well() {
    let mine = evil();
    let identity = evil().issue_server(&[], SystemTime::now()).expect("issued");
    let (addr, finished) = in_the_middle(identity).await;
    let trust = Trust::Ca(mine.certificate().clone());
    let error = connect_user(&[addr.to_string()], trust).await.expect_err("refused");
    assert!(matches!(error, DialError::Certificate { .. }), "{error:?}");
    assert!(!finished.await.expect("reported"));
}
