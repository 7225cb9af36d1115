//! `runyard context`: clusters that you use.

use runyard_transport::Contexts;
use runyard_types::Name;
use serde_json::{Value, json};

use crate::context::Env;
use crate::errors::{Error, Exit, Result};
use crate::output::{Cell, Column, Look, Output, Table};

/// Flags of `context`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List contexts; the current one is marked
    Ls,
    /// Make a context the current one
    Use { name: String },
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let contexts = Contexts::at(&env.paths.config);
    match args.verb {
        Verb::Ls => {
            let current = contexts.current()?;
            let mut rows = Vec::new();
            for name in contexts.list()? {
                // One that is damaged or too open is listed with what is wrong with it.
                let addresses = match contexts.load(&name) {
                    Ok(context) => context.addresses,
                    Err(error) => vec![error.to_string()],
                };
                let current = current.as_ref() == Some(&name);
                rows.push(Row { name: name.to_string(), addresses, current });
            }
            env.printer.show(&Rows(rows))?;
        }
        Verb::Use { name } => {
            let name = Name::new(&name).map_err(|error| Error::usage(error.to_string()))?;
            contexts.set_current(&name)?;
            env.printer.note(&format!("context `{name}` is in use"));
            env.printer.answer(&json!({ "context": name.to_string(), "current": true }))?;
            if env.paths.local.is_some() {
                env.printer.note("(here, ./.runyard/config.toml goes before it)");
            }
        }
    }
    Ok(Exit::OK)
}

struct Row {
    name: String,
    addresses: Vec<String>,
    current: bool,
}

struct Rows(Vec<Row>);

impl Output for Rows {
    fn json(&self) -> Result<Value> {
        let items: Vec<Value> = self
            .0
            .iter()
            .map(|row| json!({ "name": row.name, "addresses": row.addresses, "current": row.current }))
            .collect();
        Ok(json!({ "api_version": "runyard.v1", "index": 0, "items": items }))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|row| row.name.clone()).collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [Column::new("CURRENT"), Column::new("NAME"), Column::new("ADDRESSES")];
        let mut table = Table::new(columns, "No contexts; `runyard login HOST:PORT` makes one.");
        for row in &self.0 {
            table.row([
                Cell::with_raw(if row.current { "*" } else { "" }, row.current),
                Cell::new(&row.name),
                Cell::new(row.addresses.join(", ")),
            ]);
        }
        table
    }
}
