//! How the command line finds the cluster: `.runyard/config.toml` here, and a context `dev` anywhere.

use std::path::Path;

use runyard_transport::{Contexts, CredentialsFile};
use runyard_types::Name;

use super::handle::Handle;
use crate::context::Env;
use crate::errors::{Context as _, Kind, Result};

/// The first line of a file that is ours to replace.
const OURS: &str = "# Written by `runyard dev`.";

/// Points verbs that are run below the working directory at the cluster.
pub(super) async fn write(handle: &Handle, env: &Env) -> Result<()> {
    let credentials = handle.with(|cluster| cluster.layout().credentials()).await?;
    let folder = Path::new(".runyard");
    let failed = || "cannot write `.runyard/config.toml`".to_owned();
    fs_err::create_dir_all(folder).context(Kind::Failed, failed)?;
    // Nothing below belongs into a repository.
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        fs_err::write(&ignore, "*\n").context(Kind::Failed, failed)?;
    }
    let config = folder.join("config.toml");
    let text = toml::to_string(&toml::Table::from_iter([(
        "credentials".to_owned(),
        toml::Value::String(credentials.display().to_string()),
    )]))
    .context(Kind::Internal, failed)?;
    match fs_err::read_to_string(&config) {
        Ok(there) if !there.starts_with(OURS) => {
            env.printer.warn(
                "`.runyard/config.toml` is yours and stays as it is; \
                 use `--context dev` to talk to this cluster",
            );
        }
        _ => fs_err::write(&config, format!("{OURS}\n{text}")).context(Kind::Failed, failed)?,
    }
    let name = Name::new("dev").context(Kind::Internal, || "the context's name".into())?;
    let context =
        Contexts::at(&env.paths.config).save(&name, &CredentialsFile::load(&credentials)?);
    if let Err(error) = context {
        // A read-only home takes nothing from those who work here.
        env.printer.warn(&format!("warning: no context `dev` could be written: {error}"));
    }
    Ok(())
}
