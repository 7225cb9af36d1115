//! The bytes of persisted messages: MessagePack with field names, so that a reader one version behind
//! skips fields it does not know and fills fields it misses with their defaults.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are not the expected message.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode {what}")]
pub struct DecodeError {
    what: &'static str,
    #[source]
    source: rmp_serde::decode::Error,
}

/// Encodes a persisted message.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value)
        .expect("persisted messages hold only strings, numbers, lists and maps with string keys")
}

/// Decodes what [`encode`] wrote; `what` names it in the error.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    rmp_serde::from_slice(bytes).map_err(|source| DecodeError { what, source })
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize)]
    struct Newer {
        kept: u32,
        added: String,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Older {
        kept: u32,
        #[serde(default)]
        missing: Option<bool>,
    }

    #[test]
    fn a_reader_one_version_behind_understands() {
        let bytes = encode(&Newer { kept: 7, added: "new".into() });
        assert_eq!(
            decode::<Older>("a test", &bytes).expect("decodes"),
            Older { kept: 7, missing: None }
        );
        assert!(decode::<Older>("a test", b"nonsense").is_err());
    }
}
