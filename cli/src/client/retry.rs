//! Calls with a deadline, repeated while no coordinator answers: a failover is a pause.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Response, Status};

use runyard_transport::retry::{Verdict, classify};

use crate::errors::Result;

/// How long one attempt may take.
const CALL: Duration = Duration::from_secs(20);
/// How long to go on while nobody answers.
const BUDGET: Duration = Duration::from_secs(30);
const DELAY_FIRST: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(2);

/// Makes a call that may be repeated: a read, or a write whose repetition changes nothing.
pub(crate) async fn retry<T, F, C>(call: C) -> Result<T>
where
    C: FnMut() -> F,
    F: Future<Output = Result<Response<T>, Status>>,
{
    within(BUDGET, call).await
}

/// Makes a call once, with a deadline.
pub(crate) async fn once<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    Ok(with_deadline(call).await?.into_inner())
}

async fn with_deadline<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {CALL:?}"))),
    }
}

/// Repeats until `budget` is spent.
pub(crate) async fn within<T, F, C>(budget: Duration, mut call: C) -> Result<T>
where
    C: FnMut() -> F,
    F: Future<Output = Result<Response<T>, Status>>,
{
    let give_up = Instant::now() + budget;
    let mut backoff = Backoff::default();
    loop {
        match with_deadline(call()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if !passes(&status) || Instant::now() >= give_up => {
                return Err(status.into());
            }
            Err(status) => tracing::info!(%status, "no answer; trying again"),
        }
        backoff.sleep().await;
    }
}

/// Whether another try may find the group in a better state.
pub(crate) fn passes(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded || matches!(classify(status), Verdict::Retry { .. })
}

/// Delays that double, each shortened by a random part so that clients don't march in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: DELAY_FIRST }
    }
}

impl Backoff {
    /// Waits for the next delay.
    pub(crate) async fn sleep(&mut self) {
        let random = (ulid::Ulid::generate().random() & 0xff) as u32;
        tokio::time::sleep(self.next * (128 + random / 2) / 256).await;
        self.next = (self.next * 2).min(DELAY_MAX);
    }
    /// Begins anew, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = DELAY_FIRST;
    }
}
