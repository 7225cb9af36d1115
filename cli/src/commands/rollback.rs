//! `runyard rollback`: back to a revision that served.

use runyard_proto::v1;

use super::describe::DeploymentView;
use crate::client::once;
use crate::context::Env;
use crate::errors::{Exit, Result};

/// Flags of `rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The deployment
    #[arg(value_name = "DEPLOYMENT")]
    name: String,
    /// The revision to go back to; the one that served before, if not given
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    to: u32,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    let request = v1::RollbackRequest {
        project: client.project.clone(),
        deployment: args.name.clone(),
        to_revision: args.to,
        reason: args.reason,
    };
    // Once: repeated, it would go back twice.
    let deployment = once(client.models().rollback(request)).await?;
    env.printer
        .note(&format!("{} goes back to revision {}", args.name, deployment.serving_revision));
    if env.printer.structured() {
        env.printer.show(&DeploymentView(deployment))?;
    }
    env.printer.next(&format!("runyard deploy get {}", args.name));
    Ok(Exit::OK)
}
