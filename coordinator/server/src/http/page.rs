//! The status page's own files, part of the program.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

pub(super) const HTML: &str = include_str!("page/index.html");
pub(super) const SCRIPT: &str = include_str!("page/page.js");
pub(super) const STYLE: &str = include_str!("page/page.css");
const ICON: &str = include_str!("page/icon.svg");

pub(super) async fn html(headers: HeaderMap) -> Response {
    file(&headers, "text/html; charset=utf-8", HTML)
}

pub(super) async fn script(headers: HeaderMap) -> Response {
    file(&headers, "text/javascript; charset=utf-8", SCRIPT)
}

pub(super) async fn style(headers: HeaderMap) -> Response {
    file(&headers, "text/css; charset=utf-8", STYLE)
}

pub(super) async fn icon(headers: HeaderMap) -> Response {
    file(&headers, "image/svg+xml", ICON)
}

/// A browser asks each time whether a file changed, so that an upgrade needs no reload by hand.
fn file(headers: &HeaderMap, kind: &'static str, text: &'static str) -> Response {
    let tag = format!("\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..16]);
    let caching = [(CACHE_CONTROL, "no-cache".to_owned()), (ETAG, tag.clone())];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(CONTENT_TYPE, kind)], text).into_response()
}
