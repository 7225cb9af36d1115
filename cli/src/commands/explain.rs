//! `runyard explain`: the page of a diagnostic.

use crate::context::Env;
use crate::errors::{Error, Exit, Result};

/// Flags of `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code, e.g. RY0101; without one, all are listed
    code: Option<String>,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let Some(code) = args.code else {
        let list: String = runyard_pipeline::codes()
            .iter()
            .filter_map(|code| runyard_pipeline::explain(code.as_str()))
            .filter_map(|page| Some(format!("{}\n", page.lines().next()?.trim_start_matches("# "))))
            .collect();
        env.printer.data(list.as_bytes())?;
        return Ok(Exit::OK);
    };
    match runyard_pipeline::explain(&code) {
        Some(page) => {
            env.printer.data(format!("{}\n", page.trim_end()).as_bytes())?;
            Ok(Exit::OK)
        }
        None => Err(Error::not_found(format!("there is no diagnostic `{code}`"))
            .help("`runyard explain` lists them")),
    }
}
