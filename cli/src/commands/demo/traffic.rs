//! Requests to the deployed model: single ones, and a steady stream that is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use runyard_transport::task;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::errors::{Context as _, Error, Kind, Result};

/// Requests a second.
pub(super) const RATE: u32 = 50;
/// A request that takes longer counts as not answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the server of the example says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Prediction {
    pub(super) digits: Vec<u64>,
    /// Of the model.
    pub(super) version: String,
}

/// Asks one deployment.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: http::Uri,
    body: Bytes,
}

/// What came of a stream of requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    /// Answered with 200 and the right digits.
    pub(super) answered: u64,
    /// Answered with an error status.
    pub(super) errors: u64,
    /// No answer, or a wrong one.
    pub(super) lost: u64,
    /// Answers by version of the model.
    pub(super) versions: BTreeMap<String, u64>,
    /// When the first and the last error status came.
    pub(super) error_first: Option<Instant>,
    pub(super) error_last: Option<Instant>,
    /// The latest word of something lost.
    pub(super) note: String,
}

/// A stream of requests that goes on until it is finished.
#[derive(Debug)]
pub(super) struct Traffic {
    stop: CancellationToken,
    tracker: TaskTracker,
    tally: Arc<Mutex<Tally>>,
}

/// What came of one request.
enum Outcome {
    Good(Prediction),
    Status(u16),
    Lost(String),
}

impl Asker {
    pub(super) fn new(gateway: SocketAddr, deployment: &str, body: String) -> Result<Self> {
        let uri = format!("http://{gateway}/{deployment}/predict");
        let uri = uri.parse().context(Kind::Internal, || format!("`{uri}` is no address"))?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { client, uri, body: body.into() })
    }

    pub(super) fn uri(&self) -> &http::Uri {
        &self.uri
    }

    /// One prediction.
    pub(super) async fn ask(&self) -> Result<Prediction> {
        match self.outcome().await {
            Outcome::Good(prediction) => Ok(prediction),
            Outcome::Status(status) => {
                Err(Error::failed(format!("POST {} answered {status}", self.uri)))
            }
            Outcome::Lost(why) => {
                Err(Error::failed(format!("POST {} was not answered: {why}", self.uri)))
            }
        }
    }

    async fn outcome(&self) -> Outcome {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let json = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(http::header::CONTENT_TYPE, json);
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| chain(&error))?;
            let status = answer.status();
            let body =
                answer.into_body().collect().await.map_err(|error| chain(&error))?.to_bytes();
            Ok::<_, String>((status, body))
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Err(_) => Outcome::Lost(format!("no answer in {} s", PATIENCE.as_secs())),
            Ok(Err(why)) => Outcome::Lost(why),
            Ok(Ok((status, body))) if status.is_success() => match serde_json::from_slice(&body) {
                Ok(prediction) => Outcome::Good(prediction),
                Err(error) => Outcome::Lost(format!("an answer that is none: {error}")),
            },
            Ok(Ok((status, _))) => Outcome::Status(status.as_u16()),
        }
    }

    /// Begins a steady stream.
    pub(super) fn stream(&self) -> Traffic {
        let traffic = Traffic {
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
            tally: Arc::default(),
        };
        let (asker, stop) = (self.clone(), traffic.stop.clone());
        let (tally, tracker) = (Arc::clone(&traffic.tally), traffic.tracker.clone());
        let stream = async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1) / RATE);
            loop {
                // Cancel-safe: a beat that is not taken is not lost, and after the stop not wanted.
                tokio::select! {
                    _ = beat.tick() => {}
                    () = stop.cancelled() => return,
                }
                lock(&tally).sent += 1;
                let (asker, tally) = (asker.clone(), Arc::clone(&tally));
                drop(task::spawn(
                    "request",
                    tracker.track_future(async move {
                        let outcome = asker.outcome().await;
                        lock(&tally).add(outcome);
                    }),
                ));
            }
        };
        drop(task::spawn("traffic", traffic.tracker.track_future(stream)));
        traffic
    }
}

impl Traffic {
    /// What came of it so far.
    pub(super) fn now(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Ends it and waits for the last answers.
    pub(super) async fn finish(self) -> Tally {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        lock(&self.tally).clone()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Good(prediction) if prediction.digits == super::files::DIGITS => {
                self.answered += 1;
                *self.versions.entry(prediction.version).or_default() += 1;
            }
            Outcome::Good(prediction) => {
                self.lost += 1;
                self.note = format!("version {} read {:?}", prediction.version, prediction.digits);
            }
            Outcome::Status(_) => {
                self.errors += 1;
                let now = Instant::now();
                self.error_first.get_or_insert(now);
                self.error_last = Some(now);
            }
            Outcome::Lost(why) => {
                self.lost += 1;
                self.note = why;
            }
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
