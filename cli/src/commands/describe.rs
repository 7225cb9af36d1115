//! `runyard describe`: all of a thing.

mod node;
mod run_view;
mod serving;

pub(crate) use node::NodeView;
pub(crate) use run_view::{RunView, commit};
pub(crate) use serving::{DeploymentView, ModelView};

use runyard_proto::v1;

use super::stdin;
use crate::client::Client;
use crate::context::Env;
use crate::errors::{Error, Exit, Kind, Result};
use crate::output::Output;

/// Flags of `describe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run, stage, task, node, model or deployment
    #[arg(value_name = "NAME")]
    name: String,
    /// What happened to it, too
    #[arg(long)]
    events: bool,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let name = stdin::name(&args.name)?;
    let mut parts: Vec<(&str, Box<dyn Output>)> = Vec::new();
    let found = async {
        let target = client.target(&name).await?;
        let run = client.run(&target.run).await?;
        Ok::<_, Error>((target, run))
    };
    let subject = match found.await {
        Ok((target, run)) => {
            parts.push(("", Box::new(RunView::part(run, &target)?)));
            target.key()
        }
        // `node-1` could have been a run.
        Err(error) if matches!(error.kind, Kind::Usage | Kind::NotFound) && is_plain(&name) => {
            parts = other(&client, &name).await?;
            name
        }
        Err(error) => return Err(error),
    };
    if args.events {
        let events = super::events::collect(&client, &subject, 200).await?;
        parts.push(("events", Box::new(super::events::Events(events))));
    }
    let parts: Vec<(&str, &dyn Output)> =
        parts.iter().map(|(key, part)| (*key, part.as_ref())).collect();
    env.printer.show_parts(&parts)?;
    Ok(Exit::OK)
}

fn is_plain(name: &str) -> bool {
    !name.contains('/') && !name.starts_with('@')
}

/// A node, a model, a deployment: whichever has the name; where several have it, all are shown. For
/// programs each stands under what it is, so that a document has one form however many there are.
async fn other(client: &Client, name: &str) -> Result<Vec<(&'static str, Box<dyn Output>)>> {
    let mut found: Vec<(&'static str, Box<dyn Output>)> = Vec::new();
    if let Some(node) = present(super::nodes::get(client, name).await)? {
        found.push(("node", Box::new(NodeView(node))));
    }
    if let Some(model) = present(super::models::get(client, name).await)? {
        found.push(("model", Box::new(ModelView(model))));
    }
    if let Some(deployment) = present(super::deploy::get(client, name).await)? {
        found.push(("deployment", Box::new(DeploymentView(deployment))));
    }
    match found.is_empty() {
        false => Ok(found),
        true => Err(Error::not_found(format!("nothing is called `{name}`"))
            .help("`runyard ps -a`, `runyard nodes ls`, `runyard models ls` and `runyard deploy ls` list what there is")),
    }
}

fn present<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(thing) => Ok(Some(thing)),
        Err(error) if matches!(error.kind, Kind::NotFound | Kind::Usage) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `key: value` lines with aligned values; those without a value are left out.
pub(crate) fn fields(pairs: &[(&str, String)]) -> String {
    let shown = || pairs.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(key, _)| key.len()).max().unwrap_or(0) + 2;
    shown()
        .map(|(key, value)| {
            format!("{:width$}{}\n", format!("{key}:"), crate::output::plain(value))
        })
        .collect()
}

/// Names of a run's git state for people.
pub(crate) fn git_line(git: &v1::Git) -> String {
    match git.commit.is_empty() {
        true => String::new(),
        false => format!("{} {} ({}, {})", commit(git), git.subject, git.branch, git.author),
    }
}
