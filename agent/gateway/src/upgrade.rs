//! Websockets and other protocols that take over the connection: bytes go both ways untouched.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use crate::exchange::Exchange;

/// Joins the two connections once both sides have switched, until either ends.
pub(crate) fn join(tasks: &TaskTracker, user: OnUpgrade, replica: OnUpgrade, exchange: Exchange) {
    let both = async move {
        let (user, replica) = match tokio::try_join!(user, replica) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "an upgrade was not completed");
                return exchange.settle(false);
            }
        };
        let (mut user, mut replica) = (TokioIo::new(user), TokioIo::new(replica));
        if let Err(error) = tokio::io::copy_bidirectional(&mut user, &mut replica).await {
            // Most often one side left without a farewell; whose fault it is can't be told.
            tracing::debug!(%error, "an upgraded connection broke");
        }
        exchange.settle(false);
    };
    runyard_transport::task::spawn("gateway upgrade", tasks.track_future(both));
}
