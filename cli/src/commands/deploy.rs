//! `runyard deploy`: served models.

use runyard_proto::v1;
use serde_json::{Value, json};

use super::describe::DeploymentView;
use crate::client::{Client, retry};
use crate::context::Env;
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, List, Look, Output, Table};

/// Flags of `deploy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List deployments
    Ls,
    /// Revisions, replicas, requests and errors of a deployment
    Get { name: String },
    /// Stop serving and forget a deployment
    Rm { name: String },
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    match args.verb {
        Verb::Ls => env.printer.show(&Deployments(list(&client).await?))?,
        Verb::Get { name } => env.printer.show(&DeploymentView(get(&client, &name).await?))?,
        Verb::Rm { name } => {
            env.confirm(&format!("stop serving {name} and forget its revisions?"))?;
            retry(|| {
                let mut models = client.models();
                let request = v1::RemoveDeploymentRequest {
                    project: client.project.clone(),
                    name: name.clone(),
                };
                async move { models.remove_deployment(request).await }
            })
            .await?;
            env.printer.note(&format!("{name} is removed; requests in flight go to their end"));
            env.printer.answer(&json!({ "deployment": name, "removed": true }))?;
            env.printer.next("runyard deploy ls");
        }
    }
    Ok(Exit::OK)
}

async fn list(client: &Client) -> Result<List<v1::Deployment>> {
    let answer = retry(|| {
        let mut models = client.models();
        let request = v1::ListDeploymentsRequest { project: client.project.clone() };
        async move { models.list_deployments(request).await }
    })
    .await?;
    Ok(List { index: answer.index, items: answer.items })
}

/// One deployment.
pub(super) async fn get(client: &Client, name: &str) -> Result<v1::Deployment> {
    retry(|| {
        let mut models = client.models();
        let request =
            v1::GetDeploymentRequest { project: client.project.clone(), name: name.to_owned() };
        async move { models.get_deployment(request).await }
    })
    .await
}

struct Deployments(List<v1::Deployment>);

impl Output for Deployments {
    fn json(&self) -> Result<Value> {
        self.0.to_json("Deployment")
    }

    fn names(&self) -> Vec<String> {
        self.0.items.iter().map(|deployment| deployment.name.clone()).collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("NAME"),
            Column::new("STATE"),
            Column::new("SERVING"),
            Column::new("MODEL"),
            Column::new("REQUESTS"),
            Column::new("ERRORS"),
            Column::new("ADDRESS"),
        ];
        let mut table =
            Table::new(columns, "No deployments yet; a stage with `deploy:` makes one.");
        for deployment in &self.0.items {
            let serving =
                deployment.revisions.iter().find(|r| r.number == deployment.serving_revision);
            let model = serving.map(|r| format!("{}@{}", deployment.model, r.model_version));
            table.row([
                Cell::new(&deployment.name),
                Cell::state(&deployment.state),
                Cell::new(match deployment.serving_revision {
                    0 => String::new(),
                    number => format!("revision {number}"),
                }),
                Cell::new(model.unwrap_or_else(|| deployment.model.clone())),
                Cell::new(deployment.revisions.iter().map(|r| r.requests).sum::<u64>()),
                Cell::new(deployment.revisions.iter().map(|r| r.errors).sum::<u64>()),
                Cell::new(deployment.addresses.join(",")),
            ]);
        }
        table
    }
}
