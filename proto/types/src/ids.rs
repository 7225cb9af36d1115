//! Names that people choose and uids that the system gives.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{shown}` is not a {what}: use 1 to 63 of a-z, 0-9, '.', '_' and '-', the first and last a letter or digit"
)]
pub struct IdError {
    what: &'static str,
    /// The refused text, escaped and shortened.
    shown: String,
}

impl IdError {
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        let shown: String = text.chars().take(80).flat_map(char::escape_default).collect();
        Self { what, shown }
    }
}

fn is_name(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && !text.contains("..")
        && bytes.iter().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text`: `[a-z0-9._-]{1,63}`, first and last a letter or digit, no `..`.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(IdError::new($what, text)) }
            }
            /// The name as written.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(&*self.0, f) }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> { Self::new(text) }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str { &self.0 }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A name of anything that has no type of its own: an output, an input, a parameter's matrix axis.
    Name, "name"
);
name!(
    /// A project; every entity key begins with one.
    ProjectName, "project name"
);
name!(
    /// A pipeline, as its file names it.
    PipelineName, "pipeline name"
);
name!(
    /// A stage of a pipeline.
    StageName, "stage name"
);
name!(
    /// A host with an agent.
    NodeName, "node name"
);
name!(
    /// A registered model.
    ModelName, "model name"
);
name!(
    /// A movable pointer to a model version.
    AliasName, "alias"
);
name!(
    /// A served model.
    DeploymentName, "deployment name"
);

impl ProjectName {
    /// The project used where none is named.
    pub fn default_project() -> Self {
        Self("default".into())
    }
}

/// The id of an entity that never changes, given by whoever proposes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub ulid::Ulid);

impl Uid {
    /// Parses the 26 characters of a ULID.
    pub fn parse(text: &str) -> Option<Self> {
        ulid::Ulid::from_string(text).ok().map(Self)
    }
    /// The instant that the ULID carries, in milliseconds since 1970 UTC.
    pub fn timestamp_ms(self) -> u64 {
        self.0.timestamp_ms()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_names_that_look_alike_or_climb_are_refused() {
        let long = "x".repeat(64);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "A",
            "a\u{202e}b",
            "é",
            "-a",
            "a-",
            "a..b",
            "a\0",
            "ａ",
            "a\u{200b}",
            &long,
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "train", "lr-1e.3", "x_1", &"x".repeat(63)] {
            assert!(Name::new(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_refusal_shows_control_characters_escaped() {
        let text = Name::new("a\u{1b}[31m").unwrap_err().to_string();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
