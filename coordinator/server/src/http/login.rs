//! Who asks: a bearer token in the header, or the same token in a cookie that scripts cannot read.
//!
//! The cookie is the token itself, so any peer knows it, a restart forgets nobody, and revoking the token
//! ends the session with it. The server keeps no copy.

use axum::Json;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tonic::{Request, Status};

use super::answer::{API_VERSION, Refused};
use crate::access::{self, Principal};
use crate::core::Core;

/// `__Host-` makes browsers insist on TLS, on this very host and on the whole path.
const COOKIE_NAME: &str = "__Host-runyard";
/// How long a browser keeps it.
const COOKIE_SECONDS: u32 = 12 * 3_600;

/// What the form sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    token: String,
}

/// The `authorization` value that a request carries, in the header or as our cookie.
pub(super) fn credentials(headers: &HeaderMap) -> Result<String, Status> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value
            .to_str()
            .map_err(|_| Status::unauthenticated("the authorization header is not text"))?;
        return Ok(text.to_owned());
    }
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let found = cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME);
    match found {
        Some((_, token)) => Ok(format!("Bearer {token}")),
        None => Err(Status::unauthenticated(
            "log in on the page, or send `Authorization: Bearer` with a token",
        )),
    }
}

/// The user behind a request.
pub(super) fn user(core: &Core, headers: &HeaderMap) -> Result<Principal, Status> {
    access::user_by_header(&core.truth.view().state, &credentials(headers)?)
}

/// The same caller's request to a gRPC service.
pub(super) fn request<T>(headers: &HeaderMap, message: T) -> Result<Request<T>, Status> {
    let value = credentials(headers)?;
    let mut request = Request::new(message);
    let value = value
        .parse()
        .map_err(|_| Status::unauthenticated("the token has characters that no token has"))?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

/// Turns a token into a cookie.
pub(super) async fn login(
    State(core): State<Core>,
    Json(login): Json<Login>,
) -> Result<Response, Refused> {
    let token = login.token.trim();
    let user = access::user_by_header(&core.truth.view().state, &format!("Bearer {token}"))?;
    let body = Json(json!({ "api_version": API_VERSION, "principal": user.name }));
    Ok(([(SET_COOKIE, cookie(token, COOKIE_SECONDS)?)], body).into_response())
}

/// Makes the browser forget the cookie. The token stays valid elsewhere.
pub(super) async fn logout() -> Result<Response, Refused> {
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie("", 0)?)]).into_response())
}

fn cookie(token: &str, seconds: u32) -> Result<HeaderValue, Status> {
    let text = format!(
        "{COOKIE_NAME}={token}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"
    );
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Status::unauthenticated("the token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                name.parse::<axum::http::HeaderName>().expect("a name"),
                value.parse().expect("a value"),
            );
        }
        credentials(&headers).ok()
    }

    #[test]
    fn a_cookie_serves_as_its_token_and_the_header_outranks_it() {
        assert_eq!(
            of(&[("cookie", "a=b; __Host-runyard=x_1; c=d")]).as_deref(),
            Some("Bearer x_1")
        );
        assert_eq!(
            of(&[("cookie", "a=b"), ("cookie", "__Host-runyard=x_1")]).as_deref(),
            Some("Bearer x_1")
        );
        let both = [("cookie", "__Host-runyard=x_1"), ("authorization", "Bearer y")];
        assert_eq!(of(&both).as_deref(), Some("Bearer y"));
        for none in ["runyard=x", "__Host-runyardx=1", "x__Host-runyard=1", ""] {
            assert_eq!(of(&[("cookie", none)]), None, "{none}");
        }
    }
}
