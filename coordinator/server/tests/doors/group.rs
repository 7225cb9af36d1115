//! A coordinator served for real, and agents that the tests play.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use runyard_proto::agent::agent_client::AgentClient;
use runyard_proto::agent::enrol_client::EnrolClient;
use runyard_proto::agent::{
    DesiredSet, FromAgent, Hello, Inventory, JoinRequest, Phase, Report, ToAgent, WorkerReport,
    from_agent, to_agent,
};
use runyard_proto::v1::fleet_client::FleetClient;
use runyard_proto::v1::runs_client::RunsClient;
use runyard_proto::v1::{
    CreateTokenRequest, Event, EventsRequest, GetNodeRequest, GetRunRequest, Node,
};
use runyard_server::{ServerConfig, Started, init, start};
use runyard_transport::ca::Ca;
use runyard_transport::token::{JoinToken, UserToken};
use runyard_transport::{
    AgentIdentity, AgentKey, AuthInterceptor, Target, Trust, certificate_from_pem,
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) type Authed = InterceptedService<Channel, AuthInterceptor>;

/// A served coordinator.
pub(crate) struct Group {
    pub(crate) address: String,
    pub(crate) ca: Ca,
    pub(crate) admin: UserToken,
    dir: tempfile::TempDir,
    stop: CancellationToken,
    started: Option<Started>,
}

impl Group {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let made = init(dir.path()).expect("init");
        let stop = CancellationToken::new();
        let config = ServerConfig {
            dir: dir.path().to_owned(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            hosts: vec!["127.0.0.1".into()],
            program: PathBuf::from("/bin/false"),
        };
        let started = start(config, stop.clone()).await.expect("starts");
        Self {
            address: started.address.to_string(),
            ca: ca(dir.path(), &made.ca_pem),
            admin: made.token.parse().expect("a token"),
            dir,
            stop,
            started: Some(started),
        }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![self.address.clone()]
    }

    /// As somebody without a certificate.
    pub(crate) fn anybody(&self) -> Target {
        let trust = Trust::Ca(self.ca.certificate().clone());
        Target::user(&self.addresses(), trust).expect("a target")
    }

    pub(crate) fn fleet(&self, token: &UserToken) -> FleetClient<Authed> {
        FleetClient::with_interceptor(self.anybody().lazy(), AuthInterceptor::new(token))
    }

    pub(crate) fn runs(&self, token: &UserToken) -> RunsClient<Authed> {
        RunsClient::with_interceptor(self.anybody().lazy(), AuthInterceptor::new(token))
    }

    /// A token of the kind `user` or `agent`.
    pub(crate) async fn token(&self, kind: &str, name: &str, ttl_ms: u64) -> String {
        let request = CreateTokenRequest { kind: kind.into(), name: name.into(), ttl_ms };
        let made = self.fleet(&self.admin).create_token(request).await.expect("a token");
        made.into_inner().token
    }

    /// Joins a node; its certificate holds as long as the product's do.
    pub(crate) async fn join(&self, node: &str) -> AgentIdentity {
        let token: JoinToken = self.token("agent", node, 0).await.parse().expect("a join token");
        let key = AgentKey::generate().expect("a key");
        let request = JoinRequest {
            token_id: token.id.as_str().into(),
            token_secret: token.secret.expose().into(),
            node: node.into(),
            csr_der: key.signing_request().expect("a request").into(),
            version: "test".into(),
        };
        let mut enrol = EnrolClient::new(self.anybody().lazy());
        let joined = enrol.join(request).await.expect("joins").into_inner();
        let ca = self.ca.certificate().clone();
        key.with_certificate(joined.certificate_der.to_vec().into(), ca).expect("it fits")
    }

    /// The same key with a certificate made at `now` for `lifetime`, as the group would have made it.
    pub(crate) fn certificate(
        &self,
        identity: &AgentIdentity,
        now: SystemTime,
        lifetime: Duration,
    ) -> AgentIdentity {
        let request = identity.signing_request().expect("a request");
        let signed = self.ca.sign_agent_for(&request, identity.node(), now, lifetime);
        identity.with_certificate(signed.expect("signed").certificate).expect("it fits")
    }

    pub(crate) fn agent(&self, identity: &AgentIdentity) -> AgentClient<Channel> {
        AgentClient::new(Target::agent(&self.addresses(), identity).expect("a target").lazy())
    }

    pub(crate) async fn node(&self, name: &str) -> Node {
        let request = GetNodeRequest { name: name.into() };
        self.fleet(&self.admin).get_node(request).await.expect("the node").into_inner()
    }

    pub(crate) async fn run_state(&self, name: &str) -> String {
        let request = GetRunRequest { project: String::new(), run: name.into() };
        self.runs(&self.admin).get(request).await.expect("the run").into_inner().state
    }

    /// All events so far about `subject`.
    pub(crate) async fn events(&self, subject: &str) -> Vec<Event> {
        let request = EventsRequest { subject: subject.into(), ..EventsRequest::default() };
        let stream = self.runs(&self.admin).events(request).await.expect("events").into_inner();
        stream.map(|event| event.expect("an event")).collect().await
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(started) = self.started.take() {
            started.wait().await.expect("stops");
        }
        drop(self.dir);
    }
}

/// The group's authority, from its directory.
fn ca(dir: &Path, pem: &str) -> Ca {
    let key = std::fs::read_to_string(dir.join("ca.key")).expect("the key");
    let key: Vec<u8> = (0..key.trim().len() / 2)
        .map(|n| u8::from_str_radix(&key[2 * n..2 * n + 2], 16).expect("hex"))
        .collect();
    Ca::from_der(&certificate_from_pem(pem).expect("pem"), &key).expect("usable")
}

/// A hello of a node with four CPUs.
pub(crate) fn hello(node: &str, nonce: u64, counter: u64) -> Hello {
    Hello {
        node: node.into(),
        boot_id: format!("boot-{nonce}"),
        process_nonce: nonce,
        session_counter: counter,
        inventory: Some(Inventory {
            cpu_milli: 4_000,
            memory_bytes: 8 << 30,
            address: "127.0.0.1".into(),
            ..Inventory::default()
        }),
        version: "test".into(),
        protocol: 1,
        ..Hello::default()
    }
}

/// An open session.
pub(crate) struct Session {
    pub(crate) id: String,
    send: mpsc::Sender<FromAgent>,
    receive: tonic::Streaming<ToAgent>,
}

impl Session {
    pub(crate) async fn open(
        mut client: AgentClient<Channel>,
        hello: Hello,
    ) -> Result<Self, Status> {
        let (send, outgoing) = mpsc::channel(16);
        let first = FromAgent { message: Some(from_agent::Message::Hello(hello)) };
        send.send(first).await.expect("room");
        let mut receive = client.session(ReceiverStream::new(outgoing)).await?.into_inner();
        let first = receive.next().await.expect("a welcome")?;
        let Some(to_agent::Message::Welcome(welcome)) = first.message else {
            panic!("a welcome comes first");
        };
        Ok(Self { id: welcome.session, send, receive })
    }

    /// The next desired set that fulfils `want`.
    pub(crate) async fn desired(&mut self, want: impl Fn(&DesiredSet) -> bool) -> DesiredSet {
        let wait = async {
            while let Some(message) = self.receive.next().await {
                if let Some(to_agent::Message::Desired(set)) = message.expect("a message").message
                    && want(&set)
                {
                    return set;
                }
            }
            panic!("the session ended");
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("no such set came")
    }

    /// Until the coordinator ends the session; what it says then.
    pub(crate) async fn ended(&mut self) -> Option<Status> {
        let wait = async {
            loop {
                match self.receive.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => return Some(status),
                    None => return None,
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("it never ended")
    }

    pub(crate) async fn report(&self, worker: WorkerReport) {
        self.report_all(vec![worker]).await;
    }

    pub(crate) async fn report_all(&self, workers: Vec<WorkerReport>) {
        let report = Report { workers, ..Report::default() };
        let message = FromAgent { message: Some(from_agent::Message::Report(report)) };
        self.send.send(message).await.expect("sent");
    }
}

/// What an agent says of a worker.
pub(crate) fn report(key: &str, phase: Phase) -> WorkerReport {
    WorkerReport {
        project: "default".into(),
        key: key.into(),
        phase: phase.into(),
        ..WorkerReport::default()
    }
}

/// Looks again and again until `look` finds what it wants.
pub(crate) async fn wait_for<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(last) => {
                assert!(tokio::time::Instant::now() < end, "waited in vain for {what}: {last}");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
