//! gRPC's answers as JSON, its refusals as HTTP's.

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tonic::{Code, Status};

/// What all lists say about themselves.
pub(super) const API_VERSION: &str = "runyard.v1";

/// What a handler answers with.
pub(super) type Answer = Result<Json<Value>, Refused>;

/// A refusal, shown as JSON.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Status);

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (code, word) = http_code(self.0.code());
        let mut response = error(code, word, self.0.message());
        if code == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An error with a stable word for programs and a sentence for people.
pub(super) fn error(code: StatusCode, word: &str, message: &str) -> Response {
    let body = json!({ "api_version": API_VERSION, "error": { "code": word, "message": message } });
    (code, Json(body)).into_response()
}

/// The mapping of `google.rpc.Code` to HTTP that its own comments give.
fn http_code(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::Ok => (StatusCode::OK, "ok"),
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "invalid_argument"),
        Code::FailedPrecondition => (StatusCode::BAD_REQUEST, "failed_precondition"),
        Code::OutOfRange => (StatusCode::BAD_REQUEST, "out_of_range"),
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "permission_denied"),
        Code::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Code::AlreadyExists => (StatusCode::CONFLICT, "already_exists"),
        Code::Aborted => (StatusCode::CONFLICT, "aborted"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "resource_exhausted"),
        Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "unimplemented"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            (StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

/// One message as JSON.
pub(super) fn value(name: &str, message: &impl prost::Message) -> Result<Value, Refused> {
    runyard_proto::to_json(name, message).map_err(|error| {
        Refused(Status::internal(format!("cannot show the answer as JSON: {error}")))
    })
}

/// One message as an answer.
pub(super) fn message(name: &str, message: &impl prost::Message) -> Answer {
    value(name, message).map(Json)
}

/// A list of messages; a list's message has its `index` and `items`.
pub(super) fn list(name: &str, message: &impl prost::Message) -> Answer {
    let mut value = value(name, message)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("api_version".to_owned(), API_VERSION.into());
    }
    Ok(Json(value))
}

/// Paths that are neither ours nor a known service's.
pub(super) async fn unknown(request: Request) -> Response {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        let text = format!(
            "this coordinator has no service {}; it may be older than the client",
            request.uri().path()
        );
        return Status::unimplemented(text).into_http::<axum::body::Body>();
    }
    error(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing here; the page is at /, the JSON under /api/v1/",
    )
}
