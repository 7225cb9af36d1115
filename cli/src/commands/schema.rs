//! `runyard schema`: the JSON Schema of the pipeline file.

use crate::context::Env;
use crate::errors::{Exit, Result};

/// Flags of `schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does what the verb says.
pub(crate) async fn run(_args: Args, env: &Env) -> Result<Exit> {
    let schema = runyard_pipeline::schema();
    env.printer.data(format!("{schema:#}\n").as_bytes())?;
    Ok(Exit::OK)
}
