//! The gRPC service that agents call.

use std::pin::Pin;

use runyard_proto::agent::{
    FromAgent, HeartbeatRequest, HeartbeatResponse, JoinResponse, RenewRequest, RevisionReport,
    SealRequest, SealResponse, TailChunk, TailDone, ToAgent, Welcome, agent_server::Agent,
    from_agent, to_agent,
};
use runyard_state::{Command, NodeHello};
use runyard_transport::{ConnectInfo, Identity, task};
use runyard_types::{DeploymentName, NodeName, ProjectName};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{convert, desired, ingest, seal};
use crate::core::Core;
use crate::errors::status;
use crate::live::RevisionKey;

/// How often an agent should send a heartbeat.
pub(crate) const HEARTBEAT_MS: u64 = 2_000;

/// Sessions, heartbeats, seals and tails.
#[derive(Debug, Clone)]
pub(crate) struct AgentService {
    core: Core,
}

impl AgentService {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }

    /// The node at the other end, known and with the certificate that it joined with.
    fn node<T>(&self, request: &Request<T>) -> Result<NodeName, Status> {
        let info = ConnectInfo::of(request);
        let Some(Identity::Agent { node, fingerprint }) = info.map(|info| &info.identity) else {
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
        let command: NodeHello = convert::hello(node.clone(), &hello)?;
        self.core.truth.propose(Command::NodeHello(Box::new(command))).await.map_err(status)?;
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
        if let Err(error) = ingest::ingest_workers(&self.core, &node, hello.workers).await {
            // They are taken in again by the liveness monitor.
            tracing::warn!(%node, %error, "the hello's workers could not be taken in");
        }
        drop(task::spawn("session-desired", push_desired(self.core.clone(), node.clone(), send)));
        drop(task::spawn(
            "session-reports",
            take_reports(self.core.clone(), node, session, incoming),
        ));
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
        let node = self.node(&request)?;
        super::enrol::certificate(&self.core, node, &request.into_inner().csr_der)
            .map(Response::new)
    }
}

/// Sends the node its full desired set whenever it changes.
async fn push_desired(core: Core, node: NodeName, send: mpsc::Sender<Result<ToAgent, Status>>) {
    let mut changes = core.truth.watch();
    let mut sent: Option<Vec<u8>> = None;
    loop {
        changes.mark_unchanged();
        let view = core.truth.view();
        let set = desired::desired_set(&view.state, view.index, core.group.generation, &node);
        let form = desired::fingerprint(&set);
        if sent.as_ref() != Some(&form) {
            let message = ToAgent { message: Some(to_agent::Message::Desired(set)) };
            if send.send(Ok(message)).await.is_err() {
                return;
            }
            sent = Some(form);
        }
        tokio::select! {
            // Cancel-safe: both only observe.
            changed = changes.changed() => if changed.is_err() { return },
            () = send.closed() => return,
        }
    }
}

/// Takes in a node's reports until its session ends.
async fn take_reports(
    core: Core,
    node: NodeName,
    session: u64,
    mut incoming: Streaming<FromAgent>,
) {
    loop {
        let message = match incoming.next().await {
            Some(Ok(message)) => message.message,
            Some(Err(error)) => {
                tracing::info!(%node, session, %error, "session broke");
                break;
            }
            None => {
                tracing::info!(%node, session, "session closed");
                break;
            }
        };
        // A later session of the node has taken over: what this one still says is old.
        if !core.live.heard(&node, session) {
            break;
        }
        let Some(from_agent::Message::Report(report)) = message else { continue };
        if let Err(error) = ingest::ingest(&core, &node, report).await {
            tracing::warn!(%node, session, %error, "a report could not be taken in");
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
