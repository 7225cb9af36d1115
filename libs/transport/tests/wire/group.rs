//! A group with one server, whose one call answers who it thinks is calling.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use runyard_proto::agent::enrol_client::EnrolClient;
use runyard_proto::agent::enrol_server::{Enrol, EnrolServer};
use runyard_proto::agent::{JoinRequest, JoinResponse};
use runyard_transport::ca::Ca;
use runyard_transport::token::UserToken;
use runyard_transport::{
    AgentIdentity, AgentKey, Audience, ConnectInfo, Identity, Reloader, TlsIdentity, limits,
    listen, task,
};
use runyard_types::NodeName;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

struct WhoAmI;

#[tonic::async_trait]
impl Enrol for WhoAmI {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let info = ConnectInfo::of(&request).expect("the connection came by the listener");
        let caller = match &info.identity {
            Identity::Anonymous => "anonymous".to_string(),
            Identity::Agent { node, .. } => format!("agent {node}"),
            Identity::ExpiredAgent { node, .. } => format!("expired agent {node}"),
            Identity::Peer { id, .. } => format!("peer {id}"),
        };
        let token = request
            .metadata()
            .get("authorization")
            .and_then(|value| UserToken::from_authorization(value.to_str().ok()?))
            .map(|token| token.id.to_string());
        if request.get_ref().node == "hang" {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(JoinResponse {
            group: caller,
            node: token.unwrap_or_default(),
            ..JoinResponse::default()
        }))
    }
}

pub(crate) struct Group {
    pub(crate) ca: Ca,
    pub(crate) addr: SocketAddr,
    pub(crate) reloader: Reloader,
}

impl Group {
    /// A group with a server for users and agents.
    pub(crate) async fn start() -> Self {
        let ca = Ca::create("test", SystemTime::now()).expect("a CA");
        let identity = ca.issue_server(&["localhost".into()], SystemTime::now()).expect("issued");
        Self::with(ca, Audience::UsersAndAgents, &identity).await
    }

    pub(crate) async fn with(ca: Ca, audience: Audience, identity: &TlsIdentity) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = listen(any, audience, identity).await.expect("a free port");
        let (addr, reloader) = (listener.local_addr(), listener.reloader());
        let service = EnrolServer::new(WhoAmI).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        task::spawn(
            "test-server",
            limits::server().add_service(service).serve_with_incoming(listener),
        );
        Self { ca, addr, reloader }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![self.addr.to_string()]
    }

    /// An agent of this group, joined at `now`.
    pub(crate) fn agent_at(&self, node: &str, now: SystemTime) -> AgentIdentity {
        agent_of(&self.ca, node, now)
    }

    pub(crate) fn agent(&self, node: &str) -> AgentIdentity {
        self.agent_at(node, SystemTime::now())
    }

    /// A client that is not ours: standard checks against the CA, any version, any certificate.
    pub(crate) fn foreign_client(&self, shown: Option<&TlsIdentity>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.certificate().clone()).expect("a CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .expect("usable"),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    pub(crate) async fn foreign_connect(
        &self,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.addr).await?;
        let name = ServerName::try_from(name.to_string()).expect("a name");
        tokio_rustls::TlsConnector::from(config).connect(name, tcp).await
    }
}

pub(crate) fn agent_of(ca: &Ca, node: &str, now: SystemTime) -> AgentIdentity {
    let key = AgentKey::generate().expect("a key");
    let request = key.signing_request().expect("a request");
    let node = NodeName::new(node).expect("a name");
    let issued = ca.sign_agent(&request, &node, now).expect("signed");
    key.with_certificate(issued.certificate, ca.certificate().clone()).expect("it fits")
}

/// Whom the server sees.
pub(crate) async fn who(channel: Channel) -> Result<String, Status> {
    let answer = EnrolClient::new(channel).join(JoinRequest::default()).await?;
    Ok(answer.into_inner().group)
}

/// Sends raw bytes as the body of a call; the gRPC status that comes back, and its message.
pub(crate) async fn raw_call(
    stream: TlsStream<TcpStream>,
    body: Vec<u8>,
    encoding: Option<&str>,
) -> Result<(i32, String), hyper::Error> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    task::spawn("raw-client", async move { drop(connection.await) });
    let mut request = http::Request::post("https://runyard/runyard.agent.v1.Enrol/Join")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let response = sender.send_request(request).await?;
    let headers = response.headers().clone();
    let collected = response.into_body().collect().await?;
    let found = |name: &str| {
        let trailers = collected.trailers();
        let value = headers.get(name).or_else(|| trailers.and_then(|t| t.get(name)))?;
        value.to_str().ok().map(str::to_string)
    };
    let code = found("grpc-status").and_then(|code| code.parse().ok()).unwrap_or(-1);
    Ok((code, found("grpc-message").unwrap_or_default()))
}
