//! Where this program's files are.

use std::path::{Path, PathBuf};

/// The folders of configuration and caches.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// `$XDG_CONFIG_HOME/runyard`.
    pub(crate) config: PathBuf,
    /// `$XDG_CACHE_HOME/runyard`.
    pub(crate) cache: PathBuf,
    /// `.runyard` of the working directory or the nearest folder above it that has one.
    pub(crate) local: Option<PathBuf>,
}

impl Paths {
    /// From HOME, the XDG variables and the working directory.
    pub(crate) fn from_environment() -> Self {
        let absolute = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let home = absolute("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let config = absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let cache = absolute("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let local = std::env::current_dir().ok().and_then(|dir| nearest(&dir));
        Self { config: config.join("runyard"), cache: cache.join("runyard"), local }
    }
}

/// The nearest `.runyard` with a config.toml; a repository's root ends the search.
fn nearest(dir: &Path) -> Option<PathBuf> {
    for folder in dir.ancestors() {
        let local = folder.join(".runyard");
        if local.join("config.toml").is_file() {
            return Some(local);
        }
        if folder.join(".git").exists() {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_at_the_repository() {
        let dir = tempfile::tempdir().expect("tempdir");
        let repo = dir.path().join("repo/src/deep");
        fs_err::create_dir_all(&repo).expect("mkdir");
        fs_err::create_dir_all(dir.path().join(".runyard")).expect("mkdir");
        fs_err::write(dir.path().join(".runyard/config.toml"), "").expect("write");
        assert_eq!(nearest(&repo), Some(dir.path().join(".runyard")));
        fs_err::create_dir_all(dir.path().join("repo/.git")).expect("mkdir");
        assert_eq!(nearest(&repo), None);
        fs_err::create_dir_all(dir.path().join("repo/.runyard")).expect("mkdir");
        fs_err::write(dir.path().join("repo/.runyard/config.toml"), "").expect("write");
        assert_eq!(nearest(&repo), Some(dir.path().join("repo/.runyard")));
    }
}
