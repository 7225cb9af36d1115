//! `host`, `host:port`, `[::1]:port`.

use std::fmt;

use super::{DEFAULT_PORT, DialError};

/// Where to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Parses an address; a leading `https://` and a trailing `/` are taken off, because people
    /// paste what the browser shows.
    pub(super) fn parse(text: &str) -> Result<Self, DialError> {
        let bad = |reason| DialError::Address {
            address: text.chars().take(120).flat_map(char::escape_default).collect(),
            reason,
        };
        let bare = text.trim();
        let bare = bare.strip_prefix("https://").unwrap_or(bare);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        if bare.contains("://") {
            return Err(bad("only https is spoken"));
        }
        let authority: http::uri::Authority =
            bare.parse().map_err(|_| bad("write it as host or host:port"))?;
        if authority.as_str().contains('@') {
            return Err(bad("an address holds no user or token"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port_text = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match port_text.strip_prefix(':') {
            None => DEFAULT_PORT,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| bad("the port is a number from 1 to 65535"))?,
        };
        if host.is_empty() {
            return Err(bad("write it as host or host:port"));
        }
        Ok(Self { host: host.into(), port })
    }

    pub(super) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, shown) in [
            ("ci", "ci:7443"),
            ("ci.example.org:9", "ci.example.org:9"),
            (" 10.0.0.7:7443\n", "10.0.0.7:7443"),
            ("[::1]", "[::1]:7443"),
            ("[fd00::7]:80", "[fd00::7]:80"),
            ("https://ci.example.org:7443/", "ci.example.org:7443"),
        ] {
            assert_eq!(Address::parse(text).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn a41_bad_addresses_are_refused_with_the_reason() {
        for bad in [
            "",
            "a b",
            "ci:0",
            "ci:99999",
            "ci:x",
            "ci:",
            ":7443",
            "http://ci",
            "ftp://ci:1",
            "token@ci:7443",
            "ci:1/path",
            "::1",
        ] {
            assert!(matches!(Address::parse(bad), Err(DialError::Address { .. })), "{bad}");
        }
    }
}
