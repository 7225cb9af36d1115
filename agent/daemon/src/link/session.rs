//! The session: hello, desired sets in, reports out; again and again.

use std::sync::Arc;
use std::time::Duration;

use runyard_proto::agent as wire;
use runyard_proto::agent::agent_client::AgentClient;
use runyard_proto::agent::{FromAgent, Hello, ToAgent, from_agent, to_agent};
use runyard_proto::{MESSAGE_BYTES_MAX, SESSION_PROTOCOL, v1};
use runyard_runtime::clock;
use runyard_transport::Target;
use runyard_transport::retry::Backoff;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Beat, Inventory, convert};
use crate::core::Input;
use crate::shared::Shared;
use crate::state_dir::Memory;
use crate::{log, routes};

/// Messages on their way to the coordinator.
const OUTGOING_MAX: usize = 16;
/// What may wait is told this often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A coordinator answers a hello after one commit.
const HELLO_WITHIN: Duration = Duration::from_secs(20);
/// Between tries: soon at first, as after a restart of the coordinator.
const AGAIN: Backoff =
    Backoff { base: Duration::from_millis(50), max: Duration::from_secs(3), budget: Duration::MAX };
/// A session that lasted so long was a good one: the next try comes soon.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// What a session needs.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) target: Target,
    pub(crate) memory: Memory,
    pub(crate) inventory: Inventory,
    pub(crate) beats: watch::Sender<Option<Beat>>,
    pub(crate) devices: watch::Receiver<Vec<v1::Device>>,
    pub(crate) nonce: u64,
}

/// Keeps a session open until the agent stops.
pub(crate) async fn run(mut session: Session) {
    let mut failed = 0;
    loop {
        let begun = tokio::time::Instant::now();
        let ended = session.once().await;
        session.shared.connected.send_replace(false);
        session.beats.send_replace(None);
        if begun.elapsed() >= GOOD_AFTER {
            failed = 0;
        }
        match ended {
            Ok(why) => tracing::info!(why, "the session ended"),
            Err(status) => tracing::info!(%status, failed, "no session"),
        }
        tokio::time::sleep(AGAIN.delay(failed, rand::random())).await;
        failed = failed.saturating_add(1);
    }
}

impl Session {
    async fn once(&mut self) -> Result<&'static str, Status> {
        // From before the connection on: a renewal meanwhile is not missed.
        let mut renewals = self.shared.channels.renewals();
        let channel = self
            .target
            .connect()
            .await
            .map_err(|error| Status::unavailable(crate::worker::chain(&error)))?;
        let (send, receive) = mpsc::channel(OUTGOING_MAX);
        let hello = FromAgent { message: Some(from_agent::Message::Hello(self.hello())) };
        // There is room: nothing else was sent yet.
        let _ = send.send(hello).await;
        let mut client = AgentClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let opening = client.session(ReceiverStream::new(receive));
        let late = |_| Status::deadline_exceeded("no answer to the hello");
        let mut incoming =
            tokio::time::timeout(HELLO_WITHIN, opening).await.map_err(late)??.into_inner();
        // Cancel-safe: the session ends with whichever ends first, and begins anew with a hello
        // that makes everything due again.
        tokio::select! {
            ended = self.listen(&mut incoming) => ended.map(|()| "the coordinator closed it"),
            ended = self.tell(send) => ended.map(|()| "nothing is left to tell"),
            _ = renewals.changed() => Ok("it goes on with the renewed certificate"),
            () = self.shared.unknown.notified() => {
                Err(Status::aborted("the coordinator no longer knows the session"))
            }
        }
    }

    fn hello(&mut self) -> Hello {
        let shared = &self.shared;
        // A power cut may lose the counter that was kept; the clock then carries it on.
        self.memory.session_counter = (self.memory.session_counter + 1).max(clock::utc_ms());
        if let Err(error) = self.memory.save(&shared.paths) {
            tracing::warn!(%error, "the session counter is not kept");
        }
        let seen = shared.paths.load_position();
        Hello {
            node: shared.config.node.to_string(),
            boot_id: clock::boot_id(),
            process_nonce: self.nonce,
            session_counter: self.memory.session_counter,
            generation: seen.generation,
            index: seen.index,
            inventory: Some(self.inventory.wire(shared)),
            workers: shared.board.hello(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: SESSION_PROTOCOL,
            chains: true,
        }
    }

    async fn listen(&self, incoming: &mut Streaming<ToAgent>) -> Result<(), Status> {
        while let Some(message) = incoming.message().await? {
            match message.message {
                Some(to_agent::Message::Welcome(welcome)) => self.welcome(&welcome),
                Some(to_agent::Message::Desired(set)) => self.desired(set).await,
                Some(to_agent::Message::Tail(request)) => {
                    let shared = self.shared.clone();
                    self.shared.spawn("tail", async move { log::tail(&shared, request).await });
                }
                // Of a newer coordinator.
                None => {}
            }
        }
        Ok(())
    }

    fn welcome(&self, welcome: &wire::Welcome) {
        tracing::info!(session = welcome.session, "session opened");
        self.shared.connected.send_replace(true);
        let every = Duration::from_millis(welcome.heartbeat_ms.clamp(100, 60_000));
        self.beats.send_replace(Some(Beat { session: welcome.session.clone(), every }));
    }

    async fn desired(&self, mut set: wire::DesiredSet) {
        let shared = &self.shared;
        let routes = std::mem::take(&mut set.routes);
        let (set, specs) = convert::desired(set);
        // The core decides the same by what it has in memory; specs and routes of a set that it
        // will not obey are not taken up either.
        if set.at < shared.paths.load_position() {
            tracing::warn!(at = ?set.at, "a set that is older than one obeyed; passed over");
            return;
        }
        for (key, spec) in specs {
            shared.take_up(&key, spec);
        }
        if let Some(gateway) = &shared.gateway {
            gateway.set_routes(routes::routes(&routes));
        }
        shared.tell(Input::Desired(set)).await;
    }

    /// Sends reports: what changed at once, what may wait and telemetry every second.
    async fn tell(&self, send: mpsc::Sender<FromAgent>) -> Result<(), Status> {
        let shared = &self.shared;
        let mut tick = tokio::time::interval(TELL_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut devices = self.devices.clone();
        let mut revisions = shared.gateway.as_ref().map(runyard_gateway::Gateway::changes);
        let mut told = Vec::new();
        loop {
            // Cancel-safe: each only observes.
            let (all, gateway) = tokio::select! {
                () = shared.board.urgent() => (false, false),
                () = gateway_changed(&mut revisions) => (false, true),
                _ = tick.tick() => (true, true),
            };
            let mut extra = wire::Report::default();
            if all && devices.has_changed().unwrap_or(false) {
                extra.devices.clone_from(&devices.borrow_and_update());
            }
            if gateway && let Some(gateway) = &shared.gateway {
                let now = routes::reports(gateway);
                if now != told {
                    extra.revisions.clone_from(&now);
                    told = now;
                }
            }
            let mut next = shared.board.take(all);
            if extra != wire::Report::default() {
                let report = next.get_or_insert_with(wire::Report::default);
                (report.devices, report.revisions) = (extra.devices, extra.revisions);
            }
            while let Some(report) = next {
                let message = FromAgent { message: Some(from_agent::Message::Report(report)) };
                if send.send(message).await.is_err() {
                    return Err(Status::unavailable("the coordinator takes no reports any more"));
                }
                next = shared.board.take(all);
            }
        }
    }
}

async fn gateway_changed(changes: &mut Option<watch::Receiver<u64>>) {
    let changed = match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending().await
    }
}
