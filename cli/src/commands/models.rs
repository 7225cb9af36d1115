//! `runyard models`: registered models and their aliases.

use runyard_proto::v1;
use serde_json::Value;

use super::describe::ModelView;
use crate::client::{Client, retry};
use crate::context::Env;
use crate::errors::{Error, Exit, Kind, Result};
use crate::output::{Cell, Column, List, Look, Output, Table};

/// Flags of `models`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List models
    Ls,
    /// Versions and aliases of a model
    Get { name: String },
    /// Move an alias to a version
    Alias {
        /// MODEL@ALIAS, e.g. digits@champion
        name: String,
        /// The version it moves to
        #[arg(required_unless_present = "remove", conflicts_with = "remove")]
        version: Option<u64>,
        /// Remove the alias
        #[arg(long)]
        remove: bool,
        /// Move a protected alias past its gate, for this reason (recorded)
        #[arg(long, value_name = "REASON", default_value = "", hide_default_value = true)]
        override_reason: String,
    },
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    match args.verb {
        Verb::Ls => env.printer.show(&Models(list(&client).await?))?,
        Verb::Get { name } => env.printer.show(&ModelView(get(&client, &name).await?))?,
        Verb::Alias { name, version, remove, override_reason } => {
            let (model, alias) = name.split_once('@').ok_or_else(|| {
                Error::usage(format!("`{name}` names no alias")).help("write MODEL@ALIAS")
            })?;
            let moved = set_alias(&client, model, alias, version, remove, &override_reason).await?;
            env.printer.note(&match version {
                Some(version) => format!("{model}@{alias} is version {version}"),
                None => format!("{model}@{alias} is removed"),
            });
            if env.printer.structured() {
                env.printer.show(&ModelView(moved))?;
            }
            env.printer.next(&format!("runyard models get {model}"));
        }
    }
    Ok(Exit::OK)
}

async fn set_alias(
    client: &Client,
    model: &str,
    alias: &str,
    version: Option<u64>,
    remove: bool,
    override_reason: &str,
) -> Result<v1::Model> {
    let request = v1::SetAliasRequest {
        project: client.project.clone(),
        model: model.to_owned(),
        alias: alias.to_owned(),
        version: version.unwrap_or(0),
        remove,
        override_reason: override_reason.to_owned(),
    };
    // An alias that is where it should be stays there, so this may be repeated.
    let moved = retry(|| {
        let (mut models, request) = (client.models(), request.clone());
        async move { models.set_alias(request).await }
    })
    .await;
    moved.map_err(|error| match error.kind {
        Kind::Conflict if override_reason.is_empty() => {
            error.help("a protected alias moves by its gate; an admin may give --override-reason")
        }
        _ => error,
    })
}

async fn list(client: &Client) -> Result<List<v1::Model>> {
    let answer = retry(|| {
        let mut models = client.models();
        let request = v1::ListModelsRequest { project: client.project.clone() };
        async move { models.list_models(request).await }
    })
    .await?;
    Ok(List { index: answer.index, items: answer.items })
}

/// One model.
pub(super) async fn get(client: &Client, name: &str) -> Result<v1::Model> {
    retry(|| {
        let mut models = client.models();
        let request =
            v1::GetModelRequest { project: client.project.clone(), name: name.to_owned() };
        async move { models.get_model(request).await }
    })
    .await
}

struct Models(List<v1::Model>);

impl Output for Models {
    fn json(&self) -> Result<Value> {
        self.0.to_json("Model")
    }

    fn names(&self) -> Vec<String> {
        self.0.items.iter().map(|model| model.name.clone()).collect()
    }

    fn table(&self, look: &Look) -> Table {
        let columns = [
            Column::new("NAME"),
            Column::new("VERSIONS"),
            Column::new("LATEST"),
            Column::new("ALIASES"),
            Column::new("AGE"),
        ];
        let mut table = Table::new(columns, "No models yet; a gate's `promote` registers them.");
        for model in &self.0.items {
            let latest = model.versions.iter().max_by_key(|version| version.version);
            let aliases: Vec<String> = model
                .aliases
                .iter()
                .map(|alias| format!("{}={}", alias.name, alias.version))
                .collect();
            table.row([
                Cell::new(&model.name),
                Cell::new(model.versions.len()),
                Cell::new(latest.map(|v| v.version.to_string()).unwrap_or_default()),
                Cell::new(aliases.join(" ")),
                Cell::age(look, latest.map_or(0, |v| v.created_ms)),
            ]);
        }
        table
    }
}
