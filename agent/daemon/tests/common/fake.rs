//! The services of the fake coordinator.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use runyard_blobs::LocalStore;
use runyard_proto::agent::agent_server::Agent;
use runyard_proto::agent::enrol_server::Enrol;
use runyard_proto::agent::{
    Channel, DesiredSet, FromAgent, HeartbeatRequest, HeartbeatResponse, Hello, JoinRequest,
    JoinResponse, RenewRequest, Report, SealRequest, SealResponse, TailChunk, TailDone,
    TailRequest, ToAgent, Welcome, WorkerReport, from_agent, to_agent,
};
use runyard_transport::ca::{AGENT_LIFETIME, Ca};
use runyard_transport::token::JoinToken;
use runyard_transport::{ConnectInfo, Identity, task};
use runyard_types::{Digest, NodeName};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

/// How far a channel of a worker is.
#[derive(Debug, Clone, Default)]
pub(crate) struct SealedTo {
    pub(crate) to: u64,
    pub(crate) complete: bool,
    pub(crate) segments: Vec<Digest>,
}

#[derive(Default)]
struct Inner {
    reports: BTreeMap<String, WorkerReport>,
    /// All phases that were told, in their order.
    phases: BTreeMap<String, Vec<i32>>,
    sealed: BTreeMap<(String, i32), SealedTo>,
    hellos: Vec<Hello>,
    devices: Vec<runyard_proto::v1::Device>,
    orphans: Vec<String>,
    beats: u64,
    tails: BTreeMap<String, Vec<u8>>,
    tails_done: Vec<String>,
    desired: DesiredSet,
    /// How long the certificates hold that joining gives; 0: as long as the product's.
    lifetime_s: u64,
    /// What a renewal is answered with, if not with a certificate.
    no_renewal: Option<Status>,
    renewals: u64,
    /// The ends of the certificates that sessions were opened with.
    certificate_ends_ms: Vec<u64>,
    sessions: Vec<mpsc::Sender<Result<ToAgent, Status>>>,
    /// Ends the sessions that are open.
    cut: Arc<tokio::sync::Notify>,
}

/// What the coordinator heard, and what it says.
pub(crate) struct Heard {
    inner: Mutex<Inner>,
    pub(crate) changed: watch::Sender<u64>,
    /// Seals of metrics wait while this is set.
    pub(crate) holds_metrics: watch::Sender<bool>,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
            holds_metrics: watch::Sender::new(false),
        }
    }
}

impl Heard {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let result = f(&mut self.inner.lock().expect("no panic inside"));
        self.changed.send_modify(|n| *n += 1);
        result
    }
    fn look<T>(&self, f: impl FnOnce(&Inner) -> T) -> T {
        f(&self.inner.lock().expect("no panic inside"))
    }

    pub(crate) fn report(&self, key: &str) -> Option<WorkerReport> {
        self.look(|inner| inner.reports.get(key).cloned())
    }
    pub(crate) fn reports(&self) -> Vec<WorkerReport> {
        self.look(|inner| inner.reports.values().cloned().collect())
    }
    pub(crate) fn phases(&self, key: &str) -> Vec<i32> {
        self.look(|inner| inner.phases.get(key).cloned().unwrap_or_default())
    }
    pub(crate) fn sealed(&self, key: &str, channel: Channel) -> Option<SealedTo> {
        self.look(|inner| inner.sealed.get(&(key.to_owned(), channel as i32)).cloned())
    }
    pub(crate) fn hellos(&self) -> Vec<Hello> {
        self.look(|inner| inner.hellos.clone())
    }
    pub(crate) fn devices(&self) -> Vec<runyard_proto::v1::Device> {
        self.look(|inner| inner.devices.clone())
    }
    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.with(|inner| inner.lifetime_s = lifetime.as_secs());
    }
    /// From now on renewals are answered so; `None`: with a certificate.
    pub(crate) fn answer_renewals(&self, with: Option<Status>) {
        self.with(|inner| inner.no_renewal = with);
    }
    /// How often a renewal was asked for.
    pub(crate) fn renewals(&self) -> u64 {
        self.look(|inner| inner.renewals)
    }
    pub(crate) fn certificate_ends_ms(&self) -> Vec<u64> {
        self.look(|inner| inner.certificate_ends_ms.clone())
    }
    pub(crate) fn orphans(&self) -> Vec<String> {
        self.look(|inner| inner.orphans.clone())
    }
    pub(crate) fn beats(&self) -> u64 {
        self.look(|inner| inner.beats)
    }
    pub(crate) fn tail(&self, ticket: &str) -> (Vec<u8>, bool) {
        self.look(|inner| {
            let done = inner.tails_done.iter().any(|one| one == ticket);
            (inner.tails.get(ticket).cloned().unwrap_or_default(), done)
        })
    }

    /// Changes what is desired, and says it to every session.
    pub(crate) async fn want(&self, change: impl FnOnce(&mut DesiredSet)) {
        let (set, sessions) = self.with(|inner| {
            inner.desired.generation = 1;
            inner.desired.index += 1;
            change(&mut inner.desired);
            (inner.desired.clone(), inner.sessions.clone())
        });
        self.say(to_agent::Message::Desired(set), sessions).await;
    }

    pub(crate) async fn ask_for_tail(&self, request: TailRequest) {
        let sessions = self.look(|inner| inner.sessions.clone());
        self.say(to_agent::Message::Tail(request), sessions).await;
    }

    async fn say(
        &self,
        message: to_agent::Message,
        sessions: Vec<mpsc::Sender<Result<ToAgent, Status>>>,
    ) {
        for session in sessions {
            let _ = session.send(Ok(ToAgent { message: Some(message.clone()) })).await;
        }
    }

    /// Cuts all sessions and forgets what was reported, as a new leader would.
    pub(crate) fn forget(&self) {
        self.with(|inner| {
            inner.sessions.clear();
            inner.reports.clear();
            inner.cut.notify_waiters();
        });
    }

    fn take(&self, report: Report) {
        self.with(|inner| {
            for worker in report.workers {
                inner.phases.entry(worker.key.clone()).or_default().push(worker.phase);
                inner.reports.insert(worker.key.clone(), worker);
            }
            if !report.devices.is_empty() {
                inner.devices = report.devices;
            }
            inner.orphans.extend(report.orphans);
        });
    }
}

/// The services.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) heard: Arc<Heard>,
    pub(crate) store: Arc<LocalStore>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) token: JoinToken,
    pub(crate) address: String,
}

#[tonic::async_trait]
impl Enrol for Fake {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        if request.token_secret != self.token.secret.expose() {
            return Err(Status::permission_denied("the join token is unknown or used"));
        }
        let node = NodeName::new(&request.node).expect("a name");
        let lifetime = match self.heard.look(|inner| inner.lifetime_s) {
            0 => AGENT_LIFETIME,
            seconds => Duration::from_secs(seconds),
        };
        Ok(Response::new(self.sign(&request.csr_der, &node, lifetime)))
    }
}

impl Fake {
    fn sign(&self, csr_der: &[u8], node: &NodeName, lifetime: Duration) -> JoinResponse {
        let signed = self.ca.sign_agent_for(csr_der, node, SystemTime::now(), lifetime);
        JoinResponse {
            certificate_der: signed.expect("signed").certificate.to_vec().into(),
            ca_der: self.ca.certificate().to_vec().into(),
            node: node.to_string(),
            group: "test".into(),
            generation: 1,
            addresses: vec![self.address.clone()],
        }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<ToAgent, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Fake {
    type SessionStream = Answers;

    async fn session(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<Answers>, Status> {
        let info = ConnectInfo::of(&request).expect("by the listener");
        if !matches!(info.identity, Identity::Agent { .. }) {
            return Err(Status::unauthenticated("this certificate is over"));
        }
        let certificate_end_ms = info.not_after_ms.expect("an agent shows a certificate");
        let mut incoming = request.into_inner();
        let first = incoming.next().await.expect("a hello")?.message;
        let Some(from_agent::Message::Hello(hello)) = first else { panic!("a hello comes first") };
        let (send, receive) = mpsc::channel(32);
        let set = self.heard.with(|inner| {
            inner.hellos.push(hello);
            inner.certificate_ends_ms.push(certificate_end_ms);
            inner.sessions.push(send.clone());
            inner.desired.clone()
        });
        let welcome =
            Welcome { session: "s".into(), heartbeat_ms: 100, generation: 1, ..Welcome::default() };
        for message in [to_agent::Message::Welcome(welcome), to_agent::Message::Desired(set)] {
            send.send(Ok(ToAgent { message: Some(message) })).await.expect("room");
        }
        let heard = self.heard.clone();
        let cut = heard.look(|inner| inner.cut.clone());
        drop(task::spawn("fake-session", async move {
            let reading = async {
                while let Some(Ok(message)) = incoming.next().await {
                    if let Some(from_agent::Message::Report(report)) = message.message {
                        heard.take(report);
                    }
                }
            };
            tokio::select! {
                () = reading => {}
                () = cut.notified() => drop(send.send(Err(Status::unavailable("cut"))).await),
            }
        }));
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        self.heard.with(|inner| inner.beats += 1);
        let sent_boottime_ms = request.into_inner().sent_boottime_ms;
        Ok(Response::new(HeartbeatResponse { sent_boottime_ms, known: true }))
    }

    async fn seal(&self, request: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        let request = request.into_inner();
        if request.channel == Channel::Metrics as i32 {
            let mut holds = self.heard.holds_metrics.subscribe();
            holds.wait_for(|holds| !holds).await.expect("its sender is ours");
        }
        self.heard.with(|inner| {
            let sealed = inner.sealed.entry((request.worker, request.channel)).or_default();
            if request.to <= sealed.to && (sealed.complete || !request.last) {
                return Ok(Response::new(SealResponse { sealed_to: sealed.to }));
            }
            if request.from != sealed.to || sealed.complete {
                return Err(Status::failed_precondition("it does not follow"));
            }
            if request.to > request.from {
                let digest = Digest::from_slice(&request.segment).expect("a digest");
                let missing = self.store.find_missing(&super::project(), &[digest]);
                assert!(missing.is_empty(), "sealed before it was stored");
                sealed.segments.push(digest);
            }
            sealed.to = request.to;
            sealed.complete |= request.last;
            Ok(Response::new(SealResponse { sealed_to: sealed.to }))
        })
    }

    async fn tail(
        &self,
        request: Request<Streaming<TailChunk>>,
    ) -> Result<Response<TailDone>, Status> {
        let mut chunks = request.into_inner();
        let mut ticket = String::new();
        while let Some(Ok(chunk)) = chunks.next().await {
            ticket.clone_from(&chunk.ticket);
            let Some(part) = chunk.part else { continue };
            self.heard.with(|inner| {
                let bytes = inner.tails.entry(chunk.ticket).or_default();
                bytes.extend_from_slice(&part.data);
            });
        }
        self.heard.with(|inner| inner.tails_done.push(ticket));
        Ok(Response::new(TailDone {}))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<JoinResponse>, Status> {
        let info = ConnectInfo::of(&request).expect("by the listener").clone();
        let refused = self.heard.with(|inner| {
            inner.renewals += 1;
            inner.no_renewal.clone()
        });
        if let Some(status) = refused {
            return Err(status);
        }
        let (Identity::Agent { node, .. } | Identity::ExpiredAgent { node, .. }) = info.identity
        else {
            return Err(Status::unauthenticated("no certificate"));
        };
        Ok(Response::new(self.sign(&request.get_ref().csr_der, &node, AGENT_LIFETIME)))
    }
}
