//! Answers that are the gateway's own, in JSON.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::body::{AnswerBody, full};

fn answer(status: StatusCode, body: &Value) -> Response<AnswerBody> {
    let mut answer = Response::new(full(format!("{body}\n")));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

pub(crate) fn ok(body: &Value) -> Response<AnswerBody> {
    answer(StatusCode::OK, body)
}

pub(crate) fn refused(status: StatusCode, error: &str) -> Response<AnswerBody> {
    answer(status, &json!({ "error": error }))
}

pub(crate) fn no_such_deployment(name: &str, there_are: &[String]) -> Response<AnswerBody> {
    let error = match name {
        "" => "the path begins with the name of a deployment: /DEPLOYMENT/...".to_owned(),
        name => format!("no deployment `{name}` is served here"),
    };
    answer(StatusCode::NOT_FOUND, &json!({ "error": error, "deployments": there_are }))
}

/// Nothing can answer now; a client may try again in a second.
pub(crate) fn not_ready(name: &str, reason: &str) -> Response<AnswerBody> {
    let error = format!("no revision of `{name}` is ready");
    let body = json!({ "error": error, "reason": reason });
    let mut answer = answer(StatusCode::SERVICE_UNAVAILABLE, &body);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
