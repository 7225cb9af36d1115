//! `runyard whoami`: who the cluster takes you for.

use runyard_proto::v1;
use serde_json::{Value, json};

use crate::client::retry;
use crate::context::Env;
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, Look, Output, Table};

/// Flags of `whoami`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Does what the verb says.
pub(crate) async fn run(_args: Args, env: &Env) -> Result<Exit> {
    let connection = env.connection()?;
    let client = env.client().await?;
    let status = retry(|| {
        let mut fleet = client.fleet();
        async move { fleet.status(v1::StatusRequest {}).await }
    })
    .await?;
    env.printer.show(&Who {
        principal: status.principal,
        project: env.project.clone(),
        addresses: connection.addresses,
        origin: connection.origin,
    })?;
    Ok(Exit::OK)
}

struct Who {
    principal: String,
    project: String,
    addresses: Vec<String>,
    origin: String,
}

impl Output for Who {
    fn json(&self) -> Result<Value> {
        Ok(json!({
            "api_version": "runyard.v1",
            "principal": self.principal,
            "project": self.project,
            "addresses": self.addresses,
            "origin": self.origin,
        }))
    }
    fn names(&self) -> Vec<String> {
        vec![self.principal.clone()]
    }
    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("PRINCIPAL"),
            Column::new("PROJECT"),
            Column::new("CLUSTER"),
            Column::new("FROM"),
        ];
        let mut table = Table::new(columns, "");
        table.row([
            Cell::new(&self.principal),
            Cell::new(&self.project),
            Cell::new(self.addresses.join(",")),
            Cell::new(&self.origin),
        ]);
        table
    }
}
