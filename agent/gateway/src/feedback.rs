//! `POST /DEPLOYMENT/-/feedback {"request_id": …, "score": …}`: what users say of an answer, because
//! bad models answer 200.
//!
//! A score of 0 or less says that the answer was bad and counts as an error of the revision that gave
//! it: thumbs as 1 and 0 work, and as 1 and −1. Each answer takes one, while it is among the last
//! [`RECENT_MAX`] of its deployment.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use crate::answer;
use crate::body::AnswerBody;
use crate::choice::Shares;
use crate::deployment::Deployment;
use crate::revision::Revision;

/// Answers of a deployment that can still get feedback.
const RECENT_MAX: usize = 65_536;
const BODY_MAX: usize = 4 * 1024;

/// Who gave the last answers.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    by_id: HashMap<Bytes, Given>,
    /// With the number under which the id was remembered; an id that came again is in here twice.
    oldest_first: VecDeque<(Bytes, u64)>,
    count: u64,
}

#[derive(Debug)]
struct Given {
    number: u64,
    revision: Arc<Revision>,
    /// `None` where it was not drawn by chance, which the watch must not hear of.
    shares: Option<Arc<Shares>>,
    is_error: bool,
}

#[derive(Deserialize)]
struct Feedback {
    request_id: String,
    score: f64,
}

impl Deployment {
    /// Remembers who answered. A repeated id belongs to its last answer.
    pub(crate) fn remember(
        &self,
        id: &HeaderValue,
        revision: &Arc<Revision>,
        shares: Option<Arc<Shares>>,
        is_error: bool,
    ) {
        let id = Bytes::copy_from_slice(id.as_bytes());
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.count += 1;
        let number = recent.count;
        let given = Given { number, revision: Arc::clone(revision), shares, is_error };
        recent.by_id.insert(id.clone(), given);
        recent.oldest_first.push_back((id, number));
        if recent.oldest_first.len() <= RECENT_MAX {
            return;
        }
        if let Some((oldest, number)) = recent.oldest_first.pop_front()
            && recent.by_id.get(&oldest).is_some_and(|given| given.number == number)
        {
            recent.by_id.remove(&oldest);
        }
    }

    /// Counts a score; answers the revision, or `None` if the id is unknown.
    fn score(&self, id: &str, is_bad: bool) -> Option<u32> {
        let given = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.by_id.remove(id.as_bytes())?
        };
        // An answer that was an error is counted already.
        if !given.is_error {
            if is_bad {
                given.revision.counters.errors.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(shares) = &given.shares {
                self.observe(given.revision.number, shares, is_bad);
            }
        }
        Some(given.revision.number)
    }
}

/// Answers a request to `/-/feedback`.
pub(crate) async fn take(
    deployment: &Deployment,
    method: &Method,
    headers: &HeaderMap,
    body: Incoming,
) -> Response<AnswerBody> {
    if method != Method::POST {
        let mut answer = answer::refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "feedback is sent with POST: {\"request_id\": \"…\", \"score\": 1}",
        );
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    // A page of another origin can send neither JSON nor anything else without being asked first.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(|kind| {
        kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json"))
    });
    if !is_json {
        let error = "feedback is JSON: set content-type: application/json";
        return answer::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, error);
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        let error = "feedback is not taken from pages of other sites";
        return answer::refused(StatusCode::FORBIDDEN, error);
    }
    let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
        let error = format!("feedback has at most {BODY_MAX} bytes");
        return answer::refused(StatusCode::PAYLOAD_TOO_LARGE, &error);
    };
    let feedback: Feedback = match serde_json::from_slice(&body.to_bytes()) {
        Ok(feedback) => feedback,
        Err(error) => {
            let error = format!("feedback is {{\"request_id\": \"…\", \"score\": 1}}: {error}");
            return answer::refused(StatusCode::BAD_REQUEST, &error);
        }
    };
    match deployment.score(&feedback.request_id, feedback.score <= 0.0) {
        Some(revision) => answer::ok(&json!({ "revision": revision })),
        None => answer::refused(
            StatusCode::NOT_FOUND,
            "this request id (the x-request-id of an answer) is unknown, too old, or has its feedback",
        ),
    }
}
