//! Finding out whether a replica is ready, by real requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;

use crate::deployment::Deployment;
use crate::replica::ReplicaState;
use crate::revision::Revision;
use crate::warm_up::{self, WarmUp};

pub(crate) type ProbeClient = Client<HttpConnector, Full<Bytes>>;

/// Between two tries; doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// For one answer to the readiness path.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For one warm-up request where the revision sets no time: the first may load a model.
const WARM_UP_WITHIN: Duration = Duration::from_secs(600);

/// Probes a replica until it is ready, and again whenever it is doubted, until it is gone.
pub(crate) async fn keep_probing(
    deployment: Arc<Deployment>,
    revision: Arc<Revision>,
    replica: Arc<ReplicaState>,
    client: ProbeClient,
) {
    let gone = replica.gone.clone();
    let probing = async {
        loop {
            become_ready(&deployment, &revision, &replica, &client).await;
            replica.set_ready();
            tracing::info!(
                deployment = %deployment.name, revision = revision.number,
                replica = %replica.replica.task, "replica is ready"
            );
            deployment.readiness_changed();
            replica.doubted.notified().await;
        }
    };
    // Nothing is lost by dropping a probe half way.
    tokio::select! {
        () = probing => {}
        () = gone.cancelled() => {}
    }
}

async fn become_ready(
    deployment: &Deployment,
    revision: &Revision,
    replica: &ReplicaState,
    client: &ProbeClient,
) {
    let warm_ups = warm_up::parse(&revision.ready.warm_up);
    let mut pause = PAUSE;
    loop {
        let left = time_left(revision);
        let outcome = match &warm_ups {
            Err(error) => Err(error.to_string()),
            Ok(warm_ups) => probe(revision, replica, warm_ups, client, left).await,
        };
        match outcome {
            Ok(()) => return,
            Err(problem) => {
                let mut status = revision.status();
                // Of a failed revision what it failed of stays on record.
                if !status.failed {
                    status.detail = format!("{}: {problem}", replica.replica.task);
                }
            }
        }
        if revision.fail_if_late(Instant::now()) {
            tracing::warn!(
                deployment = %deployment.name, revision = revision.number,
                detail = revision.status().detail, "revision did not become ready"
            );
            deployment.readiness_changed();
        }
        let left = time_left(revision).filter(|left| !left.is_zero());
        tokio::time::sleep(left.map_or(pause, |left| pause.min(left))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// What is left of `within`; `None` without a limit.
fn time_left(revision: &Revision) -> Option<Duration> {
    let within = Duration::from_millis(revision.ready.within_ms);
    let since = revision.status().unready_since;
    (!within.is_zero()).then(|| since.map_or(within, |s| within.saturating_sub(s.elapsed())))
}

async fn probe(
    revision: &Revision,
    replica: &ReplicaState,
    warm_ups: &[WarmUp],
    client: &ProbeClient,
    left: Option<Duration>,
) -> Result<(), String> {
    // A serving revision is asked on after its time is over.
    let left = left.filter(|left| !left.is_zero());
    let deadline = |most: Duration| left.map_or(most, |left| left.min(most));
    let address = &replica.replica.address;
    let path = match revision.ready.path.as_str() {
        "" => "/",
        path => path,
    };
    let health = WarmUp {
        method: http::Method::GET,
        path: path.to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
        expect_status: None,
    };
    let status = ask(client, address, &health, deadline(ANSWER_WITHIN)).await?;
    let any_will_do = revision.ready.path.is_empty() && status < 500;
    if !any_will_do && !(200..300).contains(&status) {
        return Err(format!("GET {path} answered {status}"));
    }
    for (at, request) in warm_ups.iter().enumerate() {
        let status = ask(client, address, request, deadline(WARM_UP_WITHIN)).await?;
        let good = match request.expect_status {
            Some(expected) => status == expected,
            None => (200..300).contains(&status),
        };
        if !good {
            let expected = request.expect_status.map_or("2xx".to_owned(), |s| s.to_string());
            return Err(format!(
                "warm-up request {} ({} {}) answered {status}, not {expected}",
                at + 1,
                request.method,
                request.path
            ));
        }
    }
    Ok(())
}

/// Sends a request, takes the answer in whole, and gives its status.
async fn ask(
    client: &ProbeClient,
    address: &str,
    request: &WarmUp,
    within: Duration,
) -> Result<u16, String> {
    let what = || format!("{} {}", request.method, request.path);
    let uri: Uri = format!("http://{address}{}", request.path)
        .parse()
        .map_err(|error| format!("{} at {address}: {error}", what()))?;
    let mut message = Request::new(Full::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    message.headers_mut().extend(request.headers.iter().cloned());
    let answer = async {
        let answer = client.request(message).await.map_err(|error| chain(&error))?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
            frame.map_err(|error| chain(&error))?;
        }
        Ok(status)
    };
    match tokio::time::timeout(within, answer).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err::<_, String>(error)) => Err(format!("{}: {error}", what())),
        Err(_) => Err(format!("{}: no answer in {} ms", what(), within.as_millis())),
    }
}

/// An error with its causes in a line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
