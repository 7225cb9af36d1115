//! `runyard demo`.

use crate::context::Env;
use crate::errors::{Error, Exit, Result};

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does what the verb says.
pub(crate) async fn run(_args: Args, _env: &Env) -> Result<Exit> {
    Err(Error::failed("`demo` is not part of this build"))
}
