//! SIGINT, SIGTERM and SIGHUP as a token.

use runyard_transport::task;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::errors::{Context as _, Kind, Result};

/// A token that the first of these signals cancels. Further ones change nothing, unless there is
/// somebody `impatient` to be served: then the third ends the process where it stands.
pub(crate) fn stop_on_signals(impatient: bool) -> Result<CancellationToken> {
    let failed = || "cannot listen for signals".to_owned();
    let mut interrupt = signal(SignalKind::interrupt()).context(Kind::Failed, failed)?;
    let mut terminate = signal(SignalKind::terminate()).context(Kind::Failed, failed)?;
    let mut hangup = signal(SignalKind::hangup()).context(Kind::Failed, failed)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    drop(task::spawn("signals", async move {
        for round in 0.. {
            // Cancel-safe: a signal that was not received yet stays pending in its stream.
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => "SIGHUP",
            };
            tracing::info!(signal = name, "stopping");
            told.cancel();
            if impatient && round >= SIGNALS_IGNORED {
                std::process::exit(130);
            }
        }
    }));
    Ok(stop)
}

/// Repetitions that an orderly stop survives; it has deadlines of its own.
const SIGNALS_IGNORED: u32 = 2;
