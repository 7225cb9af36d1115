//! Bodies on their way through: requests that can be sent again, answers that are watched to their end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::exchange::Exchange;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// Of a request body so much is kept for a second try; a longer one is sent once.
const REPLAY_MAX: usize = 256 * 1024;

pub(crate) fn full(bytes: impl Into<Bytes>) -> AnswerBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A request body that streams through and remembers its beginning.
///
/// Every [`Sending`] begins at the first byte again: it hands out what is remembered, then goes on
/// reading. Nothing waits for the body to be complete.
#[derive(Debug, Clone)]
pub(crate) struct Replay(Arc<Mutex<Source>>);

#[derive(Debug)]
struct Source {
    rest: Option<Incoming>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// More than [`REPLAY_MAX`] went through, so the beginning is lost.
    too_long: bool,
    trailers: Option<http::HeaderMap>,
    /// Fresh bytes go to the latest sending only; an earlier one that still polls gets an error.
    sending: u64,
    awaited: Awaited,
    /// Since when that is so, or when the last bytes went through.
    since: Instant,
}

/// Whose turn it is while a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// To send more of the body.
    User,
    /// To take what there is of the body, or to answer.
    Replica,
}

impl Replay {
    pub(crate) fn new(body: Incoming) -> Self {
        let rest = (!body.is_end_stream()).then_some(body);
        Self(Arc::new(Mutex::new(Source {
            rest,
            kept: Vec::new(),
            kept_bytes: 0,
            too_long: false,
            trailers: None,
            sending: 0,
            awaited: Awaited::Replica,
            since: Instant::now(),
        })))
    }

    /// Comes back when one side has been awaited for `within` without a byte going through.
    pub(crate) async fn overdue(&self, within: Duration) -> Awaited {
        loop {
            let (awaited, since) = {
                let source = lock(&self.0);
                (source.awaited, source.since)
            };
            let left = within.saturating_sub(since.elapsed());
            if left.is_zero() {
                return awaited;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Whether a second try would send the same bytes.
    pub(crate) fn can_repeat(&self) -> bool {
        !lock(&self.0).too_long
    }

    pub(crate) fn send(&self) -> Sending {
        let mut source = lock(&self.0);
        source.sending += 1;
        source.turn(Awaited::Replica);
        let again: VecDeque<Bytes> = source.kept.iter().cloned().collect();
        Sending { source: Arc::clone(&self.0), again, number: source.sending, ended: false }
    }
}

impl Source {
    fn turn(&mut self, awaited: Awaited) {
        (self.awaited, self.since) = (awaited, Instant::now());
    }
}

/// One try at sending a [`Replay`].
#[derive(Debug)]
pub(crate) struct Sending {
    source: Arc<Mutex<Source>>,
    again: VecDeque<Bytes>,
    number: u64,
    ended: bool,
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(bytes) = self.again.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let mut source = lock(&this.source);
        if source.sending != this.number {
            return Poll::Ready(Some(Err("superseded by another try".into())));
        }
        let Some(rest) = &mut source.rest else {
            this.ended = true;
            let trailers = source.trailers.clone();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        let frame = Pin::new(rest).poll_frame(context);
        if frame.is_pending() && source.awaited == Awaited::Replica {
            source.turn(Awaited::User);
        }
        let frame = ready!(frame);
        source.turn(Awaited::Replica);
        let Some(frame) = frame else {
            source.rest = None;
            this.ended = true;
            return Poll::Ready(None);
        };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            source.kept_bytes += data.len();
            source.too_long |= source.kept_bytes > REPLAY_MAX;
            if source.too_long {
                source.kept = Vec::new();
            } else {
                source.kept.push(data.clone());
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            source.trailers = Some(trailers.clone());
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let source = lock(&self.source);
        self.again.is_empty() && source.rest.is_none() && source.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let again: u64 = self.again.iter().map(|bytes| bytes.len() as u64).sum();
        let rest = match &lock(&self.source).rest {
            None => SizeHint::with_exact(0),
            Some(rest) => rest.size_hint(),
        };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + again);
        }
        hint.set_lower(rest.lower() + again);
        hint
    }
}

/// An answer's body, passed on frame by frame; its end settles the exchange.
#[derive(Debug)]
pub(crate) struct Watched {
    inner: Incoming,
    exchange: Option<Exchange>,
}

impl Watched {
    pub(crate) fn new(inner: Incoming, exchange: Exchange) -> Self {
        let mut watched = Self { inner, exchange: Some(exchange) };
        watched.settle_if_ended();
        watched
    }

    /// A body whose length is known may be left by the server without a last poll.
    fn settle_if_ended(&mut self) {
        if self.inner.is_end_stream() {
            self.settle(false);
        }
    }

    fn settle(&mut self, is_error: bool) {
        if let Some(exchange) = self.exchange.take() {
            exchange.settle(is_error);
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            None => self.settle(false),
            Some(Err(_)) => self.settle(true),
            Some(Ok(_)) => self.settle_if_ended(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
