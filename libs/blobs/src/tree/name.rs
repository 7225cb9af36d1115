//! Names and relative paths that may stand in a tree.

use std::fmt;

/// Bytes of the longest name that file systems take.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of the longest path, well within Linux' `PATH_MAX`.
pub(super) const PATH_BYTES_MAX: usize = 3_000;

/// Why a name or path was refused. Texts are shown escaped and shortened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("`{0}` is absolute; write a path relative to the working directory")]
    Absolute(String),
    #[error("`{0}` leaves its directory by `..`")]
    Climbs(String),
    #[error("`{0}` holds a NUL byte")]
    Nul(String),
    #[error("`{0}` is not a file name")]
    NotAName(String),
    #[error("the name `{0}` is not valid UTF-8; rename the file")]
    NotUtf8(String),
    #[error("`{0}…` is too long")]
    TooLong(String),
}

pub(crate) fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_default).collect()
}

/// Checks one name: not empty, `.` or `..`, at most 255 bytes, neither `/` nor NUL in it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.contains('\0') {
        return Err(NameError::Nul(shown(name)));
    }
    if name == ".." {
        return Err(NameError::Climbs(shown(name)));
    }
    if name.is_empty() || name == "." || name.contains('/') {
        return Err(NameError::NotAName(shown(name)));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(shown(name)));
    }
    Ok(())
}

/// A path below some directory, each part of which is a checked name. Empty: the directory itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(String);

impl RelPath {
    /// Checks a path that a person or program wrote. A leading `./`, single `.` parts and a trailing `/`
    /// are dropped; absolute paths, `..` and NUL are refused. Nothing is percent-decoded.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.starts_with('/') {
            return Err(NameError::Absolute(shown(text)));
        }
        let mut path = Self::default();
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            match check_name(part) {
                Ok(()) => path = path.join(part)?,
                Err(NameError::Climbs(_)) => return Err(NameError::Climbs(shown(text))),
                Err(NameError::Nul(_)) => return Err(NameError::Nul(shown(text))),
                Err(other) => return Err(other),
            }
        }
        Ok(path)
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &str) -> Result<Self, NameError> {
        check_name(name)?;
        if self.0.len() + 1 + name.len() > PATH_BYTES_MAX {
            return Err(NameError::TooLong(shown(&self.0)));
        }
        Ok(Self(if self.0.is_empty() { name.to_owned() } else { format!("{}/{name}", self.0) }))
    }

    /// The path as text, without a leading or trailing `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Whether it names the directory itself.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Its names, from the top.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }
    /// The directory it lies in, and its last name; `None` for the directory itself.
    pub fn split(&self) -> Option<(RelPath, &str)> {
        match self.0.rsplit_once('/') {
            _ if self.0.is_empty() => None,
            None => Some((Self::default(), &self.0)),
            Some((dir, name)) => Some((Self(dir.to_owned()), name)),
        }
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.0.is_empty() { "." } else { &self.0 })
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_paths_that_leave_are_refused() {
        for (bad, why) in [
            ("/etc/passwd", "absolute"),
            ("//x", "absolute"),
            ("../x", "`..`"),
            ("a/../../x", "`..`"),
            ("a/..", "`..`"),
            ("a\0b", "NUL"),
            ("a/b\0", "NUL"),
        ] {
            let error = RelPath::parse(bad).expect_err(bad).to_string();
            assert!(error.contains(why), "{bad:?}: {error}");
            assert!(!error.contains('\0'));
        }
        assert!(RelPath::parse(&"x".repeat(256)).is_err());
        assert!(RelPath::parse(&"x/".repeat(2_000)).is_err());
    }

    #[test]
    fn a10_what_looks_encoded_is_just_a_name() {
        // Decoding is the caller's, once; here `%2e%2e` and backslashes are characters of a name.
        for odd in ["%2e%2e", "%252e%252e/x", "..\\..\\x", "...", "a;b"] {
            let path = RelPath::parse(odd).expect(odd);
            assert!(path.names().all(|name| name != ".."));
        }
    }

    #[test]
    fn paths_are_normalised() {
        for (text, path) in [("./out/", "out"), ("a//b/./c", "a/b/c"), (".", ""), ("", "")] {
            assert_eq!(RelPath::parse(text).expect(text).as_str(), path);
        }
    }
}
