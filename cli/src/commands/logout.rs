//! `runyard logout`: forget a context and its token.

use runyard_transport::Contexts;
use runyard_types::Name;

use crate::context::Env;
use crate::errors::{Context as _, Error, Exit, Kind, Result};

/// Flags of `logout`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The context; the current one, if not given
    name: Option<String>,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let contexts = Contexts::at(&env.paths.config);
    let current = contexts.current()?;
    let name = match args.name {
        Some(name) => Name::new(&name).map_err(|error| Error::usage(error.to_string()))?,
        None => current.clone().ok_or_else(|| Error::not_found("you are not logged in"))?,
    };
    fs_err::remove_file(contexts.path(&name))
        .context(Kind::NotFound, || format!("there is no context `{name}`"))?;
    if current.as_ref() == Some(&name) {
        let file = env.paths.config.join("current");
        fs_err::remove_file(file)
            .context(Kind::Failed, || "cannot forget the current context".into())?;
    }
    env.printer
        .note(&format!("forgot context `{name}`; its token stays valid until it is revoked"));
    env.printer.answer(&serde_json::json!({ "context": name.to_string(), "forgotten": true }))?;
    env.printer.next("runyard context ls");
    Ok(Exit::OK)
}
