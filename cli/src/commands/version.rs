//! `runyard version`: of this program and of the coordinator.

use runyard_proto::v1;
use serde_json::{Value, json};

use crate::client::once;
use crate::context::Env;
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, Look, Output, Table, json_of};

/// Flags of `version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Don't ask the coordinator
    #[arg(long)]
    client: bool,
}

/// Does what the verb says. A coordinator that does not answer is no error here.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let mut view = Version { coordinator: None };
    if !args.client && env.connection().is_ok() {
        let status = async {
            let client = env.client().await?;
            once(client.fleet().status(v1::StatusRequest {})).await
        };
        match status.await {
            Ok(status) => view.coordinator = Some(status),
            Err(error) => env.printer.note(&format!("the coordinator's is unknown: {error}")),
        }
    }
    env.printer.show(&view)?;
    Ok(Exit::OK)
}

struct Version {
    coordinator: Option<v1::StatusResponse>,
}

impl Output for Version {
    fn json(&self) -> Result<Value> {
        let coordinator = match &self.coordinator {
            Some(status) => json_of("StatusResponse", status)?,
            None => Value::Null,
        };
        Ok(json!({
            "api_version": "runyard.v1",
            "client": {
                "version": env!("CARGO_PKG_VERSION"),
                "commit": runyard_server::COMMIT,
                "session_protocol": runyard_proto::SESSION_PROTOCOL,
            },
            "coordinator": coordinator,
        }))
    }

    fn names(&self) -> Vec<String> {
        vec![env!("CARGO_PKG_VERSION").into()]
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [
            Column::new("PART"),
            Column::new("VERSION"),
            Column::new("COMMIT"),
            Column::wide("STATE VERSION"),
            Column::wide("GROUP"),
        ];
        let mut table = Table::new(columns, "");
        let empty = || Cell::new("");
        table.row([
            Cell::new("runyard"),
            Cell::new(env!("CARGO_PKG_VERSION")),
            Cell::new(runyard_server::COMMIT),
            empty(),
            empty(),
        ]);
        if let Some(status) = &self.coordinator {
            table.row([
                Cell::new("coordinator"),
                Cell::new(&status.version),
                Cell::new(&status.commit),
                Cell::new(status.state_version),
                Cell::new(&status.group),
            ]);
        }
        table
    }
}
