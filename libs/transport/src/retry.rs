//! Deadlines of calls, and retries of calls that may be repeated.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Request, Status};

/// The metadata key by which a server that sheds load says when to come back, in milliseconds.
pub const RETRY_AFTER_MS: &str = "retry-after-ms";

/// How a call is repeated: exponential delays, each drawn from its upper half, so that clients that
/// failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay.
    pub base: Duration,
    /// No delay is longer, unless the server asks for it.
    pub max: Duration,
    /// No attempt begins later than this after the first.
    pub budget: Duration,
}

impl Default for Backoff {
    /// From 50 ms to 5 s, for 30 s: a failover is a pause, not an error.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(50),
            max: Duration::from_secs(5),
            budget: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The delay after attempt `attempt` (from 0), where `unit` is uniform in [0, 1).
    pub fn delay(&self, attempt: u32, unit: f64) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(attempt.min(31)));
        doubled.min(self.max).mul_f64(0.5 + 0.5 * unit.clamp(0.0, 1.0))
    }
}

/// What a failed call's status says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may work later; the server may have said when.
    Retry { after: Option<Duration> },
    /// It will fail again.
    Final,
}

/// Classifies a status. A connection that broke during a call is `Retry`, though the call may have
/// been carried out: repeat only calls that carry an idempotency key or change nothing.
pub fn classify(status: &Status) -> Verdict {
    let after = status
        .metadata()
        .get(RETRY_AFTER_MS)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_millis);
    match status.code() {
        Code::Unavailable => Verdict::Retry { after },
        // Without a time it is a limit that stays, e.g. a message that is too large.
        Code::ResourceExhausted if after.is_some() => Verdict::Retry { after },
        // tonic gives these codes to a broken connection; sent by a server they have no source.
        Code::Unknown | Code::Internal | Code::Cancelled if is_transport(status) => {
            Verdict::Retry { after: None }
        }
        _ => Verdict::Final,
    }
}

/// Whether the failure came from the connection, and neither from the server nor from the caller's
/// own deadline, which tonic reports as a failure of the transport, too.
fn is_transport(status: &Status) -> bool {
    let causes =
        || std::iter::successors(std::error::Error::source(status), |error| error.source());
    let broken = |error: &(dyn std::error::Error + 'static)| {
        // hyper's error comes where a stream is cut in the middle: h2 hides the cause from the chain.
        error.is::<std::io::Error>()
            || error.is::<tonic::transport::Error>()
            || error.is::<hyper::Error>()
    };
    causes().any(broken) && !causes().any(|error| error.is::<tonic::TimeoutExpired>())
}

/// Repeats `call` until it succeeds, fails for good, or the budget is spent; then its last status is
/// returned. Only for calls that may be carried out twice.
///
/// # Cancel safety
/// Dropping the future drops the call at hand and makes no further one.
pub async fn retry<T, F, Fut>(backoff: Backoff, mut call: F) -> Result<T, Status>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    let end = Instant::now() + backoff.budget;
    let mut attempt = 0;
    loop {
        let status = match call().await {
            Ok(value) => return Ok(value),
            Err(status) => status,
        };
        let Verdict::Retry { after } = classify(&status) else {
            return Err(status);
        };
        let own = backoff.delay(attempt, rand::random());
        let delay = after.map_or(own, |after| after.max(own));
        if Instant::now() + delay > end {
            return Err(status);
        }
        tracing::debug!(attempt, code = ?status.code(), ?delay, "call failed; trying again");
        tokio::time::sleep(delay).await;
        attempt += 1;
    }
}

/// A request that the client gives up, and the server may, after `limit`. For a stream the limit is
/// on its beginning.
pub fn request<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

/// Runs `work`, or answers `DeadlineExceeded` naming `what` after `limit`.
pub async fn deadline<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Status::deadline_exceeded(format!(
            "{what} took longer than {} s",
            limit.as_secs_f64()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn quick() -> Backoff {
        Backoff {
            base: Duration::from_millis(1),
            max: Duration::from_millis(4),
            budget: Duration::from_millis(200),
        }
    }

    #[test]
    fn delays_double_up_to_their_bound_and_keep_half() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(0, 0.0), Duration::from_millis(25));
        assert_eq!(backoff.delay(0, 1.0), Duration::from_millis(50));
        assert_eq!(backoff.delay(3, 1.0), Duration::from_millis(400));
        assert_eq!(backoff.delay(1_000, 1.0), Duration::from_secs(5));
        assert_eq!(backoff.delay(u32::MAX, 0.0), Duration::from_millis(2_500));
    }

    #[test]
    fn only_what_may_pass_later_is_retried() {
        let retry = Verdict::Retry { after: None };
        assert_eq!(classify(&Status::unavailable("no leader")), retry);
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::Unauthenticated,
            Code::FailedPrecondition,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unimplemented,
            Code::Internal,
            Code::Unknown,
            Code::Cancelled,
            Code::DataLoss,
            Code::DeadlineExceeded,
            Code::ResourceExhausted,
        ] {
            assert_eq!(classify(&Status::new(code, "said the server")), Verdict::Final, "{code:?}");
        }
        let mut shed = Status::resource_exhausted("too many calls");
        shed.metadata_mut().insert(RETRY_AFTER_MS, "250".parse().expect("digits"));
        assert_eq!(classify(&shed), Verdict::Retry { after: Some(Duration::from_millis(250)) });
    }

    #[tokio::test]
    async fn a_call_is_repeated_until_it_works() {
        let calls = Cell::new(0);
        let answer = retry(quick(), || {
            calls.set(calls.get() + 1);
            let fails = calls.get() < 4;
            async move { if fails { Err(Status::unavailable("not yet")) } else { Ok(7) } }
        });
        assert_eq!(answer.await.expect("the fourth works"), 7);
        assert_eq!(calls.get(), 4);
    }

    #[tokio::test]
    async fn the_budget_ends_it_and_a_final_status_ends_it_at_once() {
        let begun = Instant::now();
        let spent = retry(quick(), || async { Err::<(), _>(Status::unavailable("never")) }).await;
        assert_eq!(spent.expect_err("spent").message(), "never");
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(150) && took < Duration::from_secs(10), "{took:?}");

        let calls = Cell::new(0);
        let refused = retry(quick(), || {
            calls.set(calls.get() + 1);
            async { Err::<(), _>(Status::not_found("no such run")) }
        });
        assert_eq!(refused.await.expect_err("final").code(), Code::NotFound);
        assert_eq!(calls.get(), 1);
    }

    #[tokio::test]
    async fn a_server_that_sheds_load_is_given_its_time() {
        let begun = Instant::now();
        let calls = Cell::new(0);
        let answer = retry(quick(), || {
            calls.set(calls.get() + 1);
            let first = calls.get() == 1;
            async move {
                if !first {
                    return Ok(());
                }
                let mut shed = Status::unavailable("busy");
                shed.metadata_mut().insert(RETRY_AFTER_MS, "150".parse().expect("digits"));
                Err(shed)
            }
        });
        answer.await.expect("the second works");
        assert!(begun.elapsed() >= Duration::from_millis(150));
    }

    #[tokio::test]
    async fn a_deadline_names_what_it_cut() {
        let cut = deadline(
            "listing runs",
            Duration::from_millis(50),
            std::future::pending::<Result<(), _>>(),
        );
        let status = cut.await.expect_err("cut");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(status.message(), "listing runs took longer than 0.05 s");
        assert!(deadline("x", Duration::from_secs(1), async { Ok(()) }).await.is_ok());
    }
}
