//! Warm-up requests: what a replica must answer before a user's request reaches it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

/// A line of the warm-up can't be used.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the warm-up: {problem}")]
pub(crate) struct WarmUpError {
    line: usize,
    problem: String,
}

#[derive(Debug, PartialEq)]
pub(crate) struct WarmUp {
    pub(crate) method: Method,
    /// Begins with a slash.
    pub(crate) path: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// `None`: any 2xx.
    pub(crate) expect_status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    method: Option<String>,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<serde_json::Value>,
    expect_status: Option<u16>,
}

/// Reads JSON lines; blank ones are passed over.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<WarmUp>, WarmUpError> {
    let lines = bytes.split(|&b| b == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(at, line)| parse_line(line).map_err(|problem| WarmUpError { line: at + 1, problem }))
        .collect()
}

fn parse_line(line: &[u8]) -> Result<WarmUp, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if !line.path.starts_with('/') {
        return Err(format!("`path` must begin with `/`, not `{}`", line.path));
    }
    let default = if line.body.is_some() { Method::POST } else { Method::GET };
    let method = match line.method {
        None => default,
        Some(text) => text.parse().map_err(|_| format!("`{text}` is not an HTTP method"))?,
    };
    let mut headers = Vec::new();
    for (name, value) in line.headers {
        let parsed = (name.parse(), HeaderValue::from_str(&value));
        let (Ok(name), Ok(value)) = parsed else {
            return Err(format!("`{name}: {value}` is not a header"));
        };
        headers.push((name, value));
    }
    let body = match line.body {
        None => Bytes::new(),
        Some(serde_json::Value::String(text)) => text.into(),
        Some(json) => {
            if !headers.iter().any(|(name, _)| *name == http::header::CONTENT_TYPE) {
                let json = HeaderValue::from_static("application/json");
                headers.push((http::header::CONTENT_TYPE, json));
            }
            json.to_string().into()
        }
    };
    Ok(WarmUp { method, path: line.path, headers, body, expect_status: line.expect_status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_requests() {
        let text = br#"{"path":"/predict","body":{"x":[1,2]},"expect_status":200}

{"method":"PUT","path":"/raw","headers":{"content-type":"text/csv"},"body":"1,2\n"}
{"path":"/health"}"#;
        let all = parse(text).expect("three requests");
        assert_eq!(all.len(), 3);
        assert_eq!((&all[0].method, &all[0].body[..]), (&Method::POST, &b"{\"x\":[1,2]}"[..]));
        assert_eq!(all[0].headers[0].1, "application/json");
        assert_eq!((&all[1].method, &all[1].body[..]), (&Method::PUT, &b"1,2\n"[..]));
        assert_eq!((&all[2].method, all[2].expect_status), (&Method::GET, None));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, says) in [
            ("{\"path\":\"/\"}\n{", "line 2"),
            ("{\"path\":\"x\"}", "begin with `/`"),
            ("{\"path\":\"/\",\"method\":\"a b\"}", "not an HTTP method"),
            ("{\"path\":\"/\",\"headers\":{\"a b\":\"c\"}}", "not a header"),
            ("{\"path\":\"/\",\"bdy\":1}", "unknown field"),
        ] {
            let error = parse(text.as_bytes()).expect_err("bad").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
