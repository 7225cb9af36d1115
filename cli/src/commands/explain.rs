//! `runyard explain`: the page of a diagnostic.

use serde_json::{Value, json};

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
        if env.printer.structured() {
            let pages = runyard_pipeline::codes();
            let items: Vec<Value> = pages.iter().filter_map(|code| page(code.as_str())).collect();
            env.printer.answer(&json!({ "index": 0, "items": items }))?;
            return Ok(Exit::OK);
        }
        let list: String = runyard_pipeline::codes()
            .iter()
            .filter_map(|code| runyard_pipeline::explain(code.as_str()))
            .filter_map(|page| Some(format!("{}\n", page.lines().next()?.trim_start_matches("# "))))
            .collect();
        env.printer.data(list.as_bytes())?;
        return Ok(Exit::OK);
    };
    match runyard_pipeline::explain(&code) {
        Some(_) if env.printer.structured() => {
            env.printer.answer(&page(&code).unwrap_or_default())?;
            Ok(Exit::OK)
        }
        Some(page) => {
            env.printer.data(format!("{}\n", page.trim_end()).as_bytes())?;
            Ok(Exit::OK)
        }
        None => Err(Error::not_found(format!("there is no diagnostic `{code}`"))
            .help("`runyard explain` lists them")),
    }
}

/// A page in parts.
fn page(code: &str) -> Option<Value> {
    let text = runyard_pipeline::explain(code)?;
    let title = text.lines().next().unwrap_or_default().trim_start_matches("# ");
    Some(json!({ "code": code.to_ascii_uppercase(), "title": title, "text": text.trim_end() }))
}
