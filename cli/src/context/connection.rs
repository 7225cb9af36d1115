//! Which coordinators to call, whom to trust, and with what token.

use std::fmt;
use std::path::Path;

use runyard_transport::token::UserToken;
use runyard_transport::{Contexts, CredentialsFile, certificate_from_pem};
use runyard_types::Name;
use rustls::pki_types::CertificateDer;

use super::{Config, Paths};
use crate::app::Global;
use crate::errors::{Context as _, Error, Kind, Result};
use crate::files;

/// A cluster to call.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) addresses: Vec<String>,
    /// The CA that the coordinators' certificates must come from.
    pub(crate) ca: CertificateDer<'static>,
    pub(crate) token: Option<UserToken>,
    /// Where this came from, for people.
    pub(crate) origin: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("addresses", &self.addresses)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Flag > environment > files.
    ///
    /// A context's token goes to that context's addresses and nowhere else: an address that came
    /// from a flag, the environment or a repository's file must not receive it. Nor does a token that
    /// the user gives by a flag or the environment go where a folder's file points.
    pub(crate) fn resolve(
        global: &Global,
        config: &Config,
        paths: &Paths,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let stored = stored(global, config, paths, &var)?;
        let folders = stored.as_ref().is_some_and(|(_, _, folders)| *folders);
        let stored = stored.map(|(credentials, origin, _)| (credentials, origin));
        let address = global.address.clone().or_else(|| var("RUNYARD_ADDRESS"));
        let ca = match global.ca.clone().or_else(|| var("RUNYARD_CA").map(Into::into)) {
            Some(path) => Some(read_ca(&path)?),
            None => None,
        };
        let folders = folders && address.is_none();
        let mut connection = match (address, stored) {
            (None, None) => {
                return Err(Error::usage("no cluster to talk to").help(
                    "start one with `runyard dev`, or log in with `runyard login HOST:PORT`",
                ));
            }
            (None, Some((credentials, origin))) => Self::of(credentials, origin, ca),
            (Some(address), stored) => {
                let addresses = split_addresses(&address)?;
                match (stored, ca) {
                    (Some((stored, origin)), ca)
                        if addresses.iter().all(|a| stored.addresses.contains(a)) =>
                    {
                        Self { addresses, ..Self::of(stored, origin, ca) }
                    }
                    (_, Some(ca)) => {
                        let origin = "--address or RUNYARD_ADDRESS".to_owned();
                        Self { addresses, ca, token: None, origin }
                    }
                    (_, None) => {
                        return Err(Error::usage(format!("no CA to trust for {address}")).help(
                            "give the group's CA with --ca FILE or RUNYARD_CA, or log in with `runyard login`",
                        ));
                    }
                }
            }
        };
        if folders {
            connection.keep_own_token(global, &var)?;
        } else if let Some(path) = &global.token_file {
            connection.token = Some(read_token(&files::read_secret(path)?)?);
        } else if let Some(token) = var("RUNYARD_TOKEN") {
            connection.token = Some(read_token(&token)?);
        }
        Ok(connection)
    }

    /// A folder named this cluster: it gets the token that its own file holds, never another.
    fn keep_own_token(&self, global: &Global, var: &impl Fn(&str) -> Option<String>) -> Result<()> {
        let given = match (&global.token_file, var("RUNYARD_TOKEN")) {
            (Some(_), _) => "--token-file",
            // `runyard dev` in a shell that has a token of another cluster: each keeps to its own.
            (None, Some(_)) if self.token.is_none() => "RUNYARD_TOKEN",
            _ => return Ok(()),
        };
        Err(Error::new(
            Kind::Auth,
            format!(
                "the token of {given} is not sent to {}, which {} of this folder names",
                self.addresses.join(", "),
                self.origin
            ),
        )
        .help("a folder's .runyard/config.toml may name one of your contexts (`context = …`), but not an address for your token; choose with --context NAME, or --address and --ca"))
    }

    fn of(stored: CredentialsFile, origin: String, ca: Option<CertificateDer<'static>>) -> Self {
        let CredentialsFile { addresses, ca: stored_ca, token } = stored;
        Self { addresses, ca: ca.unwrap_or(stored_ca), token, origin }
    }
}

/// A token as it was given out; the error does not show it.
pub(crate) fn read_token(text: &str) -> Result<UserToken> {
    text.trim().parse().context(Kind::Auth, || "this is not a user's token".into())
}

/// A CA's certificate from a PEM file.
pub(crate) fn read_ca(path: &Path) -> Result<CertificateDer<'static>> {
    certificate_from_pem(&files::read_text(path)?)
        .context(Kind::Usage, || format!("`{}` holds no CA certificate", path.display()))
}

/// The context or credentials file in use, if any; whether a folder's file named the cluster itself.
fn stored(
    global: &Global,
    config: &Config,
    paths: &Paths,
    var: &impl Fn(&str) -> Option<String>,
) -> Result<Option<(CredentialsFile, String, bool)>> {
    let contexts = Contexts::at(&paths.config);
    let named = global.context.clone().or_else(|| var("RUNYARD_CONTEXT"));
    let name = match (named, &config.credentials) {
        (Some(name), _) => name,
        (None, Some(file)) => {
            let origin = format!("`{}`", file.display());
            return Ok(Some((CredentialsFile::load(file)?, origin, config.credentials_of_folder)));
        }
        (None, None) => match (&config.context, contexts.current()?) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name.to_string(),
            (None, None) => return Ok(None),
        },
    };
    let name = Name::new(&name).map_err(|error| Error::usage(format!("context: {error}")))?;
    Ok(Some((contexts.load(&name)?, format!("context `{name}`"), false)))
}

impl From<runyard_transport::contexts::ContextError> for Error {
    fn from(error: runyard_transport::contexts::ContextError) -> Self {
        use runyard_transport::contexts::ContextError as E;
        let kind = match &error {
            E::Unknown { .. } => Kind::NotFound,
            E::File(_) | E::Token { .. } => Kind::Auth,
            _ => Kind::Usage,
        };
        let message = error.to_string();
        Self::new(kind, message).because(error)
    }
}

/// `a:1,b:2`: each a host and a port.
pub(crate) fn split_addresses(text: &str) -> Result<Vec<String>> {
    text.split(',')
        .map(|address| {
            let address = address.trim().trim_start_matches("https://").trim_end_matches('/');
            let sound = address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok()
            });
            match sound {
                true => Ok(address.to_owned()),
                false => Err(Error::usage(format!("`{address}` is not an address"))
                    .help("write HOST:PORT, e.g. trainer.example.org:7443")),
            }
        })
        .collect()
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
