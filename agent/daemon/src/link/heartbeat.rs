//! Heartbeats: from a thread with a runtime and a connection of its own, so that nothing that
//! keeps the agent busy makes its node look lost.

use std::sync::Arc;
use std::time::Duration;

use runyard_proto::agent::HeartbeatRequest;
use runyard_proto::agent::agent_client::AgentClient;
use runyard_runtime::clock;
use runyard_transport::{Target, retry};
use tokio::sync::watch;

use crate::AgentError;
use crate::shared::Shared;

/// What a heartbeat says, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) session: String,
    pub(crate) every: Duration,
}

/// Starts the thread; it ends with the agent.
pub(crate) fn start(
    shared: &Arc<Shared>,
    target: Target,
    beats: watch::Receiver<Option<Beat>>,
) -> Result<(), AgentError> {
    let failed = || AgentError::io("start the heartbeat of", &shared.paths.root);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed())?;
    let agent = shared.clone();
    let thread = std::thread::Builder::new().name("heartbeat".into());
    let beating = move || {
        runtime.block_on(async {
            // Cancel-safe: a heartbeat is one of many.
            tokio::select! {
                () = beat(&agent, &target, beats) => {}
                () = agent.stop.cancelled() => {}
            }
        });
    };
    thread.spawn(beating).map(drop).map_err(failed())
}

async fn beat(shared: &Shared, target: &Target, mut beats: watch::Receiver<Option<Beat>>) {
    let mut renewals = shared.channels.renewals();
    let mut client = AgentClient::new(target.lazy());
    let node = shared.config.node.to_string();
    loop {
        let Some(beat) = beats.borrow_and_update().clone() else {
            if beats.changed().await.is_err() {
                return;
            }
            continue;
        };
        let request = HeartbeatRequest {
            node: node.clone(),
            session: beat.session.clone(),
            sent_boottime_ms: clock::boottime_ms(),
        };
        if renewals.has_changed().unwrap_or(false) {
            renewals.mark_unchanged();
            client = AgentClient::new(target.lazy());
        }
        match client.heartbeat(retry::request(request, beat.every.max(MIN_PATIENCE))).await {
            Ok(answer) if !answer.get_ref().known => {
                // A new leader, or a session that was taken over: a hello settles which.
                let still = beats.borrow().as_ref() == Some(&beat);
                if still {
                    shared.unknown.notify_one();
                }
            }
            Ok(_) => {}
            Err(status) => tracing::debug!(%status, "a heartbeat was not confirmed"),
        }
        // Cancel-safe: it observes a value.
        let _ = tokio::time::timeout(beat.every, beats.changed()).await;
    }
}

const MIN_PATIENCE: Duration = Duration::from_secs(2);
