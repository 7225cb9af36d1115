//! What an environment's content depends on.

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvironmentSpec {
    /// The bytes of the requirements (or lock) file.
    pub requirements: Vec<u8>,
    /// The version wanted, as `3.11`; `None`: the `python3` of the host.
    pub python: Option<String>,
    /// The package index; `None`: that of the host's configuration (`PIP_INDEX_URL`, pip.conf).
    pub index: Option<String>,
}

impl EnvironmentSpec {
    /// The content key: 32 hex digits over requirements, exact interpreter, index and platform.
    /// `interpreter` is its full version with its path; two interpreters never share one.
    pub(super) fn key(&self, interpreter: &str, host_index: &str) -> String {
        let mut hash = blake3::Hasher::new_derive_key("runyard environment key 1");
        let index = self.index.as_deref().unwrap_or(host_index);
        let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        let parts =
            [&self.requirements[..], interpreter.as_bytes(), index.as_bytes(), platform.as_bytes()];
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize().as_bytes()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let spec = |r: &str, i: Option<&str>| EnvironmentSpec {
            requirements: r.into(),
            python: None,
            index: i.map(Into::into),
        };
        let keys = [
            spec("a", None).key("3.11", ""),
            spec("b", None).key("3.11", ""),
            spec("a", None).key("3.12", ""),
            spec("a", Some("http://x")).key("3.11", ""),
            spec("a3", None).key(".11", ""),
            spec("a", None).key("3.11", "http://y"),
        ];
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(spec("a", Some("i")).key("3", "j"), spec("a", Some("i")).key("3", "k"));
    }
}
