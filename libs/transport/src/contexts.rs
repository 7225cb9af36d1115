//! Where the command line keeps what it knows of each group: addresses, CA, token.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use runyard_types::{IdError, Name};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::token::{TokenError, UserToken};
use crate::{PemError, SecretFileError, certificate_from_pem, read_secret, write_secret};

/// Why a context was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is no such context.
    #[error("there is no context `{name}` in `{}`; `runyard login` makes one", folder.display())]
    Unknown { name: Name, folder: PathBuf },
    /// The folder for settings is unknown.
    #[error("neither XDG_CONFIG_HOME nor HOME is set, so there is no folder for contexts")]
    NoHome,
    /// The file could not be read or written, or is too open.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file is not one of ours.
    #[error("`{path}` is not a context file; run `runyard login` again")]
    Malformed {
        path: String,
        #[source]
        source: toml::de::Error,
    },
    /// The CA in the file is damaged.
    #[error("`{path}` holds a damaged CA; run `runyard login` again")]
    Ca {
        path: String,
        #[source]
        source: PemError,
    },
    /// The token in the file is damaged.
    #[error("`{path}` holds a damaged token; run `runyard login` again")]
    Token {
        path: String,
        #[source]
        source: TokenError,
    },
    /// The name of the current context is not a name.
    #[error("the current context has no valid name; run `runyard context use NAME`")]
    Current(#[source] IdError),
}

/// What the command line needs to call one group.
#[derive(Clone)]
pub struct CredentialsFile {
    /// All coordinators, `host:port`.
    pub addresses: Vec<String>,
    /// The group's CA.
    pub ca: CertificateDer<'static>,
    /// Absent before `login`.
    pub token: Option<UserToken>,
}

impl fmt::Debug for CredentialsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsFile")
            .field("addresses", &self.addresses)
            .field("token", &self.token.as_ref().map(|token| &token.id))
            .finish_non_exhaustive()
    }
}

/// The file's form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    addresses: Vec<String>,
    ca: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl CredentialsFile {
    /// Reads a context's file, unless others can read it, too.
    pub fn load(path: &Path) -> Result<Self, ContextError> {
        let shown = || path.display().to_string();
        let stored: Stored = toml::from_str(&read_secret(path)?).map_err(|mut source| {
            // The message would quote the line at fault, which may be the token's.
            source.set_input(None);
            ContextError::Malformed { path: shown(), source }
        })?;
        let ca = certificate_from_pem(&stored.ca)
            .map_err(|source| ContextError::Ca { path: shown(), source })?;
        let token = stored
            .token
            .map(|text| text.parse())
            .transpose()
            .map_err(|source| ContextError::Token { path: shown(), source })?;
        Ok(Self { addresses: stored.addresses, ca, token })
    }

    /// Writes it with mode 0600.
    pub fn save(&self, path: &Path) -> Result<(), ContextError> {
        let stored = Stored {
            addresses: self.addresses.clone(),
            ca: crate::certificate_to_pem(&self.ca),
            token: self.token.as_ref().map(UserToken::expose),
        };
        let text = toml::to_string(&stored).expect("strings and lists have a TOML form");
        Ok(write_secret(path, &text)?)
    }
}

/// The folder of contexts: `contexts/NAME.toml`, and `current`, which holds a name.
#[derive(Debug, Clone)]
pub struct Contexts {
    folder: PathBuf,
}

impl Contexts {
    /// Contexts under `folder`.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Contexts of the user: `$XDG_CONFIG_HOME/runyard`, else `$HOME/.config/runyard`.
    pub fn of_user() -> Result<Self, ContextError> {
        Self::from_environment(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
    }

    fn from_environment(
        xdg: Option<OsString>,
        home: Option<OsString>,
    ) -> Result<Self, ContextError> {
        let absolute =
            |value: Option<OsString>| value.map(PathBuf::from).filter(|p| p.is_absolute());
        // The XDG specification has relative paths ignored.
        absolute(xdg)
            .or_else(|| absolute(home).map(|home| home.join(".config")))
            .map(|config| Self::at(config.join("runyard")))
            .ok_or(ContextError::NoHome)
    }

    /// The file of the context `name`.
    pub fn path(&self, name: &Name) -> PathBuf {
        self.folder.join("contexts").join(format!("{name}.toml"))
    }

    /// Reads the context `name`.
    pub fn load(&self, name: &Name) -> Result<CredentialsFile, ContextError> {
        let path = self.path(name);
        if !path.exists() {
            return Err(ContextError::Unknown { name: name.clone(), folder: self.folder.clone() });
        }
        CredentialsFile::load(&path)
    }

    /// Writes the context `name`.
    pub fn save(&self, name: &Name, credentials: &CredentialsFile) -> Result<(), ContextError> {
        credentials.save(&self.path(name))
    }

    /// The names of all contexts, sorted. Files with other names are passed over.
    pub fn list(&self) -> Result<Vec<Name>, ContextError> {
        let entries = match fs_err::read_dir(self.folder.join("contexts")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(SecretFileError::Io(error).into()),
        };
        let mut names: Vec<Name> = entries
            .filter_map(|entry| {
                let file = entry.ok()?.file_name();
                Name::new(file.to_str()?.strip_suffix(".toml")?).ok()
            })
            .collect();
        names.sort();
        Ok(names)
    }

    /// The context that is used where none is named; `None` before the first `login`.
    pub fn current(&self) -> Result<Option<Name>, ContextError> {
        match fs_err::read_to_string(self.folder.join("current")) {
            Ok(text) => Name::new(text.trim()).map(Some).map_err(ContextError::Current),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SecretFileError::Io(error).into()),
        }
    }

    /// Makes `name` the current context; it must exist.
    pub fn set_current(&self, name: &Name) -> Result<(), ContextError> {
        self.load(name)?;
        Ok(write_secret(&self.folder.join("current"), &format!("{name}\n"))?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::ca::Ca;

    fn credentials() -> CredentialsFile {
        let ca = Ca::create("test", SystemTime::now()).expect("a CA");
        CredentialsFile {
            addresses: vec!["a:7443".into(), "[::1]:7443".into()],
            ca: ca.certificate().clone(),
            token: Some(UserToken::generate()),
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn contexts_are_kept_listed_and_chosen() {
        let folder = tempfile::tempdir().expect("a folder");
        let contexts = Contexts::at(folder.path().join("runyard"));
        assert_eq!(contexts.current().expect("readable"), None);
        assert!(contexts.list().expect("readable").is_empty());
        let saved = credentials();
        contexts.save(&name("lab"), &saved).expect("saved");
        contexts
            .save(&name("dev"), &CredentialsFile { token: None, ..saved.clone() })
            .expect("saved");
        assert_eq!(contexts.list().expect("readable"), [name("dev"), name("lab")]);
        contexts.set_current(&name("lab")).expect("set");
        assert_eq!(contexts.current().expect("readable"), Some(name("lab")));

        let back = contexts.load(&name("lab")).expect("loaded");
        assert_eq!((back.addresses, back.ca), (saved.addresses, saved.ca));
        let hash = |token: Option<UserToken>| token.map(|token| token.hash());
        assert_eq!(hash(back.token), hash(saved.token));
        assert!(contexts.load(&name("dev")).expect("loaded").token.is_none());

        let unknown = contexts.set_current(&name("prod")).expect_err("unknown").to_string();
        assert!(unknown.contains("`prod`") && unknown.contains("runyard login"), "{unknown}");
    }

    #[test]
    fn a41_an_open_context_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let contexts = Contexts::at(folder.path());
        contexts.save(&name("lab"), &credentials()).expect("saved");
        let path = contexts.path(&name("lab"));
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("changed");
        let error = contexts.load(&name("lab")).expect_err("too open");
        assert!(error.to_string().contains("0640"), "{error}");
    }

    #[test]
    fn a41_errors_do_not_show_the_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lab.toml");
        let token = UserToken::generate().expose();
        let secret = &token[token.len() - 20..];
        for bad in [
            format!("token = \"{token}\nca = 1"),
            format!("addresses = []\nca = \"\"\ntoken = \"{token}\""),
            format!("tokn = \"{token}\""),
        ] {
            write_secret(&path, &bad).expect("written");
            let mut text = String::new();
            let error = CredentialsFile::load(&path).expect_err("malformed");
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                text.push_str(&format!("{error}\n"));
                cause = error.source();
            }
            assert!(!text.contains(secret), "{text}");
            assert!(text.contains("lab.toml"), "{text}");
        }
        let shown = format!("{:?}", credentials());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn the_folder_follows_the_environment() {
        let at = |xdg: Option<&str>, home: Option<&str>| {
            Contexts::from_environment(xdg.map(Into::into), home.map(Into::into))
                .map(|contexts| contexts.folder)
        };
        assert_eq!(at(Some("/c"), Some("/h")).expect("found"), Path::new("/c/runyard"));
        assert_eq!(at(None, Some("/h")).expect("found"), Path::new("/h/.config/runyard"));
        assert_eq!(at(Some("rel"), Some("/h")).expect("found"), Path::new("/h/.config/runyard"));
        assert!(matches!(at(None, None), Err(ContextError::NoHome)));
    }
}
