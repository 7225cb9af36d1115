//! The certificate, renewed at two thirds of its life for the same key.

use std::sync::Arc;
use std::time::Duration;

use runyard_proto::agent::RenewRequest;
use runyard_proto::agent::agent_client::AgentClient;
use runyard_runtime::clock;
use runyard_transport::identity::IdentityError;
use runyard_transport::retry::{self, Backoff};
use runyard_transport::{AgentIdentity, Target, Validity};
use tonic::{Code, Status};

use crate::shared::Shared;

/// One call.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// The clock is looked at this often: it may be set, and the host may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// Between tries to reach the group.
const AGAIN: Backoff =
    Backoff { base: Duration::from_secs(1), max: Duration::from_secs(600), budget: Duration::MAX };
/// After a refusal: somebody may put it right.
const AFTER_REFUSAL: Duration = Duration::from_secs(600);
/// However short the certificates are that the group gives.
const AFTER_SUCCESS: Duration = Duration::from_secs(60);
/// Nodes that joined together renew within this part of their certificate's life, not at once.
const SPREAD: u64 = 60;

/// Why there is no new certificate.
#[derive(Debug)]
enum Failed {
    /// The group said no, or gave something unusable: it won't be better soon.
    Refused(String),
    /// The group was not reached.
    Unreached(Status),
    /// It could not be kept; what is not kept is not used.
    NotKept(IdentityError),
}

/// What an operator reads once.
const REFUSED: &str = "the group refuses to renew this agent's certificate; when it ends the node is cut off, and its workers run on. If the node was removed, stop this agent; else give it a new state directory and a fresh token of `runyard token create agent`";

/// The refusal that was said last: the same one again is no news.
#[derive(Debug, Default)]
struct Said(Option<String>);

impl Said {
    fn is_news(&mut self, reason: &str) -> bool {
        let news = self.0.as_deref() != Some(reason);
        self.0 = Some(reason.to_owned());
        news
    }
}

/// Renews the certificate in time until the agent stops.
pub(crate) async fn renew(shared: Arc<Shared>, target: Target, mut identity: AgentIdentity) {
    let (mut failed, mut said) = (0, Said::default());
    loop {
        let validity = match identity.validity() {
            Ok(validity) => validity,
            Err(error) => {
                tracing::error!(%error, "the certificate's dates cannot be read; it is not renewed");
                return;
            }
        };
        wait_until(due_ms(validity, rand::random())).await;
        let pause = match once(&shared, &target, &identity).await {
            Ok(renewed) => {
                identity = renewed;
                (failed, said) = (0, Said::default());
                AFTER_SUCCESS
            }
            Err(Failed::Unreached(status)) => {
                tracing::info!(%status, hours_left = hours_left(validity), "certificate not renewed yet");
                failed += 1;
                AGAIN.delay(failed, rand::random())
            }
            Err(Failed::Refused(reason)) => {
                if said.is_news(&reason) {
                    tracing::error!(
                        node = %identity.node(), reason, hours_left = hours_left(validity), "{REFUSED}"
                    );
                }
                AFTER_REFUSAL
            }
            Err(Failed::NotKept(error)) => {
                tracing::error!(
                    error = crate::worker::chain(&error),
                    hours_left = hours_left(validity),
                    "the renewed certificate cannot be kept, and is not used; tried again"
                );
                failed += 1;
                AGAIN.delay(failed, rand::random())
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Asks for a certificate, keeps it, and only then shows it.
async fn once(
    shared: &Arc<Shared>,
    target: &Target,
    identity: &AgentIdentity,
) -> Result<AgentIdentity, Failed> {
    let unusable = |error: IdentityError| Failed::Refused(crate::worker::chain(&error));
    let csr_der = identity.signing_request().map_err(unusable)?.into();
    let request = retry::request(RenewRequest { csr_der }, CALL_WITHIN);
    let answer = AgentClient::new(target.lazy()).renew(request).await.map_err(classified)?;
    let certificate = answer.into_inner().certificate_der.to_vec().into();
    let renewed = identity.with_certificate(certificate).map_err(unusable)?;
    let (old, new) =
        (identity.validity().map_err(unusable)?, renewed.validity().map_err(unusable)?);
    if new.not_after_ms <= old.not_after_ms {
        return Err(Failed::Refused(
            "the certificate that it gave ends no later than the one at hand; look at the coordinator's clock".into(),
        ));
    }
    let (kept, path) = (renewed.clone(), shared.paths.identity());
    let saved = tokio::task::spawn_blocking(move || kept.save(&path)).await;
    match saved {
        Ok(saved) => saved.map_err(Failed::NotKept)?,
        Err(_) => return Err(Failed::Unreached(Status::cancelled("keeping it was cut off"))),
    }
    target.show(&renewed).map_err(|error| Failed::Refused(crate::worker::chain(&error)))?;
    shared.channels.renew(target);
    tracing::info!(node = %renewed.node(), hours = hours_left(new), "certificate renewed");
    Ok(renewed)
}

fn classified(status: Status) -> Failed {
    match status.code() {
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::NotFound
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Unimplemented => Failed::Refused(status.message().to_owned()),
        _ => Failed::Unreached(status),
    }
}

/// When to renew; `jitter` is anything from 0 to the largest number.
fn due_ms(validity: Validity, jitter: u32) -> u64 {
    let spread = u128::from(validity.lifetime_ms() / SPREAD);
    let late = (spread * u128::from(jitter)) >> u32::BITS;
    validity.renew_at_ms().saturating_add(u64::try_from(late).unwrap_or(0))
}

fn hours_left(validity: Validity) -> u64 {
    validity.not_after_ms.saturating_sub(clock::utc_ms()) / 3_600_000
}

async fn wait_until(at_ms: u64) {
    loop {
        let left = Duration::from_millis(at_ms.saturating_sub(clock::utc_ms()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f42_renewals_are_spread_and_leave_most_of_the_last_third() {
        let day = 86_400_000;
        let month = Validity { not_before_ms: 5 * day, not_after_ms: 35 * day };
        assert_eq!(due_ms(month, 0), 25 * day);
        let latest = due_ms(month, u32::MAX);
        assert!(latest > 25 * day + day / 3 && latest <= 25 * day + day / 2, "{latest}");
        let broken = Validity { not_before_ms: u64::MAX, not_after_ms: 0 };
        assert_eq!(due_ms(broken, u32::MAX), u64::MAX, "no overflow");
    }

    #[test]
    fn a_refusal_is_said_once() {
        let mut said = Said::default();
        let news = ["removed", "removed", "other key", "removed"].map(|one| said.is_news(one));
        assert_eq!(news, [true, false, true, true]);
    }

    #[test]
    fn a_refusal_is_told_from_a_group_that_is_away() {
        for code in [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented] {
            assert!(
                matches!(classified(Status::new(code, "no")), Failed::Refused(no) if no == "no")
            );
        }
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted] {
            assert!(matches!(classified(Status::new(code, "")), Failed::Unreached(_)), "{code:?}");
        }
    }
}
