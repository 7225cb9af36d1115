//! When a failed call is made again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::{Code, Status};

/// How often and how fast a failed call is repeated. Progress starts the count anew.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Tries in a row without progress.
    pub tries: u32,
    /// The first pause; each further one is twice as long.
    pub pause: Duration,
    pub pause_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        // About half a minute: a coordinator's restart is bridged.
        let pause = Duration::from_millis(100);
        Self { tries: 10, pause, pause_max: Duration::from_secs(5) }
    }
}

impl Retry {
    /// Waits before try `failed + 1`, or gives the error back when there were enough tries or trying again
    /// cannot help.
    pub(crate) async fn wait(&self, failed: u32, status: Status) -> Result<(), Status> {
        if failed >= self.tries || !may_pass(status.code()) {
            return Err(status);
        }
        let pause = self.pause.saturating_mul(1 << failed.saturating_sub(1).min(16));
        tracing::debug!(%status, failed, "a blob call is made again");
        tokio::time::sleep(spread(pause.min(self.pause_max))).await;
        Ok(())
    }
}

/// Whether the same call may succeed a little later.
fn may_pass(code: Code) -> bool {
    match code {
        Code::Unavailable
        | Code::Unknown
        | Code::Internal
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// Between half of `pause` and all of it, so that many clients do not come back at once.
fn spread(pause: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    pause / 2 + pause.mul_f64(f64::from(nanos % 1_000) / 2_000.0)
}
