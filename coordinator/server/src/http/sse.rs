//! Server-sent events out of gRPC's streams.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use runyard_transport::task;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::answer::Refused;
use crate::access;
use crate::core::Core;

/// Pages that may watch or read at once; a browser opens a few each.
const STREAMS_MAX: usize = 512;
/// Events that may wait for a slow reader; then its source waits.
const WAITING_MAX: usize = 64;
/// How soon a revoked token ends its streams.
const REVOCATION: Duration = Duration::from_secs(1);

static STREAMS: Semaphore = Semaphore::const_new(STREAMS_MAX);

/// What a service streams.
pub(super) type Source<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Shows each message of a source as an event, then `end`, or `failed` with the reason.
///
/// A browser reconnects by itself after a lost connection; after `end` and `failed` the page closes.
pub(super) fn answer<T: Send + 'static>(
    core: &Core,
    authorization: String,
    mut source: Source<T>,
    mut show: impl FnMut(T) -> Option<Event> + Send + 'static,
) -> Result<Response, Refused> {
    let permit = STREAMS.try_acquire().map_err(|_| {
        Status::resource_exhausted(format!(
            "{STREAMS_MAX} streams are open; close some pages, or use `runyard logs`"
        ))
    })?;
    let (send, receive) = mpsc::channel::<Result<Event, Infallible>>(WAITING_MAX);
    let core = core.clone();
    drop(task::spawn("page-stream", async move {
        let _permit = permit;
        let mut valid = tokio::time::interval(REVOCATION);
        let last = loop {
            tokio::select! {
                // Cancel-safe: a message that was not taken stays in its channel; a clock; a closed channel.
                next = source.next() => match next {
                    Some(Ok(message)) => {
                        if let Some(event) = show(message)
                            && send.send(Ok(event)).await.is_err()
                        {
                            return;
                        }
                    }
                    Some(Err(status)) => break failed(&status),
                    None => break Event::default().event("end").data("{}"),
                },
                _ = valid.tick() => {
                    if let Err(status) = access::user_by_header(&core.truth.view().state, &authorization) {
                        break failed(&status);
                    }
                }
                () = send.closed() => return,
            }
        };
        let _ = send.send(Ok(last)).await;
    }));
    Ok(Sse::new(ReceiverStream::new(receive)).keep_alive(KeepAlive::default()).into_response())
}

fn failed(status: &Status) -> Event {
    let code = if status.code() == tonic::Code::OutOfRange { "compacted" } else { "refused" };
    Event::default()
        .event("failed")
        .data(json!({ "code": code, "message": status.message() }).to_string())
}
