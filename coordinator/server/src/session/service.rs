//! The gRPC service that agents call.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prost::Message as _;
use runyard_proto::agent::{
    FromAgent, HeartbeatRequest, HeartbeatResponse, JoinResponse, RenewRequest, Report,
    RevisionReport, SealRequest, SealResponse, TailChunk, TailDone, ToAgent, Welcome, WorkerReport,
    agent_server::Agent, from_agent, to_agent,
};
use runyard_state::{Command, NodeHello};
use runyard_transport::{ConnectInfo, Identity, task};
use runyard_types::{DeploymentName, NodeName, ProjectName, WorkerKey};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::clones::{self, Clones, Process};
use super::{convert, ingest, lost, probation, push, seal};
use crate::access;
use crate::core::Core;
use crate::errors::status;
use crate::live::{RevisionKey, SessionHandle};
use crate::revocation::Caller;

/// Reports that are taken in together; the commands that they become have to fit an entry.
const REPORTS_BYTES_MAX: usize = 256 << 10;
/// Between two times that a node's reports are taken in: what ends meanwhile ends in one entry.
const REPORTS_EVERY: Duration = Duration::from_millis(3);
/// How long a report that only tells of begun work waits for more.
const BEGUN_HELD: Duration = Duration::from_millis(15);
/// How often an agent should send a heartbeat.
pub(crate) const HEARTBEAT_MS: u64 = 2_000;

/// Sessions, heartbeats, seals and tails.
#[derive(Debug, Clone)]
pub(crate) struct AgentService {
    core: Core,
    clones: Arc<Mutex<Clones>>,
    /// The clock by which sessions alternate.
    begun: Instant,
}

impl AgentService {
    pub(crate) fn new(core: Core) -> Self {
        Self { core, clones: Arc::default(), begun: Instant::now() }
    }

    /// The node at the other end, known and with a certificate for the key that it joined with.
    fn node<T>(&self, request: &Request<T>) -> Result<NodeName, Status> {
        let node = self.known(request)?;
        let info = ConnectInfo::of(request);
        match info.filter(|info| !info.is_over(crate::clock::wall_ms())) {
            Some(ConnectInfo { identity: Identity::Agent { .. }, .. }) => Ok(node),
            _ => Err(access::certificate_over(&node)),
        }
    }

    /// The node at the other end, known by its key, though its certificate may be over: with such a one
    /// nothing can be done but to renew it.
    fn known<T>(&self, request: &Request<T>) -> Result<NodeName, Status> {
        let identity = ConnectInfo::of(request).map(|info| &info.identity);
        let Some(
            Identity::Agent { node, fingerprint } | Identity::ExpiredAgent { node, fingerprint },
        ) = identity
        else {
            return Err(Status::unauthenticated(
                "this call needs an agent's certificate; join the group first",
            ));
        };
        let view = self.core.truth.view();
        match view.state.nodes.get(node) {
            Some(known) if known.fingerprint == *fingerprint => Ok(node.clone()),
            Some(_) => {
                Err(Status::permission_denied(format!("node {node} joined with another key")))
            }
            None => Err(Status::permission_denied(format!(
                "node {node} is not part of this group; join it first"
            ))),
        }
    }
}

type ToAgents = Pin<Box<dyn Stream<Item = Result<ToAgent, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for AgentService {
    type SessionStream = ToAgents;

    async fn session(
        &self,
        request: Request<Streaming<FromAgent>>,
    ) -> Result<Response<ToAgents>, Status> {
        let node = self.node(&request)?;
        let address = ConnectInfo::of(&request)
            .map_or_else(String::new, |info| info.peer_addr.ip().to_canonical().to_string());
        let caller = Caller::of_connection(request.extensions())
            .ok_or_else(|| access::certificate_over(&node))?;
        let mut incoming = request.into_inner();
        let first = incoming
            .next()
            .await
            .ok_or_else(|| Status::invalid_argument("the session ended before its hello"))??;
        let Some(from_agent::Message::Hello(hello)) = first.message else {
            return Err(Status::invalid_argument("a session begins with a hello"));
        };
        if hello.protocol == 0 {
            return Err(Status::failed_precondition(
                "the hello names no protocol version; upgrade the agent",
            ));
        }
        if hello.generation > self.core.group.generation {
            return Err(Status::failed_precondition(format!(
                "node {node} has obeyed generation {}, this group is at {}: it was restored from an older state",
                hello.generation, self.core.group.generation
            )));
        }
        let reached = self.core.truth.view().index;
        if hello.generation == self.core.group.generation && hello.index > reached {
            return Err(Status::failed_precondition(format!(
                "node {node} has obeyed entry {} of generation {}, and this group's log ends at {reached}: the coordinator's data was lost or put back to an older state. What runs on the node runs on; give the coordinator its newest data back, or make a new group and let the node join that",
                hello.index, hello.generation
            )));
        }
        let command: NodeHello = convert::hello(node.clone(), &hello)?;
        let has: BTreeSet<WorkerKey> = command.workers.iter().cloned().collect();
        self.core.truth.propose(Command::NodeHello(Box::new(command))).await.map_err(status)?;
        let process =
            Process { nonce: hello.process_nonce, address, boot_id: hello.boot_id.clone() };
        self.look_for_clones(&node, process).await;
        let nonce = hello.process_nonce;
        let rival = self.rival(&node, nonce);
        let (send, receive) = mpsc::channel(32);
        let session = self.core.live.open_session(&node, send.clone());
        let welcome = Welcome {
            generation: self.core.group.generation,
            now_ms: crate::clock::wall_ms(),
            session: session.to_string(),
            heartbeat_ms: HEARTBEAT_MS,
        };
        let welcome = ToAgent { message: Some(to_agent::Message::Welcome(welcome)) };
        if send.send(Ok(welcome)).await.is_err() {
            self.core.live.close_session(&node, session);
            return Err(Status::cancelled("the agent left"));
        }
        tracing::info!(%node, session, version = hello.version, "session opened");
        let opened = Opened { node, session, nonce, caller, has, send, incoming };
        match rival {
            None => self.begin(opened, hello.workers).await,
            Some(before) => {
                let (service, workers) = (self.clone(), hello.workers);
                drop(task::spawn("session-probation", async move {
                    tracing::info!(node = %opened.node, session, "another process had this session; it waits");
                    if probation::pass(&service.core, &opened.node, session, &before).await {
                        service.begin(opened, workers).await;
                    }
                }));
            }
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let node = self.node(&request)?;
        let request = request.into_inner();
        // Confirmed only by a leader that still is one.
        self.core.truth.read().await.map_err(status)?;
        let known =
            request.session.parse().is_ok_and(|session| self.core.live.heard(&node, session));
        Ok(Response::new(HeartbeatResponse { sent_boottime_ms: request.sent_boottime_ms, known }))
    }

    async fn seal(&self, request: Request<SealRequest>) -> Result<Response<SealResponse>, Status> {
        let node = self.node(&request)?;
        seal::seal(&self.core, node, request.into_inner()).await.map(Response::new)
    }

    async fn tail(
        &self,
        request: Request<Streaming<TailChunk>>,
    ) -> Result<Response<TailDone>, Status> {
        self.node(&request)?;
        let mut chunks = request.into_inner();
        let mut ticket = String::new();
        while let Some(chunk) = chunks.next().await {
            // A broken tail is the reader's to open again.
            let Ok(chunk) = chunk else { break };
            ticket.clone_from(&chunk.ticket);
            let Some(part) = chunk.part else { continue };
            // The reader may have left: the agent learns it by the end of this call.
            if !self.core.tails.deliver(&chunk.ticket, part).await {
                break;
            }
        }
        self.core.tails.finish(&ticket);
        Ok(Response::new(TailDone {}))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<JoinResponse>, Status> {
        let node = self.known(&request)?;
        let csr_der = request.into_inner().csr_der;
        let renewed = super::enrol::certificate(&self.core, node.clone(), &csr_der)?;
        tracing::info!(%node, "certificate renewed");
        Ok(Response::new(renewed))
    }
}

/// A session whose hello was accepted.
struct Opened {
    node: NodeName,
    session: u64,
    nonce: u64,
    caller: Caller,
    /// The workers of which the agent has anything.
    has: BTreeSet<WorkerKey>,
    send: mpsc::Sender<Result<ToAgent, Status>>,
    incoming: Streaming<FromAgent>,
}

impl AgentService {
    /// The open session of another process that the node is taken for.
    fn rival(&self, node: &NodeName, nonce: u64) -> Option<SessionHandle> {
        let before = self.core.live.session(node).filter(|open| !open.send.is_closed())?;
        self.clones().is_other(node, nonce).then_some(before)
    }

    fn clones(&self) -> MutexGuard<'_, Clones> {
        self.clones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the hello said of workers, and lets reports and desired sets flow.
    async fn begin(&self, opened: Opened, workers: Vec<WorkerReport>) {
        let Opened { node, session, nonce, caller, has, send, incoming } = opened;
        self.clones().believe(&node, nonce);
        if let Err(error) = ingest::ingest_hello(&self.core, &node, workers).await {
            // They are taken in again by the liveness monitor.
            tracing::warn!(%node, %error, "the hello's workers could not be taken in");
        }
        let lost = lost::missing(&self.core.truth.view().state, &node, &has);
        if !lost.is_empty() {
            let settle = lost::settle(self.core.clone(), node.clone(), lost, session, send.clone());
            drop(task::spawn("session-lost-logs", settle));
        }
        drop(task::spawn(
            "session-desired",
            push::push_desired(self.core.clone(), node.clone(), send),
        ));
        drop(task::spawn(
            "session-reports",
            take_reports(self.core.clone(), node, session, caller, incoming),
        ));
    }

    /// Names two agents that answer as one node, and keeps new work from both; what runs, runs on.
    async fn look_for_clones(&self, node: &NodeName, process: Process) {
        let now_ms = self.begun.elapsed().as_millis() as u64;
        let noted = self.clones().note(node, now_ms, process);
        if let Some((one, other)) = noted {
            clones::cordon(&self.core, node, &one, &other).await;
        }
    }
}

/// Takes in a node's reports until its session ends.
async fn take_reports(
    core: Core,
    node: NodeName,
    session: u64,
    caller: Caller,
    mut incoming: Streaming<FromAgent>,
) {
    let mut waiting: Vec<Report> = Vec::new();
    let mut taken_in: Option<tokio::time::Instant> = None;
    'session: loop {
        let mut bytes = 0;
        let mut next = Some(incoming.next().await);
        let first = tokio::time::Instant::now();
        while let Some(message) = next.take() {
            match message {
                Some(Ok(message)) => {
                    bytes += message.encoded_len();
                    if let Some(from_agent::Message::Report(report)) = message.message {
                        waiting.push(report);
                    }
                }
                Some(Err(error)) => {
                    tracing::info!(%node, session, %error, "session broke");
                    break 'session;
                }
                None => {
                    tracing::info!(%node, session, "session closed");
                    break 'session;
                }
            }
            // What comes meanwhile shares an entry; who only began may soon have ended.
            let until = match waiting.iter().all(ingest::only_begins) {
                true => first + BEGUN_HELD,
                false => taken_in.map_or(first, |at| at + REPORTS_EVERY),
            };
            if bytes < REPORTS_BYTES_MAX {
                // Cancel-safe: the stream keeps a message that is not whole. What is there already is taken
                // though the time is over.
                next = tokio::time::timeout_at(until, incoming.next()).await.ok();
            }
        }
        // A later session of the node has taken over: what this one still says is old.
        if !core.live.heard(&node, session) {
            break;
        }
        // Its answers ended with its certificate or its node; so does what it sends.
        if caller.check(&core, crate::clock::wall_ms()).is_err() {
            waiting.clear();
            break;
        }
        let report = ingest::merge_reports(waiting.drain(..));
        if let Err(error) = ingest::ingest(&core, &node, report).await {
            tracing::warn!(%node, session, %error, "a report could not be taken in");
        }
        taken_in = Some(tokio::time::Instant::now());
    }
    // What came just before the end still counts.
    if core.live.heard(&node, session) && !waiting.is_empty() {
        let report = ingest::merge_reports(waiting);
        if let Err(error) = ingest::ingest(&core, &node, report).await {
            tracing::warn!(%node, session, %error, "a last report could not be taken in");
        }
    }
    core.live.close_session(&node, session);
    core.live.notify();
}

/// The revision that a gateway reports on.
pub(super) fn revision_key(report: &RevisionReport) -> Option<RevisionKey> {
    let project = ProjectName::new(&report.project).ok()?;
    Some((project, DeploymentName::new(&report.deployment).ok()?, report.revision))
}
