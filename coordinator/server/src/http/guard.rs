//! Who may talk to the page at all: the right host, the right origin, no frames, no sniffing.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer;
use crate::core::Core;

/// Only our own files, only from here, no frame around them, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// Puts the protective headers on every answer, errors included.
pub(super) async fn headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        let name = HeaderName::from_static(name);
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Refuses requests that a foreign page made a browser send.
///
/// A request with a bearer token is let through: no browser adds one by itself, so whoever sends it knows it.
pub(super) async fn check(State(core): State<Core>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(AUTHORIZATION)
        && let Err(refused) =
            judge(&core.group.addresses, request.method(), request.uri(), request.headers())
    {
        return answer::error(StatusCode::FORBIDDEN, "foreign_request", &refused).into_response();
    }
    next.run(request).await
}

/// Why a request is not from our page: DNS rebinding shows in the host, a forged request in the origin.
fn judge(
    addresses: &[String],
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), String> {
    let host = authority(uri, headers).ok_or("the request names no host, or two")?;
    if !is_ours(addresses, &host) {
        return Err(format!(
            "this coordinator is not known as {host:?}; use one of its addresses, or name this host with `--host`"
        ));
    }
    let value = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match value(ORIGIN) {
        Some(origin) if origin.eq_ignore_ascii_case(&format!("https://{host}")) => Ok(()),
        Some(origin) => Err(format!("requests from pages of {origin:?} are refused")),
        None if method == Method::GET || method == Method::HEAD => {
            match value(HeaderName::from_static("sec-fetch-site")) {
                // Typed addresses and links lead to the page; everything else must come from it.
                None | Some("same-origin" | "none") => Ok(()),
                Some(_) if uri.path() == "/" => Ok(()),
                Some(site) => Err(format!("a {site} page asked for this")),
            }
        }
        None => Err("a request that changes something must name its origin".to_owned()),
    }
}

/// The host that the client asked for: HTTP/2 puts it into the URI, HTTP/1 into a header.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut named = headers.get_all(HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return None;
    }
    let header = header.map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
    let line = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    match (header, line) {
        (Some(header), Some(line)) if header != line => None,
        (header, line) => line.or(header).filter(|host| !host.is_empty()),
    }
}

/// Names are ours if the group goes by them. Addresses are always: rebinding needs a name.
fn is_ours(addresses: &[String], host: &str) -> bool {
    let name = without_port(host);
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || literal.parse::<std::net::IpAddr>().is_ok()
        || addresses.iter().any(|own| without_port(own).eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, uri: &str, pairs: &[(&str, &str)]) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let own = ["gpu.example:7443".to_owned()];
        judge(&own, &method.parse().expect("a method"), &uri.parse().expect("a uri"), &headers)
    }

    #[test]
    fn a34_only_our_own_hosts_are_served() {
        for host in [
            "gpu.example:7443",
            "GPU.example",
            "gpu.example:9",
            "localhost:7443",
            "127.0.0.1:7443",
            "[::1]:7443",
            "[::1]",
        ] {
            assert_eq!(ask("GET", "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "gpu.example.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:7443",
            "",
            "x@gpu.example",
        ] {
            let refused = ask("GET", "/", &[("host", host)]).expect_err(host);
            assert!(refused.contains("host") || refused.contains("not known as"), "{refused}");
        }
        assert!(ask("GET", "/", &[]).is_err(), "no host at all");
        assert!(
            ask("GET", "/", &[("host", "localhost"), ("host", "evil.example")]).is_err(),
            "two hosts"
        );
        assert!(
            ask("GET", "https://evil.example/", &[("host", "localhost")]).is_err(),
            "they differ"
        );
        assert_eq!(
            ask("GET", "https://gpu.example:7443/api/v1/runs", &[]),
            Ok(()),
            "as HTTP/2 sends it"
        );
    }

    #[test]
    fn a34_foreign_origins_are_refused() {
        let host = ("host", "gpu.example:7443");
        let ours = ("origin", "https://gpu.example:7443");
        assert_eq!(ask("POST", "/login", &[host, ours]), Ok(()));
        assert_eq!(ask("GET", "/api/v1/runs", &[host, ours]), Ok(()));
        for origin in [
            "https://evil.example",
            "null",
            "http://gpu.example:7443",
            "https://gpu.example",
            "https://gpu.example:7443.evil.example",
        ] {
            for method in ["GET", "POST"] {
                assert!(
                    ask(method, "/login", &[host, ("origin", origin)]).is_err(),
                    "{method} {origin}"
                );
            }
        }
        assert!(ask("POST", "/login", &[host]).is_err(), "a form of a foreign page may send none");
    }

    #[test]
    fn a34_foreign_pages_cannot_embed_answers_but_may_link_to_the_page() {
        let with = |uri: &str, site: &str| {
            ask("GET", uri, &[("host", "localhost"), ("sec-fetch-site", site)])
        };
        assert_eq!(with("/", "cross-site"), Ok(()), "a link in a chat");
        assert_eq!(with("/api/v1/runs", "same-origin"), Ok(()));
        assert_eq!(with("/api/v1/runs", "none"), Ok(()), "typed");
        for site in ["cross-site", "same-site"] {
            assert!(with("/api/v1/runs", site).is_err(), "{site}");
        }
    }
}
