//! Headers that end at the gateway, and those it adds.

use std::net::SocketAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const REVISION: HeaderName = HeaderName::from_static("x-runyard-revision");
pub(crate) const ERROR: HeaderName = HeaderName::from_static("x-runyard-error");
pub(crate) const PROJECT: HeaderName = HeaderName::from_static("x-runyard-project");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// A longer request id is replaced.
const REQUEST_ID_MAX: usize = 128;

/// Whether the message asks for, or grants, another protocol on the connection.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE) && connection_options(headers).any(|o| o == "upgrade")
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|option| option.trim().to_ascii_lowercase())
}

/// Removes what belongs to one connection (RFC 9110 §7.6.1), apart from a wanted upgrade. `TE:
/// trailers` stays, without which gRPC servers refuse.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    let upgrade = headers.get(header::UPGRADE).filter(|_| keep_upgrade).cloned();
    let named: Vec<String> = connection_options(headers).collect();
    for name in named {
        headers.remove(name.as_str());
    }
    for name in [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    if headers.get(header::TE).is_some_and(|te| te != "trailers") {
        headers.remove(header::TE);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Says where the request came from and under which address.
pub(crate) fn add_forwarded(
    headers: &mut HeaderMap,
    peer: SocketAddr,
    host: Option<&str>,
    deployment: &str,
) {
    let peer = peer.ip().to_canonical().to_string();
    let before = headers.get(&FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let path = before.map_or(peer.clone(), |before| format!("{before}, {peer}"));
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(FORWARDED_FOR, &path);
    set(FORWARDED_PROTO, "http");
    set(FORWARDED_PREFIX, &format!("/{deployment}"));
    if let Some(host) = host {
        set(FORWARDED_HOST, host);
    }
}

/// The caller's request id if it is short and printable, else a fresh one.
pub(crate) fn request_id(headers: &HeaderMap, fresh: impl FnOnce() -> u64) -> HeaderValue {
    let given = headers.get(&REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&format!("{:016x}", fresh())).expect("hexadecimal digits")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let all = all
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        all.collect()
    }

    #[test]
    fn what_belongs_to_the_connection_stops_here() {
        let mut all = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
        ]);
        assert!(!is_upgrade(&all));
        strip_hop_by_hop(&mut all, false);
        assert_eq!(all, headers(&[("te", "trailers"), ("accept", "*/*")]));
    }

    #[test]
    fn a_wanted_upgrade_goes_on() {
        let mut all = headers(&[("connection", "Keep-Alive, Upgrade"), ("upgrade", "websocket")]);
        assert!(is_upgrade(&all));
        strip_hop_by_hop(&mut all, true);
        assert_eq!(all, headers(&[("connection", "upgrade"), ("upgrade", "websocket")]));
    }

    #[test]
    fn the_way_here_is_told() {
        let mut all = headers(&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "ftp")]);
        let peer = "[::ffff:10.0.0.2]:99".parse().expect("an address");
        add_forwarded(&mut all, peer, Some("models.example"), "digits");
        assert_eq!(all["x-forwarded-for"], "10.0.0.1, 10.0.0.2");
        assert_eq!(all["x-forwarded-proto"], "http");
        assert_eq!(all["x-forwarded-prefix"], "/digits");
        assert_eq!(all["x-forwarded-host"], "models.example");
    }

    #[test]
    fn a_strange_request_id_is_replaced() {
        assert_eq!(request_id(&headers(&[("x-request-id", "abc-1")]), || 7), "abc-1");
        for strange in ["", "a b"] {
            assert_eq!(
                request_id(&headers(&[("x-request-id", strange)]), || 7),
                "0000000000000007"
            );
        }
    }
}
