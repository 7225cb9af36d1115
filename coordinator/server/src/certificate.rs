//! The server's own certificate: made anew at each start, and while it runs once a third of it is left.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runyard_transport::ca::{Ca, CaError};
use runyard_transport::server_tls::TlsConfigError;
use runyard_transport::{Reloader, RoleError, TlsIdentity, Validity};
use tokio_util::sync::CancellationToken;

use crate::core::Core;

/// The clock is looked at this often: it may be set, and the host may sleep.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// Why the server's own certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("cannot make the server's certificate")]
    Make(#[from] CaError),
    #[error("the server's own certificate cannot be read")]
    Read(#[from] RoleError),
    #[error("the listener does not take the server's new certificate")]
    Take(#[from] TlsConfigError),
}

/// The certificate of a listener.
#[derive(Debug)]
pub(crate) struct Certificate {
    hosts: Vec<String>,
    reloader: Reloader,
    validity: Validity,
}

impl Certificate {
    /// The one that the listener has now: `identity`, made for `hosts`.
    pub(crate) fn new(
        hosts: Vec<String>,
        reloader: Reloader,
        identity: &TlsIdentity,
    ) -> Result<Self, RenewError> {
        Ok(Self { hosts, reloader, validity: validity(identity)? })
    }

    /// Renews it if it is due at `now`; new connections get the new one, open ones live on. True: it was.
    pub(crate) fn tend(&mut self, ca: &Ca, now: SystemTime) -> Result<bool, RenewError> {
        if now < self.due() {
            return Ok(false);
        }
        let identity = ca.issue_server(&self.hosts, now)?;
        let validity = validity(&identity)?;
        self.reloader.replace(&identity)?;
        self.validity = validity;
        Ok(true)
    }

    fn due(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.validity.renew_at_ms())
    }
}

fn validity(identity: &TlsIdentity) -> Result<Validity, RoleError> {
    Validity::of(identity.chain.first().ok_or(RoleError::Unreadable)?)
}

/// Tends it until the server stops.
pub(crate) async fn keep(mut certificate: Certificate, core: Core, stop: CancellationToken) {
    loop {
        let left = certificate.due().duration_since(SystemTime::now()).unwrap_or_default();
        // A renewal that failed is tried again after as long.
        let pause = if left.is_zero() { LOOK_EVERY } else { left.min(LOOK_EVERY) };
        tokio::select! {
            // Cancel-safe: a clock and a token.
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        match certificate.tend(&core.group.ca, SystemTime::now()) {
            Ok(true) => tracing::info!("the server's certificate was renewed"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the server's certificate was not renewed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use runyard_transport::ca::SERVER_LIFETIME;
    use runyard_transport::{Audience, Target, Trust, listen, task};
    use rustls::pki_types::CertificateDer;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// The certificate that a new client is shown.
    async fn shown(target: &Target) -> Vec<u8> {
        let stream = target.dial().await.expect("connected");
        let chain = stream.get_ref().1.peer_certificates().expect("a chain");
        chain[0].to_vec()
    }

    #[tokio::test]
    async fn f42_the_servers_certificate_is_renewed_while_it_runs() {
        let now = SystemTime::now();
        let ca = Ca::create("test", now - SERVER_LIFETIME).expect("a CA");
        let hosts = vec!["localhost".to_owned()];
        // Less than a third of it is left, and it is good still.
        let begun = now - SERVER_LIFETIME / 3 * 2 - DAY;
        let old = ca.issue_server(&hosts, begun).expect("issued");
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut listener = listen(any, Audience::UsersAndAgents, &old).await.expect("a port");
        let address = [listener.local_addr().to_string()];
        let reloader = listener.reloader();
        drop(task::spawn("test-accept", async move {
            let mut open = Vec::new();
            while let Some(conn) = listener.accept().await {
                open.push(conn);
            }
        }));
        let target = Target::user(&address, Trust::Pin(ca.pin())).expect("a target");
        let mut certificate = Certificate::new(hosts, reloader, &old).expect("readable");
        assert!(!certificate.tend(&ca, now - DAY * 2).expect("tended"), "too early");
        assert_eq!(shown(&target).await, old.chain[0].to_vec());
        assert!(certificate.tend(&ca, now).expect("tended"), "less than a third is left");
        let new = CertificateDer::from(shown(&target).await);
        let (was, is) = (validity(&old).expect("dates"), Validity::of(&new).expect("dates"));
        assert!(is.not_after_ms >= was.not_after_ms + 2 * 130 * 86_400_000, "{was:?} {is:?}");
        assert!(!certificate.tend(&ca, now + DAY).expect("tended"), "it is new");
    }
}
