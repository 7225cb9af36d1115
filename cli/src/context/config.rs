//! The configuration files.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Paths;
use crate::errors::{Context as _, Error, Kind, Result};

/// `config.toml`, the user's or a folder's `.runyard/config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The context to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) color: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<String>,
    /// A credentials file beside this one, in place of a context (as `runyard dev` writes it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) credentials: Option<PathBuf>,
    /// Whether `credentials` was named by a folder's file, which may be anybody's: a repository that
    /// was cloned has one as it likes. What is the user's own must not go where it points.
    #[serde(skip)]
    pub(crate) credentials_of_folder: bool,
}

impl Config {
    /// The nearest folder's file over the user's.
    pub(crate) fn load(paths: &Paths) -> Result<Self> {
        let user = Self::read(&paths.config.join("config.toml"))?;
        match &paths.local {
            Some(local) => {
                let folder = Self::read(&local.join("config.toml"))?;
                let credentials_of_folder = folder.credentials.is_some();
                Ok(Self { credentials_of_folder, ..folder }.over(user))
            }
            None => Ok(user),
        }
    }

    /// Reads one file; a missing one is empty.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = match fs_err::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(
                    Error::usage(format!("cannot read `{}`", path.display())).because(error)
                );
            }
        };
        let mut config: Self = toml::from_str(&text)
            .context(Kind::Usage, || format!("`{}` is not a configuration", path.display()))?;
        if let (Some(file), Some(folder)) = (&config.credentials, path.parent()) {
            config.credentials = Some(folder.join(file));
        }
        Ok(config)
    }

    /// A context or credentials file named here hides both of the other's: they belong together.
    fn over(self, below: Self) -> Self {
        let own_cluster = self.context.is_some() || self.credentials.is_some();
        let (context, credentials, credentials_of_folder) = match own_cluster {
            true => (self.context, self.credentials, self.credentials_of_folder),
            false => (below.context, below.credentials, below.credentials_of_folder),
        };
        Self {
            context,
            credentials,
            credentials_of_folder,
            project: self.project.or(below.project),
            color: self.color.or(below.color),
            progress: self.progress.or(below.progress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(dir: &Path) -> Paths {
        Paths { config: dir.join("user"), cache: dir.join("cache"), local: Some(dir.join("local")) }
    }

    fn write(path: PathBuf, text: &str) {
        fs_err::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
        fs_err::write(path, text).expect("write");
    }

    #[test]
    fn the_folder_goes_before_the_user() {
        let dir = tempfile::tempdir().expect("tempdir");
        write(
            dir.path().join("user/config.toml"),
            "context = 'prod'\nproject = 'a'\ncolor = 'never'",
        );
        write(dir.path().join("local/config.toml"), "credentials = 'dev.toml'\nproject = 'b'");
        let config = Config::load(&paths(dir.path())).expect("reads");
        assert_eq!(config.project.as_deref(), Some("b"));
        assert_eq!(config.color.as_deref(), Some("never"));
        assert_eq!(config.credentials, Some(dir.path().join("local/dev.toml")));
        assert_eq!(config.context, None, "the folder's cluster hides the user's context");
        assert!(config.credentials_of_folder);
        write(dir.path().join("local/config.toml"), "project = 'b'");
        write(dir.path().join("user/config.toml"), "credentials = 'mine.toml'");
        let config = Config::load(&paths(dir.path())).expect("reads");
        assert!(config.credentials.is_some() && !config.credentials_of_folder);
    }

    #[test]
    fn unknown_keys_are_errors_that_name_the_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        write(dir.path().join("local/config.toml"), "kontext = 'x'");
        let error = Config::load(&paths(dir.path())).expect_err("is refused");
        assert_eq!(error.kind, Kind::Usage);
        let text = error.render();
        assert!(text.contains("local/config.toml") && text.contains("kontext"), "{text}");
    }
}
